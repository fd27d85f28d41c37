"""An authority of the tests, servers with its certificates in front of others, and a proxy that counts."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE = 1 << 16
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def own_address() -> str:
    """An address of this machine that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: this only asks which address would be used.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback ones")
        return str(probe.getsockname()[0])


class Authority:
    """A certificate authority that nobody knows, and a certificate of it for this machine's addresses."""

    def __init__(self, folder: Path, *addresses: str) -> None:
        if not shutil.which("openssl"):
            pytest.skip("needs openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "authority.pem"
        names = ",".join(["DNS:localhost", *(f"IP:{address}" for address in ("127.0.0.1", *addresses))])
        (folder / "names").write_text(f"subjectAltName={names}\n")
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self.openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=cog tests", "-keyout", "authority.key",
                     "-out", "authority.pem", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
        self.openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
        self.openssl("x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
                     "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem")  # fmt: skip

    def openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def bundle(self) -> Path:
        """What the system trusts, and this authority."""
        bundle = self.folder / "bundle.pem"
        system = SYSTEM_BUNDLE.read_text() if SYSTEM_BUNDLE.exists() else ""
        bundle.write_text(f"{system}\n{self.certificate.read_text()}")
        return bundle

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        return context


class Quiet(ThreadingHTTPServer):
    """Clients that do not trust it leave in the middle of a handshake, which is no news."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serve(
    handler: Callable[..., BaseHTTPRequestHandler], context: ssl.SSLContext | None, host: str = "127.0.0.1"
) -> Iterator[int]:
    """The port at which the handler answers, with TLS if there is a context for it."""
    server = Quiet((host, 0), handler)
    if context:
        # The handshake is the business of the connection's own thread.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class Proxy:
    """A forward proxy; it notes where it was asked to lead."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self.guarded, args=(client,), daemon=True).start()

    def guarded(self, client: socket.socket) -> None:
        # Either side may leave when it likes.
        with suppress(OSError), client:
            self.serve(client)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(PIECE)
            if not piece:
                return
            head += piece
        head, _, rest = head.partition(b"\r\n\r\n")
        method, target, version = head.split(b"\r\n")[0].split(b" ")
        if method == b"CONNECT":
            host = target.decode()
        else:
            url = urlsplit(target.decode())
            host = f"{url.hostname}:{url.port or 80}"
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            lines = [b" ".join([method, path.encode(), version]), *head.split(b"\r\n")[1:]]
            kept = [line for line in lines if not line.lower().startswith((b"proxy-", b"connection:"))]
            rest = b"\r\n".join([*kept, b"Connection: close", b"", rest])
        self.targets.append(host)
        name, _, port = host.rpartition(":")
        with socket.create_connection((name, int(port))) as server:
            if method == b"CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            server.sendall(rest)
            join(client, server)


def join(one: socket.socket, other: socket.socket) -> None:
    """Passes on what each says to the other, until one has nothing more to say."""
    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

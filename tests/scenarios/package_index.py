"""A package index on this machine, with small wheels that stand for large ones."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Quiet(SimpleHTTPRequestHandler):
    #: What it asks for, if it asks.
    credentials: str | None = None
    #: For how many seconds its answers may be kept, if it says so.
    max_age: int | None = None

    def do_GET(self) -> None:
        if self.credentials and self.headers.get("Authorization") != self.credentials:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()

    def end_headers(self) -> None:
        if self.max_age is not None:
            self.send_header("Cache-Control", f"max-age={self.max_age}")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def add_wheel(
    root: Path,
    name: str,
    version: str,
    requires: tuple[str, ...] = (),
    extra: str = "",
    tag: str = "py3-none-any",
    **modules: str,
) -> None:
    """A wheel, for any platform if no tag says which, and its page."""
    folder = root / name.lower().replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    file_name = name.lower().replace("-", "_")
    metadata = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    if extra:
        metadata.append(f"Provides-Extra: {extra}")
    info = f"{file_name}-{version}.dist-info"
    files = {f"{module}/__init__.py": text for module, text in modules.items()}
    files[f"{info}/METADATA"] = "\n".join(["Metadata-Version: 2.1", *metadata, ""])
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"
    files[f"{info}/RECORD"] = "".join(record(path, text) for path, text in files.items()) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{file_name}-{version}-{tag}.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    links = (f'<a href="{one.name}">{one.name}</a>' for one in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text("<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>")


def record(path: str, text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(text.encode())}\n"


@contextmanager
def serve(root: Path, user: str = "", password: str = "", max_age: int | None = None) -> Iterator[str]:
    """The index's address, as long as it is served; to those who give a user and a password, if there are some. They
    may keep its answers for `max_age` seconds."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    asking = type("Asking", (Quiet,), {"credentials": f"Basic {basic}" if user else None, "max_age": max_age})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(asking, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()

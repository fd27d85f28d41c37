"""A small package index on a loopback address, laid out as PyTorch's: a folder for each accelerator, below it pages
for each package with links to wheels. The wheels say what they were built for, as torch does, and hold nothing else."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TAGS = {"cpu": None, "cu118": "11.8", "cu121": "12.1"}
PLATFORM = "cp311-cp311-linux_x86_64"


class TorchIndex:
    """Serves wheels for all tags until it is stopped, of a version that no other index has had."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.version = f"2.3.1.post{time.time_ns()}"
        self.files = {self.path(tag): wheel(f"{self.version}+{tag}", cuda) for tag, cuda in TAGS.items()}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        host, port = self.server.server_address[:2]
        return f"{host!s}:{port}"

    def url(self, tag: str) -> str:
        return f"http://{self.host}/whl/{tag}"

    def path(self, tag: str) -> str:
        return f"/whl/{tag}/torch-{self.version}+{tag}-{PLATFORM}.whl"

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """The type and content of a page or file."""
        if path in self.files:
            return "application/zip", self.files[path]
        pages = {f"/whl/{tag}/torch/": tag for tag in TAGS}
        if path not in pages:
            return None
        file = self.path(pages[path])
        digest = hashlib.sha256(self.files[file]).hexdigest()
        name = file.rsplit("/", 1)[1]
        link = f'<a href="{file.replace("+", "%2B")}#sha256={digest}">{name}</a><br/>'
        return "text/html", f"<!DOCTYPE html>\n<html><body>\n<h1>torch</h1>\n{link}\n</body></html>\n".encode()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def handler(index: TorchIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.respond(with_content=True)

        def do_HEAD(self) -> None:
            self.respond(with_content=False)

        def respond(self, *, with_content: bool) -> None:
            path = self.path.replace("%2B", "+")
            found = index.answer(path)
            media_type, content = found or ("text/plain", b"no such page\n")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def wheel(version: str, cuda: str | None) -> bytes:
    folder = f"torch-{version}.dist-info"
    files = {
        "torch/__init__.py": "from torch import version\n\n__version__ = version.__version__\n",
        "torch/version.py": f"__version__ = {version!r}\ncuda = {cuda!r}\n",
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{folder}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {PLATFORM}\n",
    }
    names = [*files, f"{folder}/RECORD"]
    files[f"{folder}/RECORD"] = "".join(f"{name},,\n" for name in names)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            # Always the same time, so always the same hash.
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()

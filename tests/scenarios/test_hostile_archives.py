"""Archives that mean harm, or are broken: a base image's layers and a wheel."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import Project, hello

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

Serve = Callable[[bytes, bytes], str]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture
def registry() -> Iterator[Serve]:
    """Serves an image of one layer; gives its reference. What is sent may differ from what is announced."""
    blobs: dict[str, tuple[str, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if self.path == "/v2/":
                self.answer(200, "application/json", b"{}")
            elif name in blobs:
                self.answer(200, *blobs[name])
            else:
                self.answer(404, "application/json", b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')

        do_HEAD = do_GET

        def answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(layer: bytes, sent: bytes) -> str:
        tar = gzip.decompress(layer)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
                "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
            }
        ).encode()
        blobs["1"] = blobs[digest(manifest)] = (MANIFEST, manifest)
        blobs[digest(config)] = (CONFIG, config)
        blobs[digest(layer)] = (LAYER, sent)
        return f"127.0.0.1:{server.server_port}/hostile:1"

    yield serve
    server.shutdown()
    server.server_close()


def layer(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            member.size = 4 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"evil") if member.isreg() else None)
    return gzip.compress(out.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def running(project: Project) -> Project:
    """Runs something while it is built, so that the base has to be unpacked."""
    return project.write(
        cog__yaml='build:\n  python_version: "3.11"\n  run:\n    - "true"\nrun: "run.py:Runner"\n',
    )


@pytest.mark.parametrize(
    "entry",
    [
        member("../../../../{outside}/escaped"),
        member("passwd", tarfile.LNKTYPE, "../../../../../../etc/passwd"),
    ],
    ids=["a path that climbs", "a hard link"],
)
def test_a_layer_that_leaves_its_place_is_refused(tmp_path: Path, registry: Serve, entry: tarfile.TarInfo) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entry.name = entry.name.format(outside=outside)
    content = layer(entry)
    project = running(hello(tmp_path / "project", tmp_path / "store"))
    done = project.cog("build", "-t", "x", COG_BASE=registry(content, content))
    done.fails_with(entry.name)
    assert not list(outside.iterdir())
    assert not project.has_image("x")


def test_a_link_of_a_layer_leads_nowhere_outside(tmp_path: Path, registry: Serve) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    content = layer(
        member("way", tarfile.SYMTYPE, str(outside)),
        member("way/escaped"),
        member("climb", tarfile.SYMTYPE, "../" * 20 + str(outside)),
        member("climb/escaped"),
    )
    project = running(hello(tmp_path / "project", tmp_path / "store"))
    # Either answer is right, as long as nothing arrives there: in an image a link means the image's own root.
    done = project.cog("build", "-t", "x", COG_BASE=registry(content, content))
    assert done.status == 1, done
    assert not list(outside.iterdir())


def test_a_layer_that_is_not_what_was_announced_is_refused(tmp_path: Path, registry: Serve) -> None:
    content = layer(member("file"))
    broken = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    project = running(hello(tmp_path / "project", tmp_path / "store"))
    project.cog("build", "-t", "x", COG_BASE=registry(content, broken)).fails_with(digest(content)[:19])
    assert not project.has_image("x")
    assert not list((tmp_path / "store/blobs").rglob(digest(content)[7:]))


def test_a_wheel_puts_nothing_outside_of_its_place(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    outside = tmp_path / "outside"
    outside.mkdir()
    escapes = [f"{'../' * 30}{outside}/climbed", f"{outside}/absolute"]
    files = {
        "hostile/__init__.py": "",
        **dict.fromkeys(escapes, "evil"),
        "hostile-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n",
        "hostile-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "hostile-1.0.dist-info/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    wheel = "hostile-1.0-py3-none-any.whl"
    with zipfile.ZipFile(project.directory / wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    project.write(
        requirements__txt=f"./{wheel}\n",
        cog__yaml='build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n',
    )
    done = project.cog("build", "-t", "hostile-wheel")
    assert not list(outside.iterdir())
    if done.status == 0:
        found = project.cog(
            "exec", "--", "find", "/opt/venv", "/usr", "/tmp", "-name", "climbed", "-o", "-name", "absolute"
        )
        assert "climbed" not in found.stdout, found
    else:
        done.fails_with("hostile")


def test_a_broken_wheel_is_named(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    wheel = "broken-1.0-py3-none-any.whl"
    (project.directory / wheel).write_bytes(b"PK\x03\x04 not really a wheel")
    project.write(
        requirements__txt=f"./{wheel}\n",
        cog__yaml='build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n',
    )
    project.cog("build", "-t", "broken-wheel").fails_with(wheel)
    assert not project.has_image("broken-wheel")

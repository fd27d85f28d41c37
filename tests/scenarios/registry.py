"""A small registry on a loopback address, with a base image that was made here.

The base is a Debian root with Python, packed as registries mostly have them: gzip layers, in Docker's media types.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import shutil
import subprocess
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
REPOSITORY = "team/base"
TAG = "1"
# Says which Python it has, and has it where the official images have it: its layers need not be looked at.
OFFICIAL = "official"
PIECE = 1 << 20

BASE_PROJECT = {
    "cog.yaml": 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n',
    "run.py": "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n"
    "    def run(self) -> str:\n        return 'never run'\n",
}


@dataclass
class Content:
    """A blob or manifest: what it is, and the file that holds it."""

    media_type: str
    path: Path
    digest: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "size": self.size, "digest": self.digest}


@dataclass
class Registry:
    """Serves what was put in, and notes what it was asked for."""

    folder: Path
    paths: dict[str, Content] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    # The root of the base image, with its diff id, and what it is made for.
    root: tuple[Content, str] | None = None
    architecture: str = "amd64"
    # Names files that are put in.
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def base(self) -> str:
        """The reference of the base image."""
        return self.reference(TAG)

    @property
    def host(self) -> str:
        host, port = self.server.server_address[:2]
        return f"{host!s}:{port}"

    def reference(self, tag: str, repository: str = REPOSITORY) -> str:
        return f"{self.host}/{repository}:{tag}"

    def blobs_asked_for(self, media_type: str) -> list[str]:
        """Paths of the blobs of this type that somebody fetched."""
        asked = [self.paths.get(path) for path in self.requests]
        return [content.digest for content in asked if content and content.media_type == media_type]

    def put(self, media_type: str, path: Path) -> Content:
        """Makes the file available by its digest."""
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        content = Content(media_type, path, digest)
        kind = "manifests" if media_type == MANIFEST else "blobs"
        self.paths[f"/v2/{REPOSITORY}/{kind}/{digest}"] = content
        return content

    def put_document(self, media_type: str, document: object) -> Content:
        path = self.folder / f"document-{next(self.numbers)}.json"
        path.write_text(json.dumps(document, indent=2))
        return self.put(media_type, path)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            # As a proxy, it is asked for whole URLs; whatever their host is, it answers itself.
            path = urlsplit(self.path).path
            registry.requests.append(path)
            content = registry.paths.get(path)
            if content is None:
                self.send_response(200 if path == "/v2/" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            begin = int(start)
            self.send_response(206 if begin else 200)
            self.send_header("Content-Type", content.media_type)
            self.send_header("Content-Length", str(content.size - begin))
            self.send_header("Docker-Content-Digest", content.digest)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{content.size - 1}/{content.size}")
            self.end_headers()
            if self.command == "GET":
                with content.path.open("rb") as file:
                    file.seek(begin)
                    shutil.copyfileobj(file, self.wfile, PIECE)

        do_HEAD = do_GET

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


def registry_with_base(folder: Path, cog: Path, environment: Mapping[str, str]) -> Registry:
    """A registry that holds a base image; `environment` runs `cog` with a store and the Debian base."""
    root = debian_root(folder, cog, environment)
    registry = Registry(folder / "registry")
    packed = folder / "layer.tar.gz"
    diff_id = pack(root, packed)
    registry.root = (registry.put(LAYER, packed), diff_id)
    registry.architecture = json.loads((folder / "config.json").read_text())["architecture"]
    put_image(registry, TAG, [], {})
    link = {"usr/local/bin/python3.11": Link("/usr/bin/python3.11")}
    put_image(registry, OFFICIAL, [link], {"PYTHON_VERSION": "3.11.2"})
    return registry


@dataclass(frozen=True)
class Link:
    """A symbolic link in a layer."""

    target: str


@dataclass(frozen=True)
class Program:
    """A file in a layer that can be run."""

    content: bytes


def put_layer(registry: Registry, files: Mapping[str, str | Link | Program]) -> tuple[Content, str]:
    """A layer with these files: the blob, and its diff id."""
    number = next(registry.numbers)
    plain, packed = (registry.folder / f"layer-{number}.tar{suffix}" for suffix in ("", ".gz"))
    with tarfile.open(plain, "w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            if isinstance(content, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, content.target
                tar.addfile(entry)
            else:
                data = content.content if isinstance(content, Program) else content.encode()
                entry.mode = 0o755 if isinstance(content, Program) else 0o644
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    diff_id = pack(plain, packed)
    return registry.put(LAYER, packed), diff_id


def put_image(
    registry: Registry,
    tag: str,
    above: list[Mapping[str, str | Link]],
    variables: Mapping[str, str],
    repository: str = REPOSITORY,
    config: Mapping[str, object] | None = None,
) -> None:
    """Makes an image of the root and layers of files above it available under the tag; `config` is what it runs."""
    assert registry.root is not None
    layers = [registry.root, *(put_layer(registry, files) for files in above)]
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **variables}
    document = registry.put_document(
        CONFIG,
        {
            "architecture": registry.architecture,
            "os": "linux",
            "config": {
                "Env": [f"{name}={value}" for name, value in env.items()],
                "Cmd": ["bash"],
                **(config or {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            "history": [{"created_by": "a base of the tests"} for _ in layers],
        },
    )
    manifest = registry.put_document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": document.descriptor(),
            "layers": [layer.descriptor() for layer, _ in layers],
        },
    )
    for name in [tag, manifest.digest]:
        registry.paths[f"/v2/{repository}/manifests/{name}"] = manifest
    for content in [document, *(layer for layer, _ in layers)]:
        registry.paths[f"/v2/{repository}/blobs/{content.digest}"] = content


def debian_root(folder: Path, cog: Path, environment: Mapping[str, str]) -> Path:
    """The tar file of a Debian root: the lowest layer of an image that `cog` builds on Debian."""
    project = folder / "base"
    project.mkdir(parents=True)
    for name, content in BASE_PROJECT.items():
        (project / name).write_text(content)
    archive = folder / "base.tar"
    command = [str(cog), "build", "-t", "scenario-base:v1", "--output", f"docker-archive={archive}"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with tarfile.open(archive) as image:
        [entry] = json.load(member(image, "manifest.json"))
        config = json.load(member(image, entry["Config"]))
        (folder / "config.json").write_text(json.dumps(config))
        top = config["config"]["Labels"]["run.cog.cog-base-image-last-layer-sha"]
        assert config["rootfs"]["diff_ids"].index(top) == 0, "the Debian base is one layer"
        root = folder / "root.tar"
        with root.open("wb") as file:
            shutil.copyfileobj(member(image, entry["Layers"][0]), file, PIECE)
    archive.unlink()
    return root


def member(image: tarfile.TarFile, name: str) -> IO[bytes]:
    found = image.extractfile(name)
    assert found is not None, name
    return found


def pack(root: Path, packed: Path) -> str:
    """Compresses the tar file; the digest of its content."""
    digest = hashlib.sha256()
    with root.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as file:
        while piece := plain.read(PIECE):
            digest.update(piece)
            file.write(piece)
    root.unlink()
    return f"sha256:{digest.hexdigest()}"

"""A daemon's answers, as newer ones give them that keep images in containerd's store."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import socketserver
import tarfile
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from support import hello

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
#: One that lists only images of which it has everything, and one that says what it lacks.
VERSIONS = ["26.1.5+dfsg1", "28.5.2+dfsg4"]


class Containerd:
    """What such a daemon has: the files of all layers from somewhere else, so that it pulls none of them."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder
        self.names: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.loaded: list[list[str]] = []

    @property
    def lists_all(self) -> bool:
        return int(self.version.split(".")[0]) >= 28

    def manifest(self, image: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.blobs[image])
        return found

    def is_whole(self, image: str) -> bool:
        manifest = self.manifest(image)
        layers = manifest["layers"]
        assert isinstance(layers, list)
        return all(layer["digest"] in self.blobs for layer in layers)

    def image(self, name: str) -> str | None:
        return self.names.get(name) or (name if name in self.names.values() else None)

    def pull(self, reference: str) -> None:
        place, _, tag = reference.rpartition(":")
        registry, _, repository = place.partition("/")
        base = f"http://{registry}/v2/{repository}"
        manifest = fetch(f"{base}/manifests/{tag}")
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        config = json.loads(manifest)["config"]["digest"]
        self.blobs |= {digest: manifest, config: fetch(f"{base}/blobs/{config}")}
        self.names[reference] = digest

    def load(self, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            content = {}
            for member in files:
                file = files.extractfile(member)
                assert file is not None
                content[member.name] = file.read()
        blobs = {name.replace("blobs/sha256/", "sha256:"): blob for name, blob in content.items() if "blobs" in name}
        self.blobs |= blobs
        self.loaded.append(sorted(blobs))
        for entry in json.loads(content["index.json"])["manifests"]:
            self.names[entry["annotations"]["io.containerd.image.name"]] = entry["digest"]

    def inspected(self, image: str) -> dict[str, object]:
        named = [name for name, digest in self.names.items() if digest == image]
        described: dict[str, object] = {"Id": image, "RepoTags": named, "Size": 1, "RootFS": {}}
        if self.is_whole(image) or not self.lists_all:
            config = self.manifest(image)["config"]
            assert isinstance(config, dict)
            layers = json.loads(self.blobs[config["digest"]])["rootfs"]["diff_ids"]
            described |= {"Os": "linux", "Architecture": "amd64", "RootFS": {"Type": "layers", "Layers": layers}}
        return described

    def listed(self, pattern: str) -> list[dict[str, object]]:
        image = self.names.get(pattern)
        if image is None or not (self.lists_all or self.is_whole(image)):
            return []
        entry: dict[str, object] = {"Containers": -1, "Created": 0, "Id": image, "Labels": None, "ParentId": ""}
        entry |= {"RepoDigests": [image], "RepoTags": [pattern], "SharedSize": -1, "Size": 6219}
        if self.lists_all:
            described = {"mediaType": MANIFEST, "digest": image, "size": 879}
            size = {"Content": 6219, "Total": 6219}
            manifest = {"ID": image, "Descriptor": described, "Available": self.is_whole(image), "Size": size}
            entry["Manifests"] = [{**manifest, "Kind": "image"}]
        return [entry]


def fetch(url: str) -> bytes:
    """From the registry that `cog` is for as long as a daemon pulls."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": MANIFEST})) as answer:
        content: bytes = answer.read()
        return content


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    daemon: Containerd


class Answers(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return ""

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> bytes:
        if length := self.headers.get("Content-Length"):
            return self.rfile.read(int(length))
        whole = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return whole

    def do_GET(self) -> None:
        daemon, url = self.server.daemon, urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/version":
            self.answer(200, {"Version": daemon.version})
        elif url.path == "/images/json":
            [pattern] = json.loads(query["filters"][0])["reference"]
            self.answer(200, daemon.listed(pattern))
        elif image := daemon.image(unquote(url.path.removeprefix("/images/").removesuffix("/json"))):
            self.answer(200, daemon.inspected(image))
        else:
            self.answer(404, {"message": "no such image"})

    def do_POST(self) -> None:
        daemon, url = self.server.daemon, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.body()
        if url.path == "/images/create":
            daemon.pull(query["fromImage"])
            self.answer(200, {"status": "done"})
        elif url.path == "/images/load":
            daemon.load(body)
            self.answer(200, {"stream": "Loaded image"})
        else:
            image = daemon.image(unquote(url.path.removeprefix("/images/").removesuffix("/tag")))
            assert image, self.path
            daemon.names[f"{query['repo']}:{query['tag']}"] = image
            self.answer(201, {})

    def do_DELETE(self) -> None:
        del self.server.daemon.names[unquote(urlsplit(self.path).path.removeprefix("/images/"))]
        self.answer(200, [])


@contextmanager
def containerd(version: str) -> Iterator[Containerd]:
    # Not the test's own folder: the paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="cog-answers-") as folder:
        daemon = Containerd(version, Path(folder))
        with Server(str(daemon.folder / "socket"), Answers) as server:
            server.daemon = daemon
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield daemon
            server.shutdown()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_layer_whose_files_are_there_from_elsewhere_is_sent_all_the_same(tmp_path: Path, version: str) -> None:
    """Its snapshotter has the files, so it pulls no layer, and has an image that can neither be saved nor pushed."""
    project = hello(tmp_path / "project")
    with containerd(version) as daemon:
        environment = {"COG_LOAD": "docker", "DOCKER_HOST": f"unix://{daemon.folder}/socket"}
        done = project.cog("build", "-t", "hello:whole", "--debug", **environment).works()
        assert "archives bring those that it lacks" in done.stderr, done
        assert list(daemon.names) == ["hello:whole"]
        image = daemon.names["hello:whole"]
        assert daemon.is_whole(image)
        # Small ones come first, each once.
        manifest = daemon.manifest(image)
        assert isinstance(manifest["layers"], list) and isinstance(manifest["config"], dict)
        layers = sorted(manifest["layers"], key=lambda layer: int(layer["size"]))
        documents = {image, manifest["config"]["digest"]}
        portions = [set(portion) - documents for portion in daemon.loaded]
        assert len(portions) > 1 and layers[0]["digest"] in portions[0] and layers[-1]["digest"] in portions[-1]
        assert sum(map(len, portions)) == len(layers)
        # What is whole is only named, and what was not is mended.
        again = project.cog("build", "-t", "hello:again", **environment).works()
        assert "(0B sent)" in again.stderr and len(daemon.loaded) == len(portions), again
        del daemon.blobs[layers[0]["digest"]]
        mended = project.cog("build", "-t", "hello:mended", **environment).works()
        assert daemon.is_whole(image) and len(daemon.loaded) == len(portions) + 1, mended
        assert sorted(daemon.names) == ["hello:again", "hello:mended", "hello:whole"]

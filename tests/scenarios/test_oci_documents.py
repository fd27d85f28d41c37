"""Every document that goes into a layout or a registry is one that the OCI image specification knows."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from docker_registry import DockerRegistry, docker_registry
from support import Project, hello

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMAS = json.loads((Path(__file__).parent / "oci.json").read_text())
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
KINDS = {INDEX: "index", MANIFEST: "manifest", CONFIG: "config"}


def problems(kind: str, document: object) -> list[str]:
    schema = {**SCHEMAS, "$ref": f"#/$defs/{kind}"}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(document)]


class Checked:
    """What was found valid, from a document down to the blobs."""

    def __init__(self, read: Callable[[dict[str, Any]], bytes]) -> None:
        self.read = read
        self.seen: dict[str, str] = {}

    def document(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        """The document, which and whose descriptor are what they should be."""
        assert problems("descriptor", descriptor) == []
        content = self.content(descriptor)
        document: dict[str, Any] = json.loads(content)
        kind = KINDS[descriptor["mediaType"]]
        assert problems(kind, document) == [], content
        # What a document says of itself is what others say of it.
        assert document.get("mediaType", descriptor["mediaType"]) == descriptor["mediaType"]
        return document

    def content(self, descriptor: dict[str, Any]) -> bytes:
        content = self.read(descriptor)
        assert len(content) == descriptor["size"], descriptor
        assert "sha256:" + hashlib.sha256(content).hexdigest() == descriptor["digest"], descriptor
        self.seen[descriptor["digest"]] = descriptor["mediaType"]
        return content

    def index(self, index: dict[str, Any]) -> None:
        assert problems("index", index) == []
        for entry in index["manifests"]:
            if entry["mediaType"] == INDEX:
                self.index(self.document(entry))
            else:
                self.manifest(entry)

    def manifest(self, descriptor: dict[str, Any]) -> None:
        manifest = self.document(descriptor)
        config = manifest["config"]
        layers = [self.content(layer) for layer in manifest["layers"]]
        if config["mediaType"] != CONFIG:
            assert (config["mediaType"], self.content(config)) == (EMPTY, b"{}")
            assert manifest["subject"]["digest"] in self.seen, "it is about something that is there"
            return
        image = self.document(config)
        diff_ids = image["rootfs"]["diff_ids"]
        assert len(diff_ids) == len(layers)
        # One line of history for each layer.
        assert len([line for line in image["history"] if not line.get("empty_layer")]) == len(layers)
        for layer, content, diff_id in zip(manifest["layers"], layers, diff_ids, strict=True):
            if layer["mediaType"] == GZIP:
                assert "sha256:" + hashlib.sha256(gzip.decompress(content)).hexdigest() == diff_id
        if platform := descriptor.get("platform"):
            assert (platform["os"], platform["architecture"]) == (image["os"], image["architecture"])


def build(directory: Path, *flags: str) -> Project:
    project = hello(directory / "project")
    project.cog("build", "-t", "scenario-oci:v1", *flags).works()
    return project


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_layouts_are_valid(tmp_path: Path, compression: str) -> None:
    layout = tmp_path / "layout"
    flags = ("--sbom", "--provenance", "--compression", compression, "--output", f"oci-dir={layout}")
    build(tmp_path, *flags)

    def read(descriptor: dict[str, Any]) -> bytes:
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    assert problems("layout", json.loads((layout / "oci-layout").read_text())) == []
    checked = Checked(read)
    index = json.loads((layout / "index.json").read_text())
    # The image first: the others are about it.
    index["manifests"].sort(key=lambda entry: "artifactType" in entry)
    checked.index(index)
    blobs = {f"sha256:{path.name}" for path in (layout / "blobs/sha256").iterdir()}
    assert set(checked.seen) == blobs, "nothing is there that nobody speaks of"
    assert sum(kind == MANIFEST for kind in checked.seen.values()) == 3


def test_what_is_pushed_is_valid(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        repository = "team/oci"
        name = f"{registry.host}/{repository}"
        project = build(tmp_path)
        project.cog("push", f"{name}:plain", "--sbom", "--provenance").works()
        project.cog("push", COG_MODEL=f"{name}:bundle").works()
        checked = Checked(lambda descriptor: fetched(registry, repository, descriptor))
        plain = described(registry, repository, "plain")
        checked.manifest(plain)
        # This registry lists no referrers by itself: a tag does.
        said = described(registry, repository, plain["digest"].replace(":", "-"))
        assert said["mediaType"] == INDEX
        checked.index(checked.document(said))
        bundle = described(registry, repository, "bundle")
        assert bundle["mediaType"] == INDEX
        checked.index(checked.document(bundle))
        kinds = list(checked.seen.values())
        # Two images, a bill of materials, provenance; the bundle, and the list of what is said.
        assert (kinds.count(MANIFEST), kinds.count(INDEX)) == (4, 2), kinds


def fetched(registry: DockerRegistry, repository: str, descriptor: dict[str, Any]) -> bytes:
    kind = "manifests" if descriptor["mediaType"] in (INDEX, MANIFEST) else "blobs"
    content, _ = registry.content(f"{repository}/{kind}/{descriptor['digest']}")
    return content


def described(registry: DockerRegistry, repository: str, version: str) -> dict[str, Any]:
    """The descriptor of what a tag leads to, as the registry's headers give it."""
    content, headers = registry.content(f"{repository}/manifests/{version}")
    return {
        "mediaType": headers["Content-Type"],
        "digest": headers["Docker-Content-Digest"],
        "size": len(content),
    }


def test_the_schemas_refuse_what_is_wrong() -> None:
    descriptor = {"mediaType": MANIFEST, "digest": f"sha256:{'0' * 64}", "size": 1}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": [descriptor]}
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
    right: dict[str, dict[str, Any]] = {
        "descriptor": descriptor,
        "manifest": manifest,
        "config": config,
        "index": index,
        "layout": {"imageLayoutVersion": "1.0.0"},
    }
    wrong: list[tuple[str, str, object]] = [
        ("descriptor", "digest", "sha256:abc"),
        ("descriptor", "digest", f"sha256:{'A' * 64}"),
        ("descriptor", "size", -1),
        ("descriptor", "mediaType", "text"),
        ("descriptor", "annotations", {"a": 1}),
        ("descriptor", "platform", {"os": "linux"}),
        ("manifest", "schemaVersion", 1),
        ("manifest", "mediaType", INDEX),
        ("manifest", "layers", []),
        ("manifest", "config", {**descriptor, "mediaType": EMPTY}),
        ("manifest", "subject", {}),
        ("config", "created", "yesterday"),
        ("config", "config", {"Env": ["A"]}),
        ("config", "config", {"ExposedPorts": {"5000/tcp": 1}}),
        ("config", "config", {"WorkingDir": "src"}),
        ("config", "rootfs", {"type": "layers"}),
        ("index", "manifests", {}),
        ("index", "unknown", 1),
        ("layout", "imageLayoutVersion", "2"),
    ]
    for kind, document in right.items():
        assert problems(kind, document) == []
        for name in copy.deepcopy(document):
            assert problems(kind, {key: value for key, value in document.items() if key != name}), name
    for kind, key, value in wrong:
        assert problems(kind, {**right[kind], key: value}), (kind, key, value)

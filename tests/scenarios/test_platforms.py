"""Images for another platform than this machine's, and for several: made of files alone, so nothing of it is run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import tarfile
import urllib.request
from typing import TYPE_CHECKING

import pytest
from docker_daemon import NO_NETWORK, Daemon
from docker_registry import docker_registry
from package_index import add_wheel, serve
from registry import MANIFEST, OFFICIAL, REPOSITORY, Content, Link, Program, Registry, put_image, put_layer
from support import STORE, Done, Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RegistryBase

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
HOST = MACHINES.get(platform.machine(), "amd64")
OTHER = "arm64" if HOST == "amd64" else "amd64"
OTHER_MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}[OTHER]
BOTH = f"linux/{HOST},linux/{OTHER}"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOWNLOADS = {"UV_CACHE_DIR": str(STORE / "uv/cache")}
# Has a base for both.
PLATFORMS = "platforms"
# What is put into the registry for all tests here, by path.
BASES: dict[str, Content] = {}
SITE_PACKAGES = "opt/venv/lib/python3.11/site-packages"

MODEL = """\
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        import native
        import platformless

        return f"{native.MACHINE} {platformless.VERSION}"
"""
CONFIG = """\
build:
  python_version: "3.11"
  python_requirements: requirements.txt
run: "run.py:Runner"
"""


def program(architecture: str) -> bytes:
    """The beginning of a program for the machine: more of it is not looked at."""
    machine = {"amd64": 62, "arm64": 183}[architecture]
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HHI", 2, machine, 1)
    return head.ljust(64, b"\0") + b"coglet"


def saying(text: bytes) -> bytes:
    """A whole program for the other platform, which writes a text and is done."""
    if OTHER == "arm64":
        machine, size = 183, 32
        words = [
            0xD2800020,  # mov x0, 1
            0x10000001 | (size - 4) // 4 << 5,  # adr x1, text
            0xD2800002 | len(text) << 5,  # mov x2, length
            0xD2800808,  # mov x8, write
            0xD4000001,  # svc 0
            0xD2800000,  # mov x0, 0
            0xD2800BA8,  # mov x8, exit
            0xD4000001,  # svc 0
        ]
        code = struct.pack("<8I", *words)
    else:
        machine = 62
        begin = bytes.fromhex("b801000000bf01000000488d35")  # mov eax, 1; mov edi, 1; lea rsi, [rip + …]
        end = b"\xba" + struct.pack("<I", len(text)) + bytes.fromhex("0f05b83c00000031ff0f05")
        code = begin + struct.pack("<I", len(end)) + end
    address, headers = 0x400000, 64 + 56
    content = code + text
    entry = address + headers
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    length = headers + len(content)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, length, length, 0x10000)
    return header + segment + content


def put_other(
    registry: Registry, tag: str, version: str = "3.11.2", files: dict[str, str | Link | Program] | None = None
) -> str:
    """An image for the other platform that says which Python it has; the digest of its manifest."""
    root, architecture = registry.root, registry.architecture
    registry.root = put_layer(registry, {"etc/hostname": f"{OTHER} {version}\n", **(files or {})})
    registry.architecture = OTHER
    put_image(registry, tag, [], {"PYTHON_VERSION": version})
    registry.root, registry.architecture = root, architecture
    return registry.paths[f"/v2/{REPOSITORY}/manifests/{tag}"].digest


def put_index(registry: Registry, tag: str, *other: str, here: str = OFFICIAL, repository: str = REPOSITORY) -> None:
    """An index of the official image, or another one for this machine, and those of these tags for the other one."""
    entries = []
    for name in [here, *other]:
        manifest = registry.paths[f"/v2/{repository}/manifests/{name}"]
        architecture = HOST if name == here else OTHER
        entries.append({**manifest.descriptor(), "platform": {"os": "linux", "architecture": architecture}})
    document = registry.put_document(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    for name in [tag, document.digest]:
        registry.paths[f"/v2/{repository}/manifests/{name}"] = document


def put_cuda(registry: Registry, folder: Path, *, everywhere: bool) -> dict[str, str]:
    """Images with CUDA on Docker Hub, for both platforms or for this machine's alone, and a build of Python for the
    other one: the variables that lead there."""
    root, architecture = registry.root, registry.architecture
    registry.root = put_layer(registry, {"etc/hostname": "cuda\n"})
    for registry.architecture, name in [(HOST, "cuda-here"), (OTHER, "cuda-there")]:
        put_image(registry, name, [], {"CUDA_VERSION": "11.8.0"}, "nvidia/cuda")
    registry.root, registry.architecture = root, architecture
    others = ["cuda-there"] if everywhere else []
    put_index(registry, "11.8.0-cudnn8-devel-ubuntu22.04", *others, here="cuda-here", repository="nvidia/cuda")
    python = folder / "python.tar.gz"
    data = f"_sysconfigdata__linux_{OTHER_MACHINE}-linux-gnu.py"
    nothing = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
    files = {
        "bin/python3.11": saying(b"not run\n"),
        "lib/python3.11/os.py": b"",
        f"lib/python3.11/{data}": nothing,
    }
    with tarfile.open(python, "w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"python/{path}")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    download = {
        **{"name": "cpython", "arch": {"family": OTHER_MACHINE, "variant": None}, "os": "linux", "libc": "gnu"},
        **{"major": 3, "minor": 11, "patch": 2, "prerelease": "", "variant": None, "build": "1"},
        **{"url": python.as_uri(), "sha256": hashlib.sha256(python.read_bytes()).hexdigest()},
    }
    listed = folder / "downloads.json"
    listed.write_text(json.dumps({f"cpython-3.11.2-linux-{OTHER_MACHINE}-gnu": download}))
    return {
        "COG_BASE": "",
        "COG_REGISTRY_HOST": registry.host,
        "COG_TORCH_INDEX": "default",
        "COG_INSECURE_REGISTRIES": "docker.io",
        "HTTP_PROXY": f"http://{registry.host}",
        "NO_PROXY": "127.0.0.1",
        "UV_PYTHON_DOWNLOADS_JSON_URL": str(listed),
    }


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Wheels for any platform, and for each."""
    root = tmp_path_factory.mktemp("index")
    add_wheel(root, "platformless", "1.0", platformless="VERSION = '1.0'\n")
    add_wheel(root, "large", "1.0", large="#" * 79 + "\n" + ("#" * 79 + "\n") * (9 << 20 >> 6))
    for machine in ["x86_64", "aarch64"]:
        tag = f"cp311-cp311-manylinux_2_17_{machine}"
        add_wheel(root, "native", "1.0", tag=tag, native=f"MACHINE = {machine!r}\n")
    add_wheel(root, "onlyhere", "1.0", tag=f"cp311-cp311-manylinux_2_17_{platform.machine()}", onlyhere="")
    with serve(root) as url:
        yield url


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platforms") / "store"


@pytest.fixture
def registry(base_in_registry: RegistryBase) -> Iterator[Registry]:
    """Has a base for both platforms, and forgets it afterwards."""
    registry = base_in_registry.registry
    before = dict(registry.paths)
    if not BASES:
        put_other(registry, "other")
        put_index(registry, PLATFORMS, "other")
        BASES.update({path: content for path, content in registry.paths.items() if path not in before})
    registry.paths = before | BASES
    yield registry
    registry.paths = before


@pytest.fixture
def server(tmp_path: Path) -> Path:
    file = tmp_path / "coglet-for-the-other"
    file.write_bytes(program(OTHER))
    return file


class Model(Project):
    """A project with packages of the index, on the base for both platforms."""

    def __init__(self, directory: Path, store: Path, registry: Registry, index: str, server: Path) -> None:
        super().__init__(directory, store)
        directory.mkdir()
        self.variables = {
            "COG_BASE": registry.reference(PLATFORMS),
            f"COG_COGLET_BINARY_{OTHER.upper()}": str(server),
            # Whatever this machine has.
            "COG_EMULATOR": "none",
            **DOWNLOADS,
        }
        self.index = index
        self.require("native", "platformless")
        self.write(cog__yaml=CONFIG, run__py=MODEL)

    def require(self, *lines: str) -> None:
        self.write(requirements__txt="\n".join([f"--extra-index-url {self.index}", *lines, ""]))

    def run(self, *arguments: object, **env: str) -> Done:
        return self.cog(*arguments, **{**self.variables, **env})

    def build(self, name: str, platforms: str, *arguments: object) -> Layout:
        """Builds the image, and reads what came of it."""
        folder = self.directory.parent / f"{name}.oci"
        output = ("--output", f"oci-dir={folder}")
        self.run("build", "-t", name, "--platform", platforms, *output, *arguments).works()
        return Layout(folder)


@pytest.fixture
def model(tmp_path: Path, store: Path, registry: Registry, index: str, server: Path) -> Model:
    return Model(tmp_path / "project", store, registry, index, server)


class Layout:
    """An OCI layout with one image, or with an index of images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [entry] = [
            one for one in json.loads((folder / "index.json").read_text())["manifests"] if "artifactType" not in one
        ]
        self.digest: str = entry["digest"]
        self.media_type: str = entry["mediaType"]
        self.images: dict[str, dict[str, object]] = {}
        entries = self.blob(self.digest)["manifests"] if self.media_type == OCI_INDEX else [entry]
        for one in entries:
            self.images[one["platform"]["architecture"]] = one

    def blob(self, digest: str) -> dict:
        return json.loads(self.path(digest).read_text())

    def path(self, digest: str) -> Path:
        return self.folder / "blobs/sha256" / digest.removeprefix("sha256:")

    def manifest(self, architecture: str) -> dict:
        return self.blob(self.images[architecture]["digest"])

    def config(self, architecture: str) -> dict:
        return self.blob(self.manifest(architecture)["config"]["digest"])

    def layers(self, architecture: str) -> list[str]:
        return [layer["digest"] for layer in self.manifest(architecture)["layers"]]

    def files(self, architecture: str) -> dict[str, bytes]:
        """Files of the image above its base."""
        found: dict[str, bytes] = {}
        for layer in self.layers(architecture)[1:]:
            path = self.path(layer)
            command = ["zstd", "-dcq", str(path)]
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                plain = gzip.decompress(data)
            else:
                plain = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            plain_path = self.folder / "plain.tar"
            plain_path.write_bytes(plain)
            with tarfile.open(plain_path) as tar:
                for entry in tar:
                    if entry.isfile():
                        content = tar.extractfile(entry)
                        assert content is not None
                        found[entry.name.removeprefix("./")] = content.read()
        return found


def test_an_image_for_another_platform_has_its_wheels_and_its_server(model: Model) -> None:
    layout = model.build("other", f"linux/{OTHER}")
    config, files = layout.config(OTHER), layout.files(OTHER)
    assert config["architecture"] == OTHER
    assert list(layout.images) == [OTHER]
    assert files[f"{SITE_PACKAGES}/native/__init__.py"] == f"MACHINE = '{OTHER_MACHINE}'\n".encode()
    assert files["usr/local/bin/coglet"] == program(OTHER)
    variables = dict(variable.split("=", 1) for variable in config["config"]["Env"])
    assert f"/usr/lib/{OTHER_MACHINE}-linux-gnu" in variables["LD_LIBRARY_PATH"]
    # Compiled by the same base for this machine.
    for compiled in ["native/__pycache__/__init__.cpython-311.pyc", "cog/__pycache__/__init__.cpython-311.pyc"]:
        assert f"{SITE_PACKAGES}/{compiled}" in files
    again = model.build("again", f"linux/{OTHER}", "--no-cache")
    assert again.digest == layout.digest


def test_an_image_for_another_platform_is_not_run(model: Model) -> None:
    model.build("elsewhere", f"linux/{OTHER}")
    model.run("run", "elsewhere").fails_with(
        f"is for linux/{OTHER}, and this machine is linux/{HOST}", "`COG_EMULATOR` is `none`", "qemu-user-static"
    )


def test_several_platforms_are_an_index_of_what_each_is_alone(model: Model) -> None:
    model.require("native", "platformless", "large")
    layout = model.build("both", BOTH)
    assert layout.media_type == OCI_INDEX
    assert sorted(layout.images) == ["amd64", "arm64"]
    for architecture in [HOST, OTHER]:
        alone = model.build(f"alone-{architecture}", f"linux/{architecture}")
        assert alone.digest == layout.images[architecture]["digest"], architecture
    # In another order, and with everything done anew.
    again = model.build("anew", f"linux/{OTHER},linux/{HOST}", "--no-cache")
    assert again.digest == layout.digest
    # What is for any platform is the same layer.
    shared = set(layout.layers(HOST)) & set(layout.layers(OTHER))
    titles = {
        entry["created_by"]
        for digest, entry in zip(layout.layers(HOST), layout.config(HOST)["history"], strict=True)
        if digest in shared
    }
    assert "cog: large 1.0" in titles, titles


def test_a_name_of_several_images_is_run_inspected_renamed_and_removed(model: Model) -> None:
    digest = model.build("listed", BOTH).digest
    assert model.run("run", "listed").works().stdout == f"{platform.machine()} 1.0\n"
    model.run("tag", "listed", "renamed:v1").works()
    model.run("rmi", "listed").works()
    model.run("prune").works()
    images = json.loads(model.run("images", "--json").works().stdout)
    [image] = [image for image in images if image["name"] == "renamed:v1"]
    assert (image["digest"], sorted(image["platforms"])) == (digest, ["linux/amd64", "linux/arm64"])
    for arguments, architecture in [((), HOST), (("--platform", f"linux/{OTHER}"), OTHER)]:
        told = json.loads(model.run("inspect", "--json", *arguments, "renamed:v1").works().stdout)
        assert told["platform"] == f"linux/{architecture}"
        assert told["index"] == {"digest": digest, "platforms": ["linux/amd64", "linux/arm64"]}
    assert digest in model.run("inspect", "renamed:v1").works().stdout
    assert model.run("run", "renamed:v1").works().stdout == f"{platform.machine()} 1.0\n"
    model.run("rmi", "renamed:v1").works()
    model.run("inspect", "renamed:v1").fails_with("renamed:v1")


def test_several_platforms_are_pushed_with_their_index(model: Model, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as target:
        name = f"{target.host}/team/model:v1"
        pushed = model.run("push", name, "--platform", BOTH, "--sbom", COG_INSECURE_REGISTRIES=target.host).works()
        index, digest = target.document("team/model/manifests/v1")
        assert f"  index   {target.host}/team/model@{digest}" in pushed.stderr + pushed.stdout
        entries = {one["platform"]["architecture"]: one for one in index["manifests"]}
        assert sorted(entries) == ["amd64", "arm64"]
        for architecture, entry in entries.items():
            manifest, _ = target.document(f"team/model/manifests/{entry['digest']}")
            config, _ = target.document(f"team/model/blobs/{manifest['config']['digest']}")
            assert config["architecture"] == architecture
            said, _ = target.document(f"team/model/manifests/sha256-{entry['digest'].removeprefix('sha256:')}")
            assert [one["artifactType"] for one in said["manifests"]] == ["application/spdx+json"]
        images = json.loads(model.run("images", "--json").works().stdout)
        assert [image["digest"] for image in images if image["name"] == name] == [digest]


def test_an_index_is_pulled_whole_and_pushed_on(model: Model, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as target:
        name, copy = f"{target.host}/team/model:v1", f"{target.host}/other/model:v2"
        model.run("push", name, "--platform", BOTH, "--sbom").works()
        index, digest = target.document("team/model/manifests/v1")
        # Somewhere else.
        other = Model.__new__(Model)
        Project.__init__(other, tmp_path / "elsewhere", tmp_path / "another-store")
        other.directory.mkdir()
        other.variables = DOWNLOADS
        said = other.run("pull", name, "--platform", "all").works().stderr
        assert f"Pulled {name} ({digest}) for linux/amd64, linux/arm64" in said
        assert "2 artifacts about it came with it" in said
        other.run("tag", name, copy).works()
        other.run("rmi", name).works()
        other.run("prune").works()
        for architecture in ["amd64", "arm64"]:
            sbom = other.run("inspect", "--sbom", "--platform", f"linux/{architecture}", copy).works().stdout
            assert json.loads(sbom)["spdxVersion"] == "SPDX-2.3"
        pushed = json.loads(other.run("push", "--no-build", copy, "--json").works().stdout)
        assert (pushed["digest"], pushed["platforms"]) == (digest, ["linux/amd64", "linux/arm64"])
        copied, copied_digest = target.document("other/model/manifests/v2")
        assert (copied, copied_digest) == (index, digest)
        for entry in index["manifests"]:
            said, _ = target.document(f"other/model/manifests/sha256-{entry['digest'].removeprefix('sha256:')}")
            assert [one["artifactType"] for one in said["manifests"]] == ["application/spdx+json"]

        # One platform, and one that there is none of.
        pulled = json.loads(other.run("pull", name, "--platform", f"linux/{OTHER}", "--json").works().stdout)
        assert pulled["platforms"] == [f"linux/{OTHER}"]
        assert pulled["digest"] in [one["digest"] for one in index["manifests"]]
        other.run("push", "--no-build", f"{target.host}/none/such:1").fails_with("is not in the local store", "cog tag")
        other.run("pull", name, "--platform", "linux/riscv64").fails_with("not for `linux/riscv64`")


def test_a_name_that_has_nothing_for_this_machine(model: Model, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as target:
        name, far = (f"{target.host}/team/model:{tag}" for tag in ("v1", "far"))
        model.run("push", name, "--platform", BOTH).works()
        index, _ = target.document("team/model/manifests/v1")
        index["manifests"] = [one for one in index["manifests"] if one["platform"]["architecture"] == OTHER]
        url, headers = f"http://{target.host}/v2/team/model/manifests/far", {"Content-Type": OCI_INDEX}
        body = json.dumps(index).encode()
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT", headers=headers)).close()
        for command in ["pull", "inspect", "run"]:
            model.run(command, far).fails_with(
                f"is not available for linux/{HOST}, only for linux/{OTHER}", "`cog pull --platform`"
            )
        model.run("pull", "--platform", "all", far).works()
        told = json.loads(model.run("inspect", "--json", far).works().stdout)
        assert told["platform"] == f"linux/{OTHER}"
        assert told["index"]["platforms"] == [f"linux/{OTHER}"]
        assert "output" in model.run("inspect", far).works().stdout
        model.run("inspect", "--platform", f"linux/{HOST}", far).fails_with(
            f"is for linux/{OTHER}, not for linux/{HOST}"
        )
        refused = model.run("run", far).fails_with(f"is for linux/{OTHER}, and this machine is linux/{HOST}")
        assert "invalid" not in refused.stderr
        model.run("schema", far).works()
        model.run("tag", far, "moved").works()
        model.run("rmi", far).works()
        model.run("prune").works()
        model.run("inspect", "moved").works()


def test_an_image_that_an_index_lists_and_its_registry_lost(model: Model, registry: Registry) -> None:
    put_other(registry, "lost", "3.11.3")
    put_index(registry, "half", "lost")
    gone = registry.paths.pop(f"/v2/{REPOSITORY}/manifests/lost").digest
    del registry.paths[f"/v2/{REPOSITORY}/manifests/{gone}"]
    model.variables["COG_BASE"] = registry.reference("half")
    for platforms in [f"linux/{OTHER}", BOTH]:
        refused = model.run("build", "--platform", platforms, "-t", "half")
        refused.fails_with(f"lists an image for linux/{OTHER}, which", "does not have")
        assert "building for" not in refused.stderr
    # The one that is there is enough for itself.
    model.run("build", "--platform", f"linux/{HOST}", "-t", "half").works()


def test_all_that_has_to_run_is_refused_at_once(model: Model) -> None:
    model.write(
        cog__yaml=CONFIG.replace(
            "build:\n", "build:\n  system_packages: [tree]\n  run:\n    - echo first\n    - command: echo second\n"
        )
    )
    refused = model.run("build", "--platform", f"linux/{OTHER}", "--engine", "host")
    refused.fails_with(
        f"building for linux/{OTHER} takes programs of that platform to run",
        "`build.system_packages`: `tree`",
        "`build.run`: `echo first`",
        "`build.run`: `echo second`",
        "--backend docker",
    )
    on_debian = model.run("build", "--platform", f"linux/{OTHER}", "--engine", "host", "--base", "debian")
    on_debian.fails_with("the base from the Debian archive", "`build.run`: `echo first`", "--base REFERENCE")


def test_a_daemon_that_runs_no_such_programs_is_told_of(model: Model) -> None:
    if is_registered():
        pytest.skip("this machine's kernel runs programs of the other platform for everybody")
    model.write(cog__yaml=CONFIG.replace("build:\n", "build:\n  run: [echo first]\n"))
    with Daemon(*NO_NETWORK) as docker:
        refused = model.run("build", "--platform", f"linux/{OTHER}", "--backend", "docker", DOCKER_HOST=docker.host)
    refused.fails_with(f"Docker does not seem to run programs for linux/{OTHER}", "qemu-user-static")


def test_programs_of_the_platform_are_emulated(model: Model, registry: Registry, tmp_path: Path) -> None:
    emulator = shutil.which(f"qemu-{OTHER_MACHINE}-static")
    if emulator is None:
        pytest.skip("QEMU's static emulator is not installed")
    if kernel() < (6, 7):
        pytest.skip("containers have interpreters of their own since Linux 6.7")
    # Its path may have anything in it.
    moved = tmp_path / "an emulator: :x"
    shutil.copy(emulator, moved)
    put_other(registry, "sh", files={"bin/sh": Program(saying(f"ran on {OTHER}\n".encode()))})
    put_index(registry, PLATFORMS, "sh")
    model.write(cog__yaml=CONFIG.replace("build:\n", "build:\n  run: [whatever]\n"))
    build = ("build", "--platform", f"linux/{OTHER}", "--no-cache", "-t", "emulated")
    # Somebody who is not root has no rights to register anything for the whole machine.
    somebody = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    for before, program in [((), moved), ((), ""), (somebody, "")]:
        environment = {**model.variables, "COG_EMULATOR": str(program)}
        built = model.cog(*build, before=before, **environment).works()
        assert f"ran on {OTHER}\n" in built.stderr
    # Nothing of it is left on this machine.
    assert is_registered() is False
    # What the image runs is emulated too; this one has no server.
    said = model.run("run", "emulated", COG_EMULATOR="").stderr
    assert f"The image is for linux/{OTHER}: its programs are emulated" in said


def test_an_emulator_that_is_none_is_told_of(model: Model, tmp_path: Path) -> None:
    model.write(cog__yaml=CONFIG.replace("build:\n", "build:\n  run: [whatever]\n"))
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    for program, reason in [
        (script, f"`{script}` is no program for this machine"),
        (tmp_path / "absent", "No such file or directory"),
        (shutil.which("sleep"), "is not static, and a container does not have what it needs"),
    ]:
        refused = model.run("build", "--platform", f"linux/{OTHER}", COG_EMULATOR=str(program))
        refused.fails_with("nothing here", "`COG_EMULATOR`: ", reason, "`build.run`: `whatever`")


def test_a_package_without_a_wheel_for_the_platform_is_named(model: Model) -> None:
    model.require("native", "onlyhere")
    refused = model.run("build", "--platform", f"linux/{OTHER}")
    refused.fails_with("onlyhere", "wheel")


def test_a_base_without_the_platform_is_refused(model: Model, registry: Registry) -> None:
    single = registry.reference(OFFICIAL)
    refused = model.run("build", "--platform", f"linux/{OTHER}", COG_BASE=single)
    refused.fails_with(f"is for linux/{HOST}, not for linux/{OTHER}")
    put_index(registry, "here-only")
    refused = model.run("build", "--platform", f"linux/{OTHER}", COG_BASE=registry.reference("here-only"))
    refused.fails_with(f"is not available for linux/{OTHER}, only for linux/{HOST}")


def test_a_gpu_project_is_built_on_cuda_for_the_platform(model: Model, registry: Registry, tmp_path: Path) -> None:
    model.variables |= put_cuda(registry, tmp_path, everywhere=True)
    model.write(cog__yaml=CONFIG.replace("build:\n", "build:\n  gpu: true\n"))
    layout = model.build("cuda", f"linux/{OTHER}")
    config, files = layout.config(OTHER), layout.files(OTHER)
    assert config["architecture"] == OTHER
    assert "CUDA_VERSION=11.8.0" in config["config"]["Env"]
    assert files["opt/python/bin/python3.11"] == saying(b"not run\n")
    assert files[f"{SITE_PACKAGES}/native/__init__.py"] == f"MACHINE = '{OTHER_MACHINE}'\n".encode()
    model.run("lock", "--platform", f"linux/{OTHER}").works()
    lock = (model.directory / "cog.lock").read_text()
    assert re.search(r'image = "nvidia/cuda:11.8.0-.*"\ndigest = "sha256:', lock)
    again = model.build("relocked", f"linux/{OTHER}", "--locked", "--no-cache")
    # The lock file itself is among the project's files.
    assert again.layers(OTHER)[:-1] == layout.layers(OTHER)[:-1]


def test_a_gpu_project_without_cuda_for_the_platform_is_told_what_to_do(
    model: Model, registry: Registry, tmp_path: Path
) -> None:
    model.variables |= put_cuda(registry, tmp_path, everywhere=False)
    model.write(cog__yaml=CONFIG.replace("build:\n", "build:\n  gpu: true\n"))
    refused = model.run("build", "--platform", f"linux/{OTHER}", "--no-cache")
    refused.fails_with(
        "base image `nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04` is not available for "
        f"linux/{OTHER}, only for linux/{HOST}",
        "`--use-cuda-base-image=false`",
    )


def test_another_python_compiles_nothing(model: Model, registry: Registry) -> None:
    put_other(registry, "newer", "3.11.9")
    put_index(registry, PLATFORMS, "newer")
    layout = model.build("newer", f"linux/{OTHER}", "--no-cache")
    compiled = [path for path in layout.files(OTHER) if path.endswith(".pyc")]
    assert not compiled, compiled
    assert registry.paths[f"/v2/{REPOSITORY}/manifests/newer"].media_type == MANIFEST


def test_the_server_for_the_platform_is_looked_for_and_checked(model: Model, server: Path) -> None:
    name = f"COG_COGLET_BINARY_{OTHER.upper()}"
    model.run("build", "--platform", f"linux/{OTHER}", **{name: ""}).fails_with(
        f"no `coglet` for linux/{OTHER}", name, f"coglet-linux-{OTHER}`"
    )
    server.write_bytes(program(HOST))
    wrong = model.run("build", "--platform", f"linux/{OTHER}")
    wrong.fails_with(f"is a program for linux/{HOST}, and the image is for linux/{OTHER}")
    server.write_text("#!/bin/sh\n")
    model.run("build", "--platform", f"linux/{OTHER}").fails_with("is no 64-bit Linux program")


def test_the_lock_file_has_a_part_for_each_platform(model: Model) -> None:
    model.run("lock").works()
    before = (model.directory / "cog.lock").read_text()
    assert before.count("[[platform]]") == 1
    locked = ("build", "--platform", BOTH, "--locked", "-t", "locked")
    model.run(*locked).fails_with(f"cog.lock has nothing for linux/{OTHER}")
    first = model.build("locked", BOTH)
    lock = (model.directory / "cog.lock").read_text()
    assert lock.count("[[platform]]") == 2
    assert f"manylinux_2_17_{OTHER_MACHINE}" in lock
    model.run(*locked).works()
    assert (model.directory / "cog.lock").read_text() == lock
    assert model.build("relocked", BOTH).digest == first.digest


def test_a_lock_file_is_made_for_the_platforms_that_are_named(model: Model) -> None:
    # What comes with `cog` is no part of it.
    without_server = {f"COG_COGLET_BINARY_{OTHER.upper()}": ""}
    lock = model.directory / "cog.lock"
    said = model.run("lock", "--platform", f"linux/{OTHER}", **without_server).works().stderr
    assert "Wrote cog.lock" in said
    assert f"resolving for linux/{OTHER}" in said
    assert platforms_of(lock) == [f"linux/{OTHER}"]
    # The file says for which it is.
    assert "cog.lock is up to date" in model.run("lock", **without_server).works().stderr
    model.run("lock", "--check").works()
    model.run("build", "-t", "locked", "--locked").fails_with(
        f"cog.lock has nothing for linux/{HOST}", "`cog lock --platform linux/amd64,linux/arm64` brings it up to date"
    )
    model.run("lock", "--check", "--platform", BOTH).fails_with(f"cog.lock has nothing for linux/{HOST}")

    said = model.run("lock", "--platform", f"linux/{OTHER},linux/{HOST}").works().stderr
    assert f"added linux/{HOST}" in said
    assert platforms_of(lock) == ["linux/amd64", "linux/arm64"]
    text = lock.read_text()
    assert "cog.lock is up to date" in model.run("lock", "--platform", BOTH).works().stderr
    model.run("lock", "--check").works()
    first = model.build("locked", BOTH, "--locked")
    lock.unlink()
    model.run("lock", "--platform", BOTH).works()
    assert lock.read_text() == text, "it is the same whichever platform came first"
    assert model.build("relocked", f"linux/{OTHER},linux/{HOST}", "--locked", "--no-cache").digest == first.digest
    assert lock.read_text() == text

    said = model.run("lock", "--platform", f"linux/{HOST}").works().stderr
    assert f"removed linux/{OTHER}" in said
    assert platforms_of(lock) == [f"linux/{HOST}"]


def test_all_platforms_of_a_lock_file_are_brought_up_to_date(model: Model, index: str) -> None:
    lock = model.directory / "cog.lock"
    model.run("lock", "--platform", BOTH).works()
    model.require("native", "platformless", "large")
    refused = model.run("build", "--platform", BOTH, "--locked", "-t", "locked")
    refused.fails_with("requirements.txt has `large`, and cog.lock was made without it")
    assert refused.stderr.count("requirements.txt has `large`") == 1
    model.run("lock", "--check").fails_with("requirements.txt has `large`")
    # Whatever one of them is built for.
    said = model.run("build", "-t", "updated").works().stderr
    assert said.count("cog.lock: added large 1.0") == 1
    assert platforms_of(lock) == ["linux/amd64", "linux/arm64"]
    assert lock.read_text().count('name = "large"') == 2
    model.build("updated", BOTH, "--locked")
    # By hand, too.
    model.require("native", "platformless")
    said = model.run("lock").works().stderr
    assert said.count("removed large 1.0") == 1
    assert platforms_of(lock) == ["linux/amd64", "linux/arm64"]


def test_versions_stay_for_each_platform(model: Model, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    add_wheel(old, "ages", "1.0", ages="")
    add_wheel(new, "ages", "1.0", ages="")
    add_wheel(new, "ages", "2.0", ages="")
    add_wheel(new, "young", "1.0", young="")
    with serve(old) as old_url, serve(new) as new_url:
        model.write(requirements__txt="ages\n")
        model.run("lock", "--platform", BOTH, UV_INDEX=old_url).works()
        model.variables["UV_INDEX"] = new_url
        model.write(requirements__txt="ages\nyoung\n")
        # One build for both: neither forgets what the other's update has replaced in the file.
        model.build("grown", BOTH)
        lock = (model.directory / "cog.lock").read_text()
        assert lock.count('version = "1.0"') == 4
        said = model.run("lock", "--upgrade", "ages").works().stderr
        assert said.count("ages 1.0 -> 2.0\n") == 1
        lock = (model.directory / "cog.lock").read_text()
        assert (lock.count('version = "1.0"'), lock.count('version = "2.0"')) == (2, 2)
        model.run("lock", "--upgrade", "old").fails_with("cog.lock has no `old`")


def test_a_platform_that_cannot_be_locked_does_not_hold_up_the_build_for_another_one(model: Model) -> None:
    lock = model.directory / "cog.lock"
    model.run("lock", "--platform", BOTH).works()
    model.require("native", "onlyhere")
    model.run("lock").fails_with("onlyhere")
    assert platforms_of(lock) == ["linux/amd64", "linux/arm64"], "nothing was written"
    said = model.run("build", "-t", "left").works().stderr
    assert f"cog.lock no longer has a part for linux/{OTHER}" in said
    assert "`cog lock --platform linux/amd64,linux/arm64`" in said
    assert "onlyhere" in said
    assert platforms_of(lock) == [f"linux/{HOST}"]


def test_what_one_platform_cannot_have_costs_no_build_for_another_one(model: Model) -> None:
    model.require("native", "onlyhere")
    refused = model.run("build", "--platform", BOTH, "-t", "none").fails_with("onlyhere")
    assert "building for" not in refused.stderr
    missing = model.run("build", "--platform", BOTH, "-t", "none", **{f"COG_COGLET_BINARY_{OTHER.upper()}": ""})
    missing.fails_with(f"no `coglet` for linux/{OTHER}")
    assert "resolving for" not in missing.stderr


def test_a_secret_that_can_be_read_once_is_read_once(model: Model, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    model.write(
        cog__yaml=CONFIG.replace(
            "build:\n",
            "build:\n  run:\n    - command: echo once\n      mounts: [{type: secret, id: token, target: /token}]\n",
        )
    )
    writer = subprocess.Popen(["/bin/sh", "-c", f"printf hidden > {pipe}"])
    done = model.run("build", "--platform", BOTH, "-t", "none", "--secret", f"id=token,src={pipe}")
    assert writer.wait(timeout=10) == 0
    done.fails_with(f"building for linux/{OTHER} takes programs of that platform to run")


def test_other_platforms_are_mistakes(model: Model) -> None:
    model.run("build", "--platform", "linux/riscv64").fails_with(
        "images are made for `linux/amd64` and `linux/arm64`, not for `linux/riscv64`"
    )
    archive = model.run("build", "--platform", BOTH, "--output", "docker-archive=x.tar")
    archive.fails_with("`docker-archive` holds one image")


def platforms_of(lock: Path) -> list[str]:
    """Those that a lock file has a part for."""
    return re.findall(r'^name = "(linux/.*)"$', lock.read_text(), re.MULTILINE)


def kernel() -> tuple[int, int]:
    major, minor = re.match(r"(\d+)\.(\d+)", platform.release()).groups()  # type: ignore[union-attr]
    return int(major), int(minor)


def is_registered() -> bool:
    """Whether this machine's kernel has an interpreter for programs of the other platform."""
    from pathlib import Path

    folder = Path("/proc/sys/fs/binfmt_misc")
    texts = [entry.read_text() for entry in folder.glob("*") if entry.name not in ("register",)]
    return any(OTHER_MACHINE in text for text in texts)

"""Bases from registries as the published tool has them: prebuilt images with packages, images with CUDA and no Python,
and images in which nothing would run. All are made here, of the Debian base, and served by a registry of the tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from package_index import add_wheel, serve
from registry import Link, Registry, put_image
from support import STORE, Done, Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RegistryBase

MODEL = """\
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        return "hello"
"""
CONFIG = """\
build:
  python_version: "3.11"
  python_requirements: requirements.txt
run: "run.py:Runner"
"""
PACKAGES = "usr/local/lib/python3.11/dist-packages"
PYTHON = {"usr/local/bin/python": Link("/usr/bin/python3.11")}
DOWNLOADS = {"UV_CACHE_DIR": str(STORE / "uv/cache")}
TORCH = "2.3.1+cpu"
# Shows what is installed above.
PROGRAM = """
def main():
    import cognum

    print("cognum", cognum.version)
"""
TAG = "python3.11-torch2.3.1"


def installed(name: str, version: str, **modules: str) -> dict[str, str | Link]:
    """Files of a Python package in a base."""
    info = f"{name}-{version}.dist-info"
    files = {f"{module}/__init__.py": text for module, text in modules.items()}
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\nrun-{name} = {name}:main\n"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    return {f"{PACKAGES}/{path}": text for path, text in files.items()}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Has what the prebuilt image has, and newer versions."""
    root = tmp_path_factory.mktemp("index")
    for version in [TORCH, "2.3.1"]:
        add_wheel(root, "torch", version, ("cogdep",), torch=f"__version__ = {version!r}\n")
    for version in ["1.5", "2.0"]:
        add_wheel(root, "cogdep", version, cogdep=f"version = {version!r}\n")
        add_wheel(root, "cognum", version, cognum=f"version = {version!r}\n")
    with serve(root) as url:
        yield url


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knew nothing of any base when the first test began."""
    return tmp_path_factory.mktemp("bases") / "store"


@pytest.fixture
def registry(base_in_registry: RegistryBase) -> Iterator[Registry]:
    """Without what an earlier test put there."""
    registry = base_in_registry.registry
    before = dict(registry.paths)
    yield registry
    registry.paths = before


def put_prebuilt(registry: Registry, tag: str = TAG) -> None:
    packages = {
        **installed("torch", TORCH, torch=f"__version__ = {TORCH!r}\n{PROGRAM}"),
        **installed("cogdep", "1.5", cogdep="version = '1.5'\n"),
        **installed("cognum", "1.5", cognum="version = '1.5'\n"),
        **installed("coghelper", "1.0", coghelper="version = '1.0'\n"),
    }
    put_image(registry, tag, [{**PYTHON, **packages}], {}, "cog-base")


def project(directory: Path, store: Path, requirements: str = "", config: str = CONFIG) -> Project:
    directory.mkdir()
    return Project(directory, store).write(cog__yaml=config, run__py=MODEL, requirements__txt=requirements)


def cog(project: Project, registry: Registry, *arguments: object, **env: str) -> Done:
    """Runs `cog` with the registry in place of all others: it answers for Docker Hub as a proxy."""
    own = {"COG_BASE": "", "COG_REGISTRY_HOST": registry.host, "COG_TORCH_INDEX": "default", **DOWNLOADS}
    hub = {"COG_INSECURE_REGISTRIES": "docker.io", "HTTP_PROXY": f"http://{registry.host}", "NO_PROXY": "127.0.0.1"}
    return project.cog(*arguments, **{**own, **hub, **env})


SHOW = """\
import cogdep, coghelper, cognum, sys, torch
print(sys.version_info[:2], torch.__version__, cogdep.version, cognum.version, coghelper.version)
print(torch.__file__)
print(cognum.__file__)
"""


def test_packages_of_a_prebuilt_image_are_seen_and_not_installed_again(
    tmp_path: Path, registry: Registry, store: Path, index: str
) -> None:
    put_prebuilt(registry)
    lines = f"torch==2.3.1 --extra-index-url {index}\ncogdep\ncognum==2.0\n"
    config = CONFIG.replace("build:", "build:\n  system_packages: [ffmpeg]")
    model = project(tmp_path / "model", store, lines, config)
    built = cog(model, registry, "build", "-t", "prebuilt:1", "--output", f"oci-dir={tmp_path / 'image'}").works()
    assert "Could not find" not in built.stderr
    assert "system packages" not in built.stderr, "ffmpeg is one of those that the image has"
    shown = cog(model, registry, "exec", "python", "-c", SHOW).works().stdout.splitlines()
    assert shown[0] == f"(3, 11) {TORCH} 1.5 2.0 1.0"
    assert shown[1] == f"/{PACKAGES}/torch/__init__.py"
    assert shown[2].startswith("/opt/venv/")
    own = cog(model, registry, "exec", "ls", "/opt/venv/lib/python3.11/site-packages").works().stdout.split()
    assert "cognum" in own
    assert not {"torch", "cogdep", "coghelper"} & set(own)
    assert cog(model, registry, "exec", "run-torch").works().stdout == "cognum 2.0\n"
    pip = cog(model, registry, "exec", "sh", "-c", "command -v pip").works().stdout
    assert pip.strip() == "/opt/venv/bin/pip"

    [manifest] = json.loads((tmp_path / "image/index.json").read_text())["manifests"]
    blobs = tmp_path / "image/blobs/sha256"
    described = json.loads((blobs / manifest["digest"].removeprefix("sha256:")).read_text())["config"]
    config_file = json.loads((blobs / described["digest"].removeprefix("sha256:")).read_text())
    said = config_file["config"]["Labels"]
    assert f"/cog-base:{TAG}" in said["run.cog.cog-base-image-name"]
    frozen = said["run.cog.pip_freeze"].splitlines()
    assert {f"torch=={TORCH}", "cogdep==1.5", "cognum==2.0", "coghelper==1.0"} <= set(frozen)
    assert "cognum==1.5" not in frozen


def test_another_build_of_torch_is_installed_above_that_of_the_image(
    tmp_path: Path, registry: Registry, store: Path, index: str
) -> None:
    put_prebuilt(registry)
    lines = f"--extra-index-url {index}\ntorch===2.3.1\ncogdep\n"
    model = project(tmp_path / "model", store, lines)
    reference = registry.reference(TAG, "cog-base")
    shown = cog(model, registry, "exec", "--base", reference, "python", "-c", SHOW).works().stdout.splitlines()
    assert shown[0] == "(3, 11) 2.3.1 1.5 1.5 1.0"
    assert shown[1].startswith("/opt/venv/")


def test_a_prebuilt_image_that_is_missing_is_left_out_unless_it_was_asked_for(
    tmp_path: Path, registry: Registry, store: Path
) -> None:
    put_image(registry, "3.11-slim", [], {}, "library/python")
    model = project(tmp_path / "model", store)
    done = cog(model, registry, "exec", "python", "-c", "print('runs')").works()
    assert done.stdout == "runs\n"
    assert "Could not find a suitable base image, continuing without base image support" in done.stderr
    assert f"{registry.host}/cog-base:python3.11" in done.stderr
    done = cog(model, registry, "build", "--use-cog-base-image=true", "-t", "none:1")
    done.fails_with(f"{registry.host}/cog-base:python3.11")


def test_a_prebuilt_image_with_another_python_is_not_used(tmp_path: Path, registry: Registry, store: Path) -> None:
    put_image(registry, "python3.12", [PYTHON], {}, "cog-base")
    config = CONFIG.replace("3.11", "3.12")
    model = project(tmp_path / "model", store, config=config)
    done = cog(model, registry, "build", "--use-cog-base-image=true", "-t", "none:1")
    done.fails_with("has no Python 3.12")


CUDA = "11.8.0-cudnn8-devel-ubuntu22.04"
CUDA_VARIABLES = {
    "CUDA_VERSION": "11.8.0",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_REQUIRE_CUDA": "cuda>=11.8",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
}
NO_PYTHON = {
    **{f"usr/bin/.wh.{name}": "" for name in ["python3", "python3.11"]},
    "usr/lib/.wh.python3.11": "",
    "usr/lib/.wh.python3": "",
    "usr/local/cuda/version.json": "{}",
}
GPU_CONFIG = CONFIG.replace("build:", "build:\n  gpu: true")


def put_cuda(registry: Registry) -> None:
    put_image(registry, CUDA, [NO_PYTHON], CUDA_VARIABLES, "nvidia/cuda")


def python_downloads(registry: Registry, folder: Path) -> dict[str, str]:
    """Makes uv find one Python: that of the base, packed as its downloads are."""
    assert registry.root is not None
    packed = folder / "python.tar.gz"
    with tarfile.open(registry.root[0].path) as root, tarfile.open(packed, "w:gz", compresslevel=1) as python:
        for entry in root:
            name = entry.name.removeprefix("./")
            if name == "usr/bin/python3.11" or (name.startswith("usr/lib/python3.11/") and entry.isfile()):
                entry.name = f"python/{name.removeprefix('usr/')}"
                python.addfile(entry, root.extractfile(entry))
        empty = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
        data = tarfile.TarInfo("python/lib/python3.11/_sysconfigdata__linux_x86_64-linux-gnu.py")
        data.size = len(empty)
        python.addfile(data, io.BytesIO(empty))
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[registry.architecture]
    download = {
        **{"name": "cpython", "arch": {"family": machine, "variant": None}, "os": "linux", "libc": "gnu"},
        **{"major": 3, "minor": 11, "patch": 2, "prerelease": "", "variant": None, "build": "1"},
        **{"url": packed.as_uri(), "sha256": digest},
    }
    listed = folder / "downloads.json"
    listed.write_text(json.dumps({f"cpython-3.11.2-linux-{machine}-gnu": download}))
    return {"UV_PYTHON_DOWNLOADS_JSON_URL": str(listed)}


def test_an_image_with_cuda_gets_a_python(tmp_path: Path, registry: Registry, store: Path) -> None:
    put_cuda(registry)
    model = project(tmp_path / "model", store, config=GPU_CONFIG)
    env = {**python_downloads(registry, tmp_path), "COG_CDI_DIRS": str(tmp_path / "no-devices")}
    show = "import os, sys; print(sys.version_info[:2], sys.base_prefix, os.environ['NVIDIA_REQUIRE_CUDA'])"
    done = cog(model, registry, "exec", "--use-cog-base-image=false", "python", "-c", show, **env).works()
    assert done.stdout == "(3, 11) /opt/python cuda>=11.8\n"
    variables = cog(model, registry, "exec", "--use-cog-base-image=false", "env", **env).works().stdout.splitlines()
    [path] = [one for one in variables if one.startswith("LD_LIBRARY_PATH=")]
    assert "/usr/local/nvidia/lib64" in path
    there = cog(model, registry, "exec", "--use-cog-base-image=false", "ls", "/usr/local/cuda", **env).works()
    assert there.stdout == "version.json\n"


def test_an_image_with_cuda_and_no_python_to_add_is_named(tmp_path: Path, registry: Registry) -> None:
    put_cuda(registry)
    # A store that knows no Python for this base.
    model = project(tmp_path / "model", tmp_path / "store", config=GPU_CONFIG)
    nothing = tmp_path / "downloads.json"
    nothing.write_text("{}")
    env = {"UV_PYTHON_DOWNLOADS_JSON_URL": str(nothing)}
    done = cog(model, registry, "exec", "--use-cog-base-image=false", "true", **env)
    done.fails_with(f"base image `nvidia/cuda:{CUDA}", "has no Python", "Python 3.11 could not be downloaded", "--base")


@pytest.mark.parametrize(
    ("tag", "files", "variables"),
    [
        ("3.11-alpine3.20", {}, {"PYTHON_VERSION": "3.11.2"}),
        ("looked-into", {"etc/alpine-release": "3.20.0\n"}, {}),
        ("official", {"lib/ld-musl-x86_64.so.1": ""}, {"PYTHON_VERSION": "3.11.2"}),
    ],
)
def test_an_image_with_musl_is_refused(
    tmp_path: Path, registry: Registry, store: Path, tag: str, files: dict[str, str], variables: dict[str, str]
) -> None:
    files = {path.replace("lib/", "usr/lib/"): text for path, text in files.items()}
    link = {"usr/local/bin/python3.11": Link("/usr/bin/python3.11")}
    put_image(registry, tag, [{**link, **files}], variables, "team/musl")
    model = project(tmp_path / "model", store, "six\n")
    reference = registry.reference(tag, "team/musl")
    done = cog(model, registry, "build", "--base", reference, "-t", "none:1")
    done.fails_with(f"base image `{reference}", "musl", "python:3.13-slim")

"""Layers that were made here, pushed, and lost from the store: the registry that they went to may be gone, too."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from conftest import registry_base
from docker_registry import docker_registry
from support import STORE, Done, Project, hello

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Packages need not come over the network for each store.
DOWNLOADS = {"UV_CACHE_DIR": str(STORE / "uv/cache")}


NAME = "lost:v1"


@dataclass
class Pushed:
    """A project of which the image was pushed to a registry that is gone."""

    project: Project
    env: dict[str, str]

    def cog(self, *arguments: object) -> Done:
        return self.project.cog(*arguments, **self.env)

    def described(self) -> dict[str, Any]:
        found = json.loads(self.cog("inspect", "--json", NAME).works().stdout)
        assert isinstance(found, dict)
        return found

    def blob(self, digest: str) -> Path:
        return self.project.store / "blobs/sha256" / digest.removeprefix("sha256:")

    def own_layers(self) -> list[str]:
        """Those of Python packages, the runtime and the source; below them is the base's."""
        _base, *own = self.described()["layers"]
        return [layer["digest"] for layer in own]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Pushed:
    folder = tmp_path_factory.mktemp("pushed")
    env = {"COG_BASE": registry_base(request.config).registry.base, **DOWNLOADS}
    pushed = Pushed(hello(folder / "project", folder / "store"), env)
    with docker_registry(folder / "registry") as registry:
        target = f"{registry.host}/team/lost:v1"
        pushed.cog("push", target).works()
    pushed.cog("tag", target, NAME).works()
    assert len(pushed.own_layers()) == 3
    return pushed


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [remove, shorten])
def test_a_build_makes_them_again(pushed: Pushed, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    pushed.cog("build", "-t", NAME).works()
    before = pushed.described()["digest"]
    for digest in pushed.own_layers():
        content = pushed.blob(digest).read_bytes()
        harm(pushed.blob(digest))
        pushed.cog("build", "-t", NAME, "--output", f"oci-dir={tmp_path / digest[-8:]}").works()
        assert pushed.blob(digest).read_bytes() == content
    assert pushed.described()["digest"] == before


def test_one_with_other_content_is_found_by_a_copy_and_made_again(pushed: Pushed, tmp_path: Path) -> None:
    digest = pushed.own_layers()[0]
    content = pushed.blob(digest).read_bytes()
    pushed.blob(digest).write_bytes(content[:-1] + b"!")
    build = ("build", "-t", NAME, "--output", f"oci-dir={tmp_path / 'copy'}")
    pushed.cog(*build).fails_with(f"blob {digest} is corrupt", "build or pull the image again")
    pushed.cog(*build).works()
    assert pushed.blob(digest).read_bytes() == content


def test_without_a_build_it_is_told_what_to_do(pushed: Pushed) -> None:
    pushed.cog("build", "-t", NAME).works()
    digest = pushed.own_layers()[1]
    content = pushed.blob(digest).read_bytes()
    pushed.blob(digest).unlink()
    shutil.rmtree(pushed.project.store / "snapshots")
    (pushed.project.store / "snapshots").mkdir()
    run = ("run", NAME, "-i", "text=again")
    why = (f"blob {digest} is not in the store, and could not be fetched: could not reach 127.0.0.1", "`cog build`")
    pushed.cog(*run).fails_with(*why)
    pushed.cog("build", "-t", NAME).works()
    assert pushed.cog(*run).works().stdout == "hello again\n"
    assert pushed.blob(digest).read_bytes() == content


def test_a_push_without_a_build_says_where_it_was_and_what_to_do(pushed: Pushed, tmp_path: Path) -> None:
    pushed.cog("build", "-t", NAME).works()
    digest = pushed.own_layers()[1]
    content = pushed.blob(digest).read_bytes()
    with docker_registry(tmp_path / "registry") as registry:
        target = f"{registry.host}/other/lost:v1"
        pushed.cog("tag", NAME, target).works()
        pushed.blob(digest).unlink()
        failed = pushed.cog("push", "--no-build", target).fails_with("`cog push` without `--no-build` makes again")
        why = rf"layer {digest} is not in the store, and could not be fetched from `127\.0\.0\.1:\d+/team/lost`"
        assert re.search(why + r": could not reach 127\.0\.0\.1", failed.stderr), failed.stderr
        pushed.cog("push", target).works()
        assert pushed.blob(digest).read_bytes() == content

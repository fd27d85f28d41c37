"""Public projects are built whole, with the torch of the default index, and import it in their containers.

One of them, with the smallest torch, is built each time; all with `COG_CORPUS_BUILDS=1` (`make corpus-builds`), which
takes some 10 GB of downloads and 15 GB of disk at a time. All have Python 3.11, which the Debian base has. Commands of
`build.run` are left out: those of these projects fetch things from elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from corpus import NEWEST, RESOLVED, corpus, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from support import Project

MODEL = """\
import importlib.metadata
import json

from cog import BaseRunner


class Runner(BaseRunner):
    def setup(self) -> None:
        import torch

        self.torch = torch

    def run(self, text: str) -> str:
        tensor = self.torch.ones(2, 3) @ self.torch.ones(3, 2)
        installed = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
        return json.dumps({
            "torch": self.torch.__version__,
            "cuda": self.torch.version.cuda,
            "product": tensor.tolist(),
            "installed": installed,
        })
"""
PYTHON = "3.11"
ALL = "COG_CORPUS_BUILDS"
# What the default index has: the projects, the first with the smallest torch, and torch as it names itself.
BUILT = {
    "p16": ("1.13.0+cu117", "11.7"),
    "p12": ("2.0.1+cu117", "11.7"),
    "p34": ("2.0.1+cu117", "11.7"),
    "p03": ("2.0.1+cu117", "11.7"),
    "p33": ("2.7.0+cu126", "12.6"),
}
GROUPS = [list(names) for _, names in groupby(BUILT, BUILT.__getitem__)]


@dataclass
class Built:
    """An image in a store."""

    answer: dict[str, object]
    # What a layer is for, and its digest.
    layers: dict[str, str]
    size: int

    def torch_layers(self) -> dict[str, str]:
        return {title: digest for title, digest in self.layers.items() if re.match(r"cog: (torch|nvidia-\S+) ", title)}


@pytest.mark.parametrize("names", GROUPS, ids="-".join)
def test_projects_import_the_torch_that_was_resolved(tmp_path: Path, names: list[str]) -> None:
    if names != GROUPS[0] and not os.environ.get(ALL):
        pytest.skip(f"takes gigabytes: set {ALL}=1, or use `make corpus-builds`")
    store = tmp_path / "store"
    try:
        images = [build(name, tmp_path / name, store) for name in names]
    finally:
        # Test folders are kept for a while.
        shutil.rmtree(store, ignore_errors=True)
    for image in images:
        assert image.torch_layers()
        # Each large package is a layer that depends on nothing else.
        assert image.torch_layers() == images[0].torch_layers()


def build(name: str, directory: Path, store: Path) -> Built:
    facts = next(facts for facts in corpus() if facts.id == name)
    project = facts.without_commands().project(directory, store, python=PYTHON).write(run__py=MODEL)
    env = {"COG_TORCH_INDEX": "default", "UV_EXCLUDE_NEWER": NEWEST}
    image = f"corpus-{name}"
    started = time.monotonic()
    done = project.cog("build", "-t", image, **env)
    if "cannot be reached" in done.stderr and done.status != 0:
        pytest.skip(f"an index or archive cannot be reached: {done.stderr}")
    done.works()
    seconds = time.monotonic() - started

    answer = json.loads(project.cog("run", image, "-i", "text=x", **env).works().stdout)
    assert (answer["torch"], answer["cuda"]) == BUILT[name]
    assert answer["product"] == [[3, 3], [3, 3]]
    check_installed(name, project, answer["installed"], env)
    layers, size = read_layers(store, image)
    print(f"{name}: torch {answer['torch']}, {size / 1e6:.0f} MB in {len(layers)} layers, built in {seconds:.0f} s")
    return Built(answer, layers, size)


def check_installed(name: str, project: Project, installed: dict[str, str], env: dict[str, str]) -> None:
    """What Python sees in the container is what was resolved, and that is what the table says."""
    resolved = json.loads(project.cog("debug", "--plan", "--resolve", **env).works().stdout)
    versions = {normalised(one): version for one, version in installed.items()}
    distributions = resolved["lock"]["python"]["resolution"]["distributions"]
    for one in distributions:
        assert versions[one["name"]] == one["version"]
    torch = next(one["version"] for one in distributions if one["name"] == "torch")
    row = next(row for row in read_table() if row.id == name)
    if row.outcome == RESOLVED:
        assert row.detail == f"torch=={torch}"
    assert BUILT[name][0].startswith(f"{torch}+")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_layers(store: Path, name: str) -> tuple[dict[str, str], int]:
    """What the layers of an image are for, with their digests; and the bytes of all."""
    index = json.loads((store / "index.json").read_text())

    def document(digest: str) -> dict:
        return json.loads((store / "blobs" / digest.replace(":", "/")).read_text())

    found = [one for one in index["manifests"] if name in json.dumps(one.get("annotations", {}))]
    manifest = document(found[-1]["digest"])
    history = document(manifest["config"]["digest"])["history"]
    titles = [one["created_by"] for one in history if not one.get("empty_layer")]
    layers = manifest["layers"]
    assert len(titles) == len(layers)
    by_title = dict(zip(titles, (one["digest"] for one in layers), strict=True))
    return by_title, sum(one["size"] for one in layers)

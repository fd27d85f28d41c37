"""The source in layers: a changed line leaves all but one alone, and a container sees the whole project."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

from support import STORE, Project, hello

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RegistryBase

CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
# What it says is the line that changes.
MODEL = """\
import hashlib
import os

from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        found = hashlib.sha256()
        for folder, _, names in sorted(os.walk("data")) + sorted(os.walk("weights")):
            for name in sorted(names):
                with open(os.path.join(folder, name), "rb") as file:
                    found.update(name.encode() + file.read())
        return "first " + found.hexdigest()
"""
MIB = 1 << 20


def layers(project: Project, name: str) -> tuple[list[str], list[str]]:
    """The layers of the image's source, by digest, and what its history says of them."""
    index = json.loads((project.store / "index.json").read_text())
    [entry] = [one for one in index["manifests"] if name in json.dumps(one.get("annotations", {}))]
    manifest = document(project, entry)
    history = [line for line in document(project, manifest["config"])["history"] if not line.get("empty_layer")]
    found = [
        (layer["digest"], line["created_by"])
        for layer, line in zip(manifest["layers"], history, strict=True)
        if line["created_by"].startswith("cog: source")
    ]
    return [digest for digest, _ in found], [line for _, line in found]


def document(project: Project, descriptor: dict[str, Any]) -> dict[str, Any]:
    blob = project.store / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")
    content: dict[str, Any] = json.loads(blob.read_text())
    return content


def test_a_changed_line_leaves_all_other_layers_alone(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    directory = tmp_path / "project"
    (directory / "weights").mkdir(parents=True)
    project = Project(directory, tmp_path / "store").write(cog__yaml=CONFIG, run__py=MODEL)
    env = {"COG_BASE": base_in_registry.registry.base, "UV_CACHE_DIR": str(STORE / "uv/cache")}
    (directory / "weights/model.bin").write_bytes(random.Random(1).randbytes(10 * MIB))
    (directory / "weights/index.json").write_text("{}")
    for number in range(1200):
        file = directory / f"data/{number % 5}/{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))

    name = "source-layers:v1"
    project.cog("build", "-t", name, **env).works()
    before, history = layers(project, name)
    assert history == ["cog: source weights/model.bin", "cog: source data/", "cog: source"]
    answer = project.cog("run", name, **env).works().stdout
    assert answer.startswith("first ")

    project.write(run__py=MODEL.replace("first", "second"))
    project.cog("build", "-t", name, **env).works()
    after, _ = layers(project, name)
    assert after[:2] == before[:2]
    assert after[2] != before[2]
    assert project.cog("run", name, **env).works().stdout == answer.replace("first", "second")

    # The folder in one layer, as the published tool has it; the model sees the same.
    project.cog("build", "-t", name, "--separate-weights", **env).works()
    separated, history = layers(project, name)
    assert history == ["cog: source weights/", "cog: source data/", "cog: source"]
    assert separated[1] == after[1]
    assert project.cog("run", name, **env).works().stdout == answer.replace("first", "second")


def test_weights_are_separated_where_there_are_none(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    project = Project(tmp_path).write(cog__yaml=CONFIG, run__py=MODEL)
    env = {"COG_BASE": base_in_registry.registry.base}
    done = project.cog("build", "-t", "r8.im/test/source-layers", "--separate-weights", **env).works()
    assert "Weights unchanged" not in done.stderr
    _, history = layers(project, "r8.im/test/source-layers")
    assert history == ["cog: source"]


def test_what_no_image_can_have_is_named_once(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    os.mkfifo(project.directory / "pipe")
    first, second = (project.cog("build", "-t", "scenario-special").works() for _ in range(2))
    assert first.stderr.count("left out of the image, which has no pipes, sockets and devices: `pipe`") == 1, first
    assert "left out" not in second.stderr, second

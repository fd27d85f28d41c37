"""The page on JSON: what it lists is what commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import REPOSITORY, Project, hello

PAGE = (REPOSITORY / "docs/reference/json.md").read_text()
SECTIONS = dict(re.findall(r"^## `cog (\w+) --json`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
NAME = "told-as-json:latest"
STREAM = """\
from typing import Iterator

import cog


class Runner:
    @cog.streaming
    def run(self, text: str) -> Iterator[str]:
        yield text
"""
BENCH = ("bench", "-i", "text=x", "-n", 3, "--stream", "--json")


def listed(command: str) -> set[str]:
    """The names in the first column of a section."""
    rows = re.findall(r"^\| (`.*?) \|", SECTIONS[command], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = hello(tmp_path_factory.mktemp("told") / "project")
    project.cog("build", "-t", NAME).works()
    return project


def printed(project: Project, *arguments: object) -> object:
    return json.loads(project.cog(*arguments).works().stdout)


def test_run(project: Project) -> None:
    found = printed(project, "run", "--json", '{"text": "x"}')
    assert isinstance(found, dict)
    assert set(found) == listed("run")


def test_images(project: Project) -> None:
    images = printed(project, "images", "--json")
    assert isinstance(images, list)
    (found,) = [image for image in images if image["name"] == NAME]
    assert set(found) == listed("images")


def test_inspect(project: Project) -> None:
    found = printed(project, "inspect", "--json", NAME)
    assert isinstance(found, dict)
    # A single image is in no index.
    assert set(found) | {"index"} == listed("inspect")
    for name in ("model", "config"):
        assert set(found[name]) <= set(re.findall(r"`(\w+)`", SECTIONS["inspect"]))


def test_bench(project: Project) -> None:
    project.write(run__py=STREAM)
    found = printed(project, *BENCH)
    assert isinstance(found, dict)
    assert set(found) | {"rate"} == listed("bench")


def test_prune(tmp_path: Path) -> None:
    project = hello(tmp_path / "project", tmp_path / "store")
    project.cog("exec", "true", COG_ENGINE="host").works()
    found = printed(project, "prune", "--all", "--json")
    assert isinstance(found, dict)
    assert set(found) == listed("prune")
    assert {"kind", "count", "bytes"} == set(found["removed"][0])
    assert "host environments" in {removed["kind"] for removed in found["removed"]}

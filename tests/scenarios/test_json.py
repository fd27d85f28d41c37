"""The page on JSON: what it lists is what commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from docker_registry import docker_registry
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


def test_build(project: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    found = printed(project, "build", "-t", NAME, "--json", "-o", f"oci-dir={copy}")
    assert isinstance(found, dict)
    assert set(found) == listed("build")
    assert found["name"] == NAME
    assert found["given_to"] is None
    assert found["written"] == [str(copy)]
    assert found["digest"] in (copy / "index.json").read_text()
    assert {"title", "outcome", "seconds"} == set(found["steps"][0])
    outcomes = {step["title"]: step["outcome"] for step in found["steps"]}
    assert outcomes["source"] == "built"
    assert "reused" in outcomes.values()


def test_build_tells_what_it_warns_of(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    config = project.directory / "cog.yaml"
    config.write_text(config.read_text().replace("run:", "predict:"))
    done = project.cog("build", "-t", NAME, "--json").works()
    (warning,) = json.loads(done.stdout)["warnings"]
    assert warning.startswith('deprecated field "predict"')
    assert done.stderr.count(warning) == 1


@pytest.mark.parametrize("command", ["build", "push"])
def test_what_fails_prints_nothing(tmp_path: Path, command: str) -> None:
    project = hello(tmp_path / "project").write(cog__yaml="build: [\n")
    assert project.cog(command, "--json").fails_with("cog.yaml").stdout == ""


def test_push(project: Project, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        target = f"{registry.host}/team/told"
        found = printed(project, "push", target, "--json")
        again = printed(project, "push", target, "--json")
        other = printed(project, "push", f"{registry.host}/team/other", "--json")
        pulled = printed(project, "pull", target, "--json")
    for document in (found, again, other):
        assert isinstance(document, dict)
        assert set(document) == listed("push") | listed("build") - {"written", "given_to"}
        for arrival in ("sent", "mounted", "present"):
            sizes = [blob["size"] for blob in document["blobs"] if blob["arrival"] == arrival]
            assert sum(sizes) == document[f"{arrival}_bytes"]
    assert isinstance(found, dict) and isinstance(again, dict) and isinstance(other, dict)
    assert found["reference"] == f"{target}:latest"
    assert found["pinned"] == f"{target}@{found['digest']}"
    assert found["index"] is None
    assert found["sent_bytes"] > 0 and found["present_bytes"] == 0
    assert {"digest", "size", "arrival"} == set(found["blobs"][0])
    assert again["present_bytes"] > 0 and again["sent_bytes"] < found["sent_bytes"]
    assert other["mounted_bytes"] > 0
    assert isinstance(pulled, dict) and set(pulled) == listed("pull")
    assert (pulled["name"], pulled["digest"]) == (again["reference"], again["digest"])


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

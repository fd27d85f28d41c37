"""The page on JSON: what it lists is what commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from docker_registry import docker_registry
from support import REPOSITORY, Project, hello

PAGE = (REPOSITORY / "docs/reference/json.md").read_text()
SECTIONS = dict(re.findall(r"^## `cog ([\w -]+?)(?: --json)?`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
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


@pytest.mark.parametrize("flags", [(), ("--check",)])
def test_lock(tmp_path: Path, flags: tuple[str, ...]) -> None:
    project = hello(tmp_path / "project")
    made = printed(project, "lock", "--json")
    again = printed(project, "lock", "--json", *flags)
    for document in (made, again):
        assert isinstance(document, dict) and set(document) == listed("lock")
    assert isinstance(made, dict) and isinstance(again, dict)
    assert (made["name"], made["outcome"], made["changes"]) == ("cog.lock", "made", [])
    assert (again["outcome"], again["changes"]) == ("unchanged", [])
    config = (project.directory / "cog.yaml").read_text()
    project.write(cog__yaml=config.replace("build:\n", "build:\n  system_packages: [tree]\n"))
    if flags:
        assert project.cog("lock", "--json", *flags).fails_with("cog.lock").stdout == ""
    else:
        changed = printed(project, "lock", "--json")
        assert isinstance(changed, dict)
        assert changed["outcome"] == "changed"
        assert any("tree" in change for change in changed["changes"])


def test_doctor(tmp_path: Path) -> None:
    config = 'build:\n  python_version: "3.11"\npredict: "predict.py:Predictor"\ntrain: "train.py:Trainer"\n'
    model = "from cog import BasePredictor\nclass Predictor(BasePredictor):\n    def predict(self) -> str: ...\n"
    project = Project(tmp_path).write(cog__yaml=config, predict__py=model)
    skips = {"COG_SKIP_DOCKER_CHECK": "1", "COG_SKIP_GPU_CHECK": "1"}
    seen = {}
    for flags in ((), ("--fix",)):
        done = project.cog("doctor", "--json", *flags, **skips).fails_with("doctor found issues")
        document = json.loads(done.stdout)
        assert set(document) == listed("doctor")
        words = set(re.findall(r"`(\w+)`", SECTIONS["doctor"]))
        for check in document["checks"]:
            assert set(check) <= words and check["outcome"] in words
            assert all(set(finding) <= words and finding["severity"] in words for finding in check["findings"])
        found = [
            finding for check in document["checks"] if check["outcome"] == "found" for finding in check["findings"]
        ]
        assert document["errors"] == sum(finding["severity"] == "error" for finding in found)
        assert document["warnings"] == sum(finding["severity"] == "warning" for finding in found)
        outcomes = {check["title"]: check["outcome"] for check in document["checks"]}
        seen[flags] = (document["fixed"], outcomes["Deprecated predict interface names"], outcomes["Predict reference"])
    assert seen == {(): (0, "found", "found"), ("--fix",): (2, "fixed", "found")}
    assert {"file": "cog.yaml", "line": 4, "message": "train.py not found"}.items() <= found[0].items()


def test_doctor_says_what_it_could_not_mend(tmp_path: Path) -> None:
    config = 'build:\n  python_version: "3.11"\npredict: "predict.py:Other"\n'
    project = Project(tmp_path).write(cog__yaml=config, predict__py="class Other: ...\n")
    done = project.cog("doctor", "--json", "--fix", COG_SKIP_DOCKER_CHECK="1", COG_SKIP_GPU_CHECK="1")
    (check,) = [check for check in json.loads(done.stdout)["checks"] if check["outcome"] == "refused"]
    assert check["can_fix"] and check["why_not"].startswith("Manual migration required")


def test_init(tmp_path: Path) -> None:
    project = Project(tmp_path).write(run__py="")
    found = printed(project, "init", "--json")
    assert isinstance(found, dict)
    assert set(found) == listed("init")
    assert found["kept"] == ["run.py"]
    assert set(found["written"]) > {"cog.yaml", "requirements.txt"}


def test_tag_and_rmi(project: Project) -> None:
    tagged = printed(project, "tag", "--json", NAME, "told-again")
    assert tagged == {"name": "told-again:latest", "image": NAME}
    assert set(tagged) == listed("tag")
    removed = printed(project, "rmi", "--json", "told-again")
    assert isinstance(removed, dict)
    assert set(removed) == listed("rmi")
    assert all(set(kind) == {"kind", "count", "bytes"} for kind in removed["removed"])
    assert removed["names"] == ["told-again"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_base_image(project: Project, flags: tuple[str, ...]) -> None:
    found = printed(project, "base-image", "generate-matrix", "--python", "3.12", *flags)
    assert isinstance(found, list)
    assert set(found[0]) == listed("base-image generate-matrix")


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

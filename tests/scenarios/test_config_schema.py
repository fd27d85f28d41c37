"""The schema of cog.yaml for editors: it takes what `cog` takes, and refuses what it can know to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from corpus import corpus
from support import REPOSITORY, Project

SCHEMA = json.loads((REPOSITORY / "docs/reference/cog-yaml.schema.json").read_text())
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA)
MISTAKES = json.loads((REPOSITORY / "crates/cog-config/tests/it/mistakes.json").read_text())
PROJECTS = {facts.id: facts for facts in corpus()}
#: What it does not know: a rule of a number in one field for another.
UNKNOWN_REASON = "concurrency requires"


def mistakes(document: object) -> list[str]:
    return [f"{error.instance_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def test_the_schema_is_one() -> None:
    assert jsonschema_rs.meta.is_valid(SCHEMA)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_public_project_is_taken_as_cog_takes_it(tmp_path: Path, name: str) -> None:
    facts = PROJECTS[name]
    project = facts.project(tmp_path / name)
    found = mistakes(json.loads((project.directory / "cog.yaml").read_text()))
    done = project.cog("debug", "--plan")
    assert (done.status == 0) == (facts.refused is None), done
    known = facts.refused is not None and not facts.refused.startswith(UNKNOWN_REASON)
    assert bool(found) == known, found


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: json.dumps(mistake["config"])[:60])
def test_what_can_be_known_to_be_wrong_is_refused(mistake: dict[str, object]) -> None:
    found = mistakes(mistake["config"])
    assert bool(found) == (mistake["editors"] is True), found or mistake["editors"]


@pytest.mark.parametrize(
    "path",
    [*(REPOSITORY / "examples").glob("*/cog.yaml"), *(REPOSITORY / "crates/cog/src/templates").glob("**/cog.yaml")],
    ids=lambda path: path.parent.name,
)
def test_examples_and_templates_are_taken(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert mistakes(document) == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"build": None},
        {"build": {"python_version": " 3.12.1 ", "cuda": "12.4.1", "cudnn": 9, "run": None}},
        {"build": {"python_version": 3.13, "cuda": 12.4, "system_packages": None}},
        {"run": "", "predict": "predict.py:Predictor"},
        {"build": {"python_version": "3.11", "cuda": "", "python_packages": [], "python_requirements": "r.txt"}},
        {"environment": ["NAME=VALUE=EQUAL WITH SPACES", "E=", "name=x", "CUDAS=1", "MY_PATH=/x"]},
        {"model": "localhost:5000/acme/m", "image": "", "weights": []},
        {"model": "m", "weights": [{"name": "z-image.turbo_v1", "target": "/src/w", "source": {"uri": "x"}}]},
    ],
    ids=json.dumps,
)
def test_unusual_ways_are_taken_as_well(tmp_path: Path, document: dict[str, object]) -> None:
    assert mistakes(document) == []
    said = Project(tmp_path).write(cog__yaml=json.dumps(document), r__txt="").cog("debug").stderr
    assert "invalid" not in said and "schema error" not in said, said

"""Public projects: each has a Dockerfile or a reason why not, and their packages resolve as the table says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from corpus import (
    CONFLICT,
    NEEDS_BUILD,
    NO_SUCH_VERSION,
    NO_WHEEL,
    REFUSED,
    UNREACHABLE,
    NoAnswer,
    allowed_python,
    corpus,
    dockerfile,
    explain,
    read_table,
    requirement_lines,
    resolution,
    rows,
)

if TYPE_CHECKING:
    from pathlib import Path

PROJECTS = {facts.id: facts for facts in corpus()}
# With torch of different ages, with a package that has no wheel, and one that is refused for its Python.
RESOLVED_EACH_TIME = ["p03", "p09", "p12", "p16", "p33", "p38"]

each_project = pytest.mark.parametrize("name", PROJECTS)


@each_project
def test_a_project_has_a_dockerfile_or_is_refused_for_its_python(tmp_path: Path, name: str) -> None:
    facts = PROJECTS[name]
    done = dockerfile(facts.project(tmp_path / name))
    if facts.refused:
        done.fails_with(facts.refused)
        return
    instructions = done.works().stdout.splitlines()
    base = "FROM nvidia/cuda:" if facts["gpu"] else "FROM python:"
    assert sum(line.startswith(base) for line in instructions) == 1, done
    for command in facts.commands:
        assert f"RUN {command}" in done.stdout, command
    installed = {word for line in instructions if "apt-get install" in line for word in line.split()}
    assert set(facts["system_packages"]) <= installed, done
    assert instructions[-1] == "COPY . /src"


@each_project
def test_a_project_has_a_plan_or_is_refused_for_its_python(tmp_path: Path, name: str) -> None:
    facts = PROJECTS[name]
    done = facts.project(tmp_path / name).cog("debug", "--plan")
    if facts.refused:
        done.fails_with(facts.refused)
        return
    outline = json.loads(done.works().stdout)
    steps = outline["steps"]
    assert steps[0]["step"] == "base"
    assert [one["command"] for one in steps if one["step"] == "command"] == [one.strip() for one in facts.commands]
    named = [one["packages"] for one in steps if one["step"] == "system_packages"]
    assert named == ([facts["system_packages"]] if facts["system_packages"] else [])
    completed = outline["completed"]
    assert completed["gpu"] == facts["gpu"]
    assert completed["python"]["version"] == facts.python
    assert (completed["cuda"] is not None) == facts["gpu"]
    assert [one["requirements"] for one in steps if one["step"] == "python_packages"] == [completed["requirements"]]


def test_a_plan_has_all_answers_where_they_are_asked_for(tmp_path: Path) -> None:
    name = "p12"
    row = next(row for row in read_table() if row.id == name)
    done = PROJECTS[name].project(tmp_path / name).cog("debug", "--plan", "--resolve", COG_TORCH_INDEX="default")
    if "cannot be reached" in done.stderr:
        pytest.skip(f"an index or archive cannot be reached: {done.stderr}")
    resolved = json.loads(done.works().stdout)
    assert {"completed", "steps", "lock", "plan"} <= set(resolved)
    debian = {one["name"]: one for one in resolved["lock"]["base"]["packages"]}
    assert debian["libc6"]["version"].startswith("2.")
    assert len(debian["python3.11-minimal"]["sha256"]) == 64
    found = {one["name"]: one["version"] for one in resolved["lock"]["python"]["resolution"]["distributions"]}
    assert f"torch=={found['torch']}" == row.detail
    for line in PROJECTS[name].requirements:
        package, version = line.lower().split("==")
        assert found[package] == version


@each_project
def test_every_requirement_is_installed(tmp_path: Path, name: str) -> None:
    facts = PROJECTS[name]
    python = facts.python
    if facts.refused:
        refusal = dockerfile(facts.project(tmp_path / "refused")).fails_with().stderr
        allowed = allowed_python(refusal)
        if allowed is None:
            assert "has no wheels for Python 3.10 or newer" in refusal
            return
        python = allowed
    written = requirement_lines(dockerfile(facts.project(tmp_path / name, python=python)).works().stdout)
    for line in facts.requirements:
        requirement, _, option = line.partition(" --")
        # Where no version is said for the CUDA of the project, `torch==2.0` is `torch==2.0.1`.
        assert any(one.startswith(requirement) for one in written), (requirement, written)
        for url in [word for word in option.replace("=", " ").split() if "://" in word]:
            assert f"--extra-index-url {url}" in written, (url, written)


def test_the_table_has_every_project() -> None:
    known = [row.id for row in read_table()]
    assert list(dict.fromkeys(known)) == list(PROJECTS)
    for row in read_table():
        again = row.python != PROJECTS[row.id].python
        assert again or (row.outcome == REFUSED) == bool(PROJECTS[row.id].refused), row


@pytest.mark.parametrize("name", RESOLVED_EACH_TIME)
def test_packages_resolve_as_the_table_says(tmp_path: Path, name: str) -> None:
    try:
        found = rows(PROJECTS[name], tmp_path)
    except NoAnswer as reason:
        pytest.skip(str(reason))
    assert found == [row for row in read_table() if row.id == name]


def test_an_index_that_is_not_there_is_told_from_the_default_one(tmp_path: Path) -> None:
    text = "COPY <<'EOF' /tmp/requirements.txt\n{}\nEOF\n"
    nowhere = "127.0.0.1:1"
    (tmp_path / "own").mkdir()
    alone = text.format(f"--index-url http://{nowhere}/simple\nsix")
    row = resolution(PROJECTS["p01"], "3.11", alone, tmp_path / "own")
    assert (row.outcome, row.detail) == (UNREACHABLE, nowhere)
    with pytest.raises(NoAnswer):
        explain(f"error: error sending request for url (http://{nowhere}/simple/six/)", ["six"])


@pytest.mark.parametrize(
    ("said", "outcome", "detail"),
    [
        (
            "Because wget==3.2 has no usable wheels and you require wget==3.2, we can conclude that your requirements "
            "are unsatisfiable.\n\nhint: Wheels are required for `wget` because building from source is disabled for "
            "all packages (i.e., with `--no-build`)",
            NEEDS_BUILD,
            "wget",
        ),
        (
            "Because no-such was not found in the package registry and you require no-such, we can conclude",
            NO_SUCH_VERSION,
            "no-such",
        ),
        ("Because there is no version of six==99 and you require six==99, we can conclude", NO_SUCH_VERSION, "six==99"),
        (
            "Because torch==1.4.0 has no wheels with a matching Python ABI tag (e.g., `cp313`) and you require "
            "torch==1.4.0, we can conclude",
            NO_WHEEL,
            "torch==1.4.0",
        ),
        (
            "Because requests==2.32.3 depends on idna>=2.5,<4 and you require requests==2.32.3, we can conclude that\n"
            "    you require idna>=2.5,<4.\n    And because you require idna<2, we can conclude",
            CONFLICT,
            "idna requests",
        ),
    ],
)
def test_reasons_are_told_apart_in_uvs_words(said: str, outcome: str, detail: str) -> None:
    assert explain(f"error: No solution found when resolving dependencies\n  cause: {said}", []) == (outcome, detail)

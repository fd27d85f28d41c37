"""Standard output that takes nothing: each command that prints a result says which one is lost, and fails."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from docker_registry import docker_registry
from support import COG, Done, Project, hello

if TYPE_CHECKING:
    from pathlib import Path

NAME = "unwritten:latest"
CLOSED, FULL = ">&-", ">/dev/full"
REASONS = {CLOSED: "it is closed", FULL: "No space left on device"}
PATIENCE_SECONDS = 600

HELP, REMOVED = "the help", "the report of what was removed"
# In this order: what the first ones make, the last ones remove.
COMMANDS = {
    "--version": "the version",
    "--help": HELP,
    "run --help": HELP,
    "": HELP,
    "completion bash": "the completion script",
    "schema": "the schema",
    "debug": "what `cog debug` shows",
    "base-image generate-matrix": "the list of base images",
    "doctor --json": "the report",
    "init --json": "the list of files",
    f"build -t {NAME} --json": "the report of the build",
    "lock --json": "the report of the lock",
    "bench -i text=x -n 1": "the measurements",
    "images": "the list of images",
    "images --json": "the list of images",
    f"inspect {NAME}": "the description of the image",
    f"inspect --json {NAME}": "the description of the image",
    f"inspect --sbom {NAME}": "the image's SBOM",
    f"schema {NAME}": "the schema",
    f"tag --json {NAME} unwritten-again": "the report of the new name",
    "rmi --json unwritten-again": REMOVED,
}


def redirected(project: Project, command: str, redirection: str) -> Done:
    done = subprocess.run(
        f"{COG} {command} {redirection}",
        shell=True,
        cwd=project.directory,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Done(done.returncode, "", done.stderr)


def loses(project: Project, command: str, what: str, redirection: str) -> None:
    reason = REASONS[redirection]
    done = redirected(project, command, redirection)
    done.fails_with(f"{what} could not be written to standard output: {reason}")


@pytest.mark.parametrize("redirection", REASONS)
def test_what_is_lost_is_told(tmp_path: Path, redirection: str) -> None:
    project = hello(tmp_path / "project")
    for command, what in COMMANDS.items():
        loses(project, command, what, redirection)
    # The work itself was done.
    assert project.has_image(NAME) and not project.has_image("unwritten-again")
    assert (project.directory / "cog.lock").exists()


@pytest.mark.parametrize("redirection", REASONS)
def test_what_was_pushed_and_pulled_is_so(tmp_path: Path, redirection: str) -> None:
    project = hello(tmp_path / "project")
    with docker_registry(tmp_path / "registry") as registry:
        target = f"{registry.host}/team/unwritten"
        loses(project, f"push {target} --json", "the report of the push", redirection)
        loses(project, f"pull {target} --json", "the report of the pull", redirection)


def test_what_was_pruned_is_gone(tmp_path: Path) -> None:
    project = hello(tmp_path / "project", tmp_path / "store")
    for command in ("prune --json", "prune --all --json"):
        for redirection in REASONS:
            loses(project, command, REMOVED, redirection)


@pytest.mark.parametrize("redirection", REASONS)
def test_where_nothing_is_printed_nothing_is_lost(tmp_path: Path, redirection: str) -> None:
    project = hello(tmp_path / "project")
    for command in ("init", f"build -t {NAME}", "lock", f"tag {NAME} unwritten-again", "rmi unwritten-again"):
        redirected(project, command, redirection).works()


@pytest.mark.parametrize("command", ["--help", "schema", "completion bash", "images", f"inspect --json {NAME}"])
def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path, command: str) -> None:
    project = hello(tmp_path / "project")
    project.cog("build", "-t", NAME).works()
    reader = subprocess.Popen("true", stdin=subprocess.PIPE)
    assert reader.wait(PATIENCE_SECONDS) == 0
    assert reader.stdin
    done = subprocess.run(
        [COG, *command.split()],
        cwd=project.directory,
        env=project.environment(),
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

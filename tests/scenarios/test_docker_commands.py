"""Every command of a project whose environment a daemon builds and runs: `--engine docker --backend docker`, with
commands of its own and a Debian package."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from docker_daemon import Daemon, Docker
from docker_registry import docker_registry
from serving import Serve, save
from support import Project

CONFIG = """\
build:
  python_version: "3.11"
  system_packages: [tree]
  run:
    - echo made > /made && echo {0} > /id
run: "run.py:Runner"
train: "run.py:train"
"""
MODEL = """\
import shutil

from cog import BaseRunner, Path


class Runner(BaseRunner):
    def run(self, text: str) -> str:
        return f"{open('/made').read().strip()} {text} {shutil.which('tree')}"


def train(text: str) -> Path:
    weights = Path("/tmp/weights.txt")
    weights.write_text(f"trained on {text}")
    return weights
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """With a network for containers: ports are opened on the loopback."""
    with Daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def config() -> str:
    """One for all, so that its commands run once."""
    return CONFIG.format(uuid4())


@pytest.fixture
def project(tmp_path: Path, config: str) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project").write(cog__yaml=config, run__py=MODEL)


def environment(docker: Docker) -> dict[str, str]:
    return {"COG_ENGINE": "docker", "COG_BACKEND": "docker", "DOCKER_HOST": docker.host, "COG_LOAD": "auto"}


def test_it_runs_trains_and_executes(project: Project, docker: Docker) -> None:
    env = environment(docker)
    first = project.cog("run", "-i", "text=first", **env).works()
    assert first.stdout == "made first /usr/bin/tree\n"
    assert "Using the docker engine\nBuilding with the docker backend: Docker" in first.stderr, first
    again = project.cog("run", "-i", "text=again", **env).works()
    assert again.stdout == "made again /usr/bin/tree\n"
    # Nothing is built, and nothing handed over.
    assert "run: echo" not in again.stderr and "system packages" not in again.stderr, again
    script = "cat /made && tree --noreport /home"
    assert project.cog("exec", "sh", "-c", script, **env).works().stdout == "made\n/home\n"
    project.cog("train", "-i", "text=this", **env).works()
    assert (project.directory / "weights.txt").read_text() == "trained on this"
    assert docker.containers() == []


def test_its_image_is_built_pushed_and_run(tmp_path: Path, project: Project, docker: Docker) -> None:
    env = environment(docker)
    built = project.cog("build", "-t", "commands:1", "--load", "docker", "--json", **env).works()
    given = json.loads(built.stdout)["given_to"]
    assert given["daemon"] == "Docker" and docker.has("commands:1"), built
    assert docker("run", "--rm", "--network=none", "commands:1", "cat", "/made") == "made\n"
    # Under its name it is there already.
    same = project.cog("build", "-t", "commands:1", **env).works()
    assert "Docker has commands:1 (0B sent)" in same.stderr, same
    with docker_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/commands:1"
        pushed = project.cog("push", name, **env).works()
        assert "pushed (" in pushed.stderr, pushed
        # Whoever has neither the project nor the store.
        elsewhere = Project(tmp_path, tmp_path / "store")
        ran = elsewhere.cog("run", name, "-i", "text=pulled", **env).works()
        assert ran.stdout == "made pulled /usr/bin/tree\n"
        assert docker("pull", name)
    assert docker.containers() == []
    names = docker("images", "--format", "{{.Repository}}").split()
    assert not [name for name in names if name.startswith("cog-build/")], names


def test_it_is_served_as_it_is_saved_on_one_port(project: Project, docker: Docker) -> None:
    with Serve(project, "--watch", **environment(docker)).ready() as server:
        assert server.output(text="a") == "made a /usr/bin/tree"
        save(project.directory / "run.py", MODEL.replace('f"{open', 'f"new {open'))
        server.log.until("`run.py` has changed: restarting the model...")
        assert server.output(text="b") == "new made b /usr/bin/tree"
        # Asked all the time, it always answers, while one container makes way for another.
        stop = threading.Event()
        seen: list[object] = []

        def ask() -> None:
            while not stop.is_set():
                seen.append(server.output(text="c"))

        asking = threading.Thread(target=ask)
        asking.start()
        config = (project.directory / "cog.yaml").read_text()
        save(project.directory / "cog.yaml", config.replace("echo made", "echo remade"))
        server.log.until("The project needs another environment: making it...")
        # One at a time: the model has one slot.
        while "new remade c /usr/bin/tree" not in seen and asking.is_alive():
            time.sleep(0.1)
        stop.set()
        asking.join()
        assert set(seen) == {"new made c /usr/bin/tree", "new remade c /usr/bin/tree"}, seen
        server.log.until("Serving at http://localhost:")
        # What cannot be built is told to whoever asks, until it is mended.
        save(project.directory / "cog.yaml", config.replace("echo made", "exit 3; echo"))
        server.log.until("failed with exit status 3")
        status, answer = server.ask(text="e")
        assert status == 503 and "exit status 3" in answer["error"], answer
        save(project.directory / "cog.yaml", config)
        server.log.until("The project needs another environment: making it...")
        assert server.output(text="f") == "new made f /usr/bin/tree"
        beside = project.cog("run", "-i", "text=g", **environment(docker)).works()
        assert beside.stdout == "new made g /usr/bin/tree\n" and "Starting" not in beside.stderr, beside
        assert len(docker.containers()) == 1
        server.stop()
    assert docker.containers() == []


def test_an_environment_that_is_not_run_any_more_goes(project: Project, docker: Docker) -> None:
    env = environment(docker)
    for word in ("one", "two"):
        config = CONFIG.format(uuid4()).replace("echo made", f"echo {word}")
        project.write(cog__yaml=config)
        assert project.cog("run", "-i", "text=a", **env).works().stdout == f"{word} a /usr/bin/tree\n"
    assert docker("images", "--quiet", "--filter", "dangling=true") == ""
    # One that has another name stays.
    project.cog("build", "-t", "commands:kept", "--load", "none", **env).works()
    project.cog("run", "commands:kept", "-i", "text=a", **env).works()
    docker("tag", "cog-run/commands:kept", "kept:1")
    project.write(run__py=MODEL.replace('f"{open', 'f"new {open'))
    project.cog("build", "-t", "commands:kept", "--load", "none", **env).works()
    assert project.cog("run", "commands:kept", "-i", "text=a", **env).works().stdout.startswith("new two")
    assert docker.has("kept:1")
    docker("rmi", "kept:1")


def test_it_goes_on_after_the_daemon_has_forgotten_everything(project: Project, docker: Docker) -> None:
    env = environment(docker)
    project.cog("run", "-i", "text=a", **env).works()
    docker("system", "prune", "--all", "--force")
    assert docker("images", "--quiet") == ""
    assert project.cog("run", "-i", "text=b", **env).works().stdout == "made b /usr/bin/tree\n"
    config = (project.directory / "cog.yaml").read_text()
    project.write(cog__yaml=config.replace("echo made", "echo other"))
    docker("system", "prune", "--all", "--force")
    assert project.cog("run", "-i", "text=c", **env).works().stdout == "other c /usr/bin/tree\n"

"""What a daemon that builds is given and gives back is what is new, and builds that were killed leave nothing there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from docker_daemon import NO_NETWORK, Daemon, Docker
from support import COG, Done, Project, hello

LIMIT_SECONDS = 120
# A changed file, its folders, and what a base has of compiled files of ours.
SMALL = 1_000_000


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with Daemon(*NO_NETWORK) as daemon:
        yield daemon


def with_command(project: Project, command: str) -> Project:
    """The project with a command of its own in the build."""
    config = (project.directory / "cog.yaml").read_text()
    config = re.sub(r"  run: .*\n", "", config)
    return project.write(cog__yaml=config.replace("build:\n", f"build:\n  run: [{json.dumps(command)}]\n"))


def environment(docker: Docker) -> dict[str, str]:
    return {"COG_BACKEND": "docker", "DOCKER_HOST": docker.host}


def given(done: Done) -> list[int]:
    return [int(count) for count in re.findall(r"(?:Docker|Podman) took (\d+) bytes of layers", done.stderr)]


def given_back(done: Done) -> list[int]:
    return [int(count) for count in re.findall(r"(?:Docker|Podman) has pushed (\d+) bytes of new layers", done.stderr)]


def test_a_changed_command_costs_what_it_changed(tmp_path: Path, docker: Docker) -> None:
    project = with_command(hello(tmp_path / "project"), f"echo {uuid4()} > /made")
    project.cog("build", "-t", "traffic:1", **environment(docker)).works()
    with_command(project, f"echo {uuid4()} > /made")
    done = project.cog("build", "-t", "traffic:1", "--debug", **environment(docker)).works()
    assert "run: echo" in done.stderr, done
    # The daemon remembers what was below, though nothing of it has a name there any more.
    assert given(done) and sum(given(done)) == 0, done
    assert len(given_back(done)) == len(given(done)) and sum(given_back(done)) < SMALL, done
    assert "archive" not in done.stderr, done
    assert docker("images", "--quiet") == ""


def test_a_layer_that_is_all_there_is_comes_as_an_archive(tmp_path: Path, docker: Docker) -> None:
    """It would have to be compressed, which takes longer."""
    command = "head -c 300000000 /dev/urandom > /made && sha256sum /made > /sum"
    project = with_command(hello(tmp_path / "project"), f"{command} && echo {uuid4()} > /other")
    done = project.cog("build", "-t", "traffic:large", "--debug", **environment(docker)).works()
    # The layers of packages that were compiled are small ones.
    assert len(given_back(done)) < len(given(done)), done
    check = project.cog("run", "traffic:large", "-i", "text=x").works()
    assert check.stdout == "hello x\n"
    summed = project.cog("exec", "sh", "-c", "sha256sum -c /sum", **environment(docker)).works()
    assert "/made: OK" in summed.stdout, summed


def test_a_dockerfile_s_base_comes_once(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    project.cog("build", "-t", "own-base:traffic", "--load", "docker", DOCKER_HOST=docker.host).works()
    flags = ("-t", "traffic:own", "--dockerfile", "Mine", "--debug")
    project.write(Mine=f"FROM own-base:traffic\nRUN echo {uuid4()} > /made\nCOPY run.py cog.yaml /src/\n")
    first = project.cog("build", *flags, **environment(docker)).works()
    assert given_back(first) == [], first
    (project.directory / "run.py").write_text((project.directory / "run.py").read_text() + "\n# Changed.\n")
    second = project.cog("build", *flags, **environment(docker)).works()
    assert len(given_back(second)) == 1 and given_back(second)[0] < 5 * SMALL, second
    assert project.cog("run", "traffic:own", "-i", "text=own").works().stdout == "hello own\n"


def test_a_daemon_that_cannot_reach_us_builds(tmp_path: Path) -> None:
    # In a network of its own, as in a virtual machine.
    with Daemon(*NO_NETWORK, before=("unshare", "--net")) as far:
        project = with_command(hello(tmp_path / "project"), f"echo {uuid4()} > /made")
        done = project.cog("build", "-t", "traffic:far", "--debug", **environment(far)).works()
        assert given_back(done) == [] and "an archive is sent instead" in done.stderr, done
        assert "could not push" not in done.stderr, done
        assert project.cog("run", "traffic:far", "-i", "text=far").works().stdout == "hello far\n"


def test_the_next_build_removes_what_a_killed_one_left(tmp_path: Path, docker: Docker) -> None:
    project = with_command(hello(tmp_path / "project"), f"echo {uuid4()} && sleep 600")
    nothing = Project(project.directory, tmp_path / "store")
    prune = ("prune", "--json")
    log = tmp_path / "log"
    with log.open("w") as stderr:
        running = subprocess.Popen(
            [str(COG), "build", "-t", "traffic:killed"],
            cwd=project.directory,
            env=project.environment(**environment(docker)),
            stdout=stderr,
            stderr=stderr,
        )
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while "&& sleep 600 (" not in log.read_text():
            assert running.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        names = left(docker)
        assert names and all(name.startswith("cog-build/below:") for name in names)
        # It lives: nobody takes them away.
        other = nothing.cog(*prune, DOCKER_HOST=docker.host).works()
        assert json.loads(other.stdout)["daemon"] == {"name": "Docker", "removed": []}, other
        assert left(docker) == names
        running.send_signal(signal.SIGKILL)
        running.wait(timeout=LIMIT_SECONDS)
        assert left(docker) == names
        with_command(project, f"echo {uuid4()}")
        done = project.cog("build", "-t", "traffic:next", "--debug", **environment(docker)).works()
        for name in names:
            assert f"{name} was left by a build that has ended" in done.stderr, done
        assert left(docker) == []
    finally:
        running.kill()
        running.wait()


def test_pruning_removes_what_killed_builds_left_and_nothing_else(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    project.cog("build", "-t", "hello:left", "--load", "docker", DOCKER_HOST=docker.host).works()
    # Of a process that has ended; of another machine, long ago and now; of somebody else.
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = place(project, docker)
    now = int(time.time())
    kept = [f"cog-build/step:a-{'0' * 12}-1-1-{now}", "cog-build/step:mine", f"mine/step:a-{here}-{ended.pid}-1-{now}"]
    over = [f"cog-build/step:a-{here}-{ended.pid}-1-{now}", f"cog-build/below:a-{'0' * 12}-1-1-{now - 8 * 86400}"]
    over.append(f"127.0.0.1:4321/{'0' * 32}:served-{here}-{ended.pid}-1-{now}")
    for name in kept + over:
        docker("tag", "hello:left", name)
    pruned = Project(project.directory, tmp_path / "store").cog("prune", DOCKER_HOST=docker.host).works()
    assert "Removed 3 images of killed builds from Docker" in pruned.stderr, pruned
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert not set(over) & set(names) and set(kept) | {"hello:left"} <= set(names), names
    docker("rmi", *kept)


def left(docker: Docker) -> list[str]:
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    return sorted(name for name in names if name.startswith(("cog-build/", "127.0.0.1")))


def place(project: Project, docker: Docker) -> str:
    """How names say that their owner is here."""
    with_command(project, f"echo {uuid4()}")
    done = project.cog("build", "-t", "traffic:place", "--debug", **environment(docker)).works()
    found = re.search(r"FROM cog-build/below:[0-9a-f]{16}-([0-9a-f]{12})-\d+-\d+-\d+\n", done.stderr)
    assert found, done
    return found[1]

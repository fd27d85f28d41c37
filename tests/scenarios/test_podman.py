"""Podman gets images and runs models, as Docker does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support import hello

LIMIT_SECONDS = 60
# Where a container's own limits and control groups may not be set, as in some containers, it starts without.
CONFIGURATION = """
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """A service of a test's own, and the program that asks it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = f"unix://{directory / 'socket'}"

    def __call__(self, *arguments: object) -> str:
        done = self.ask(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["podman", "--remote", "--url", self.host, *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    program = shutil.which("podman")
    if program is None:
        pytest.skip("podman is not installed")
    if os.geteuid() != 0:
        pytest.skip("starting podman's service here needs root")
    directory = Path(tempfile.mkdtemp(prefix="cog-podman-"))
    (directory / "containers.conf").write_text(CONFIGURATION)
    asked = Podman(directory)
    with (directory / "log").open("w") as log:
        service = subprocess.Popen(
            [
                program,
                f"--root={directory / 'root'}",
                f"--runroot={directory / 'run'}",
                "system",
                "service",
                "--time=0",
                asked.host,
            ],
            env={**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf")},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while asked.ask("version").returncode:
            if service.poll() is not None or time.monotonic() > deadline:
                pytest.skip("podman does not start here: " + (directory / "log").read_text()[-500:])
            time.sleep(0.1)
        yield asked
    finally:
        service.terminate()
        service.wait(timeout=LIMIT_SECONDS)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            target = line.split()[1]
            if Path(target).is_relative_to(directory):
                subprocess.run(["umount", "--lazy", target], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def test_podman_pulls_what_it_lacks(tmp_path: Path, podman: Podman) -> None:
    project = hello(tmp_path / "project")
    environment = {"COG_LOAD": "podman", "CONTAINER_HOST": podman.host}
    first = project.cog("build", "-t", "hello:podman", **environment).works()
    assert "Podman has hello:podman" in first.stderr, first
    runner = project.directory / "run.py"
    runner.write_text(runner.read_text() + "\n# One more line.\n")
    changed = project.cog("build", "-t", "hello:podman", **environment).works()
    sent = re.search(r"Podman has hello:podman \(([\d.]+)(K?B) sent\)", changed.stderr)
    assert sent, changed
    assert float(sent[1]) * (1000 if sent[2] == "KB" else 1) < 100_000, changed
    names = podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert not [name for name in names if name.startswith("127.0.0.1")], names
    assert "hello:podman" in "".join(names)


def test_a_command_runs_in_podman(tmp_path: Path, podman: Podman) -> None:
    project = hello(tmp_path / "project")
    environment = {"COG_ENGINE": "docker", "DOCKER_HOST": podman.host}
    done = project.cog("exec", "sh", "-c", "pwd; exit 7", **environment)
    if "operation not permitted" in done.stderr.lower():
        pytest.skip(f"podman cannot run containers here: {done.stderr[-300:]}")
    assert (done.status, done.stdout) == (7, "/src\n"), done
    assert podman("ps", "--all", "--quiet") == ""


def test_podman_builds(tmp_path: Path, podman: Podman) -> None:
    project = hello(tmp_path / "project")
    commands = f"""\
build:
  run:
    - echo {uuid4()} > /made && rm /usr/share/common-licenses/GPL-1
    - command: test "$(cat /root/.token)" = s3cret && cp /made /again
      mounts:
        - type: secret
          id: token
          target: /root/.token
"""
    config = project.directory / "cog.yaml"
    config.write_text(config.read_text().replace("build:\n", commands))
    (project.directory / "token").write_text("s3cret")
    flags = ("--secret", "id=token,src=token", "--no-cache", "--debug")
    environment = {"COG_BACKEND": "docker", "DOCKER_HOST": podman.host, "COG_LOAD": "auto"}
    done = project.cog("build", "-t", "hello:by-podman", *flags, **environment)
    if "operation not permitted" in done.stderr.lower():
        pytest.skip(f"podman cannot run containers here: {done.stderr[-300:]}")
    assert "Building with the docker backend: Podman" in done.works().stderr
    # What is below does not come back with what the commands changed.
    assert "Podman has pushed" in done.stderr and "archive is taken" not in done.stderr, done
    project.cog("build", "-t", "hello:by-us", *flags, COG_BACKEND="native").works()

    def layers(name: str) -> list[str]:
        inspected = json.loads(project.cog("inspect", name, "--json").works().stdout)
        return [layer["diff_id"] for layer in inspected["layers"]]

    assert layers("hello:by-podman") == layers("hello:by-us")
    names = podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert not [name for name in names if "cog-build/" in name], names

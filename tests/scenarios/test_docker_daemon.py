"""The daemons of these tests clear away what runs that were killed have left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from docker_daemon import PREFIX, Daemon, Docker, children, processes_of
from support import hello

RUN = """
import sys
from docker_daemon import Daemon

with Daemon() as docker:
    print(docker.directory, docker.client, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("daemon_dies", [False, True])
def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, daemon_dies: bool) -> None:
    # Of somebody else's daemon.
    others = bridged()
    killed = subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout
    directory, client = killed.stdout.readline().split()
    docker = Docker(Path(directory), client)
    project = hello(tmp_path / "project")
    project.cog("build", "-t", "hello:left", "--load", "docker", DOCKER_HOST=docker.host).works()
    docker("run", "--detach", "--publish=127.0.0.1::5000", "hello:left", "sleep", "600")
    if daemon_dies:
        os.kill(int((docker.directory / "pid").read_text()), signal.SIGKILL)
    killed.kill()
    killed.wait()
    left = processes_of(docker.directory)
    containers = [child for process in left for child in children(process) if child not in left]
    assert left and containers
    with Daemon() as living:
        assert not docker.directory.exists()
        assert processes_of(docker.directory) == []
        assert not [container for container in containers if is_alive(container)]
        assert bridged() <= others
        # Nobody clears away what is in use.
        with Daemon("--bridge=none", "--iptables=false"):
            assert living("version") and living.directory.name.startswith(PREFIX)


def is_alive(process: int) -> bool:
    try:
        # The dead have none until somebody asks how they ended.
        return (Path(f"/proc/{process}") / "cmdline").read_bytes() != b""
    except OSError:
        return False


def bridged() -> set[str]:
    """Interfaces of containers on the bridge that all daemons use."""
    return {path.name for path in Path("/sys/class/net/docker0/brif").glob("*")}

"""A Docker daemon of a test's own; everything of it is gone afterwards. If the run is killed, the next one sees to it.

It is the `dockerd` that `PATH` leads to: another version, or one with other settings, is tested by putting a script of
that name before it, which passes its arguments on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

START_LIMIT_SECONDS = 60
COMMAND_LIMIT_SECONDS = 120
#: Folders of daemons begin so.
PREFIX = "cog-docker-"
#: Whoever uses such a folder has locked this file in it.
LOCK = "lock"
# Containers share the host's network: nothing of it is changed.
NO_NETWORK = ("--bridge=none", "--iptables=false")


class Docker:
    """The `docker` program, with a daemon behind it."""

    def __init__(self, directory: Path, client: str) -> None:
        self.directory = directory
        self.client = client
        self.host = f"unix://{directory / 'socket'}"
        self.environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(directory / "config")}

    def __call__(self, *arguments: object) -> str:
        done = self.ask(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [self.client, *map(str, arguments)]
        return subprocess.run(
            command,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_SECONDS,
        )

    def has(self, image: str) -> bool:
        return self.ask("image", "inspect", image).returncode == 0

    def containers(self) -> list[str]:
        """All of them, whether they run or not."""
        return self("ps", "--all", "--quiet").split()

    def log(self) -> str:
        return (self.directory / "log").read_text()


class Daemon:
    """Starts one, or skips the test and says why. `before` is a command that runs it, such as `unshare`."""

    def __init__(self, *options: str, before: tuple[str, ...] = ()) -> None:
        daemon = shutil.which("dockerd")
        client = next(
            (path for path in ("/usr/bin/docker", shutil.which("docker")) if path and Path(path).exists()), None
        )
        if daemon is None or client is None:
            pytest.skip("dockerd is not installed")
        if os.geteuid() != 0:
            pytest.skip("starting dockerd needs root")
        clear_leftovers()
        # Not the test's own folder: the paths of sockets must be short.
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.lock = (self.directory / LOCK).open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.docker = Docker(self.directory, client)
        with (self.directory / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    *before,
                    daemon,
                    f"--data-root={self.directory / 'data'}",
                    f"--exec-root={self.directory / 'exec'}",
                    f"--pidfile={self.directory / 'pid'}",
                    f"--host={self.docker.host}",
                    *options,
                ],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Docker:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while self.docker.ask("version").returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                why = self.docker.log()[-500:]
                self.end()
                pytest.skip(f"dockerd does not start here: {why}")
            time.sleep(0.1)
        return self.docker

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=START_LIMIT_SECONDS)
        remove(self.directory)
        self.lock.close()


def clear_leftovers() -> None:
    """Ends what runs that were killed have left. Their containers live on without a daemon, on its bridge, and have
    addresses that the next daemon gives away again: whoever asks one is answered by the other, or never."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for process in processes_of(lock.parent):
                # Of what runs a container, the container.
                for one in (*children(process), process):
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
            wait_until_ended(lock.parent)
            remove(lock.parent)


def processes_of(directory: Path) -> list[int]:
    """The daemon, and what it has started: their command lines name its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"{directory}/".encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def wait_until_ended(directory: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while processes_of(directory):
        assert time.monotonic() < deadline, f"{directory}: {processes_of(directory)} do not end"
        time.sleep(0.05)


def remove(directory: Path) -> None:
    """The folder, and what is mounted in it; with the mounts, the networks of containers go."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        target = line.split()[1]
        if Path(target).is_relative_to(directory):
            subprocess.run(["umount", "--lazy", target], check=False)
    shutil.rmtree(directory, ignore_errors=True)

"""A Docker daemon of our own for the comparisons: its data in a folder of ours, ended with us."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from harness import run

START_LIMIT_SECONDS = 30


class Unavailable(Exception):
    """Why there is no daemon to compare with."""


class Docker:
    def __init__(self, directory: Path) -> None:
        if os.geteuid() != 0:
            raise Unavailable("starting dockerd needs root")
        daemon = shutil.which("dockerd")
        client = next(
            (p for p in ("/usr/bin/docker", shutil.which("docker")) if p and Path(p).exists()),
            None,
        )
        if daemon is None or client is None:
            raise Unavailable("dockerd is not installed (apt-get install docker.io)")
        self.client = client
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        socket = directory / "docker.sock"
        self.env = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1"}
        self.log = (directory / "dockerd.log").open("w")
        self.process = subprocess.Popen(
            [
                daemon,
                f"--data-root={directory / 'data'}",
                f"--exec-root={directory / 'exec'}",
                f"--pidfile={directory / 'pid'}",
                f"--host=unix://{socket}",
            ],
            stdout=self.log,
            stderr=self.log,
        )
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while subprocess.run([client, "version"], env={**os.environ, **self.env}, capture_output=True).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Unavailable(f"dockerd does not start: see {directory / 'dockerd.log'}")
            time.sleep(0.2)

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        return run([self.client, *arguments], cwd=cwd, env=self.env)

    def stop(self) -> None:
        """Ends the daemon and what it leaves mounted."""
        self.process.terminate()
        self.process.wait(timeout=START_LIMIT_SECONDS)
        self.log.close()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            target = line.split()[1]
            if Path(target).is_relative_to(self.directory):
                subprocess.run(["umount", "--lazy", target], check=False)

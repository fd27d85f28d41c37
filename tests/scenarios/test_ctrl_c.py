"""Ctrl-C at a terminal. The terminal sends it to every process of a group at once."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest
from support import COG, hello

PATIENCE_SECONDS = 120
# `cog serve` waits 30 for a server that was not told to stop.
SOON_SECONDS = 20


@pytest.mark.parametrize("engine", ["embedded", "host"])
def test_ctrl_c_stops_a_server_however_late_the_process_before_it_runs(tmp_path: Path, engine: str) -> None:
    project = hello(tmp_path / "project")
    outside, inside = pty.openpty()
    serve = subprocess.Popen(
        [COG, "serve", "-p", "0"],
        cwd=project.directory,
        env=project.environment(COG_ENGINE=engine),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    try:
        read_until(outside, b"Serving at ")
        supervisors = children(serve.pid)
        assert supervisors
        for supervisor in supervisors:
            os.kill(supervisor, signal.SIGSTOP)
        os.write(outside, b"\x03")
        read_until(outside, b"Stopping: ")
        for supervisor in supervisors:
            os.kill(supervisor, signal.SIGCONT)
        read_until(outside, b"Shutting down: SIGINT", SOON_SECONDS)
        assert serve.wait(PATIENCE_SECONDS) == 0
    finally:
        serve.kill()
        serve.wait()
        os.close(outside)


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]


def read_until(terminal: int, end: bytes, patience: float = PATIENCE_SECONDS) -> None:
    said = b""
    deadline = time.monotonic() + patience
    while end not in said:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, said
        said += os.read(terminal, 1024)

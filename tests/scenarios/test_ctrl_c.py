"""Ctrl-C at a terminal. The terminal sends it to every process of a group at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support import COG, hello
from terminals import Terminal

# `cog serve` waits 30 for a server that was not told to stop.
SOON_SECONDS = 20


@pytest.mark.parametrize("engine", ["embedded", "host"])
def test_ctrl_c_stops_a_server_however_late_the_process_before_it_runs(tmp_path: Path, engine: str) -> None:
    project = hello(tmp_path / "project")
    environment = project.environment(COG_ENGINE=engine)
    with Terminal([COG, "serve", "-p", "0"], project.directory, environment) as terminal:
        terminal.until(b"Serving at ")
        supervisors = children(terminal.child.pid)
        assert supervisors
        for supervisor in supervisors:
            os.kill(supervisor, signal.SIGSTOP)
        terminal.type(b"\x03")
        terminal.until(b"Stopping: ")
        for supervisor in supervisors:
            os.kill(supervisor, signal.SIGCONT)
        terminal.until(b"Shutting down: SIGINT", SOON_SECONDS)
        assert terminal.ends() == 0


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]

"""Finding and ending the processes of one server: all that carry its mark in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "COG_CONFORMANCE_MARK"


def marked(mark: str) -> list[int]:
    """Ids of the processes that inherited this mark, however often they have forked."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and directory.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                if wanted in (directory / "environ").read_bytes().split(b"\0"):
                    found.append(int(directory.name))
    return found


def kill_marked(mark: str) -> None:
    deadline = time.monotonic() + 10
    while pids := marked(mark):
        if time.monotonic() > deadline:
            raise AssertionError(f"processes {pids} do not end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)

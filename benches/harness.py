"""Timing, medians and the table that `make bench` prints."""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COG = REPOSITORY / "dist/release/cog"
COGLET = REPOSITORY / "dist/release/coglet"


@dataclass
class Row:
    """One comparison; times in seconds."""

    name: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    budget: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None else self.ours / self.peer

    @property
    def missed(self) -> bool:
        return self.ratio is not None and self.budget is not None and self.ratio > self.budget

    def __str__(self) -> str:
        text = f"{self.name:<58} {self.ours:>9.3f} {self.unit}"
        if self.ratio is not None:
            text += f"   {self.peer_name} {self.peer:.3f} {self.unit}   ratio {self.ratio:.3f}"
        if self.budget is not None:
            text += f"   budget {self.budget:g}{'   MISSED' if self.missed else ''}"
        return text


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def medians(rounds: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of each action, the actions taking turns so that a busy moment hits all of them.

    What one has written is on the disk before the next begins: none waits for another's gigabytes.
    """
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for taken, action in zip(times, actions, strict=True):
            os.sync()
            taken.append(seconds(action))
    return [statistics.median(taken) for taken in times]


def run(
    command: Sequence[str | Path],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Runs a command that must succeed; returns its stdout, shows its stderr only when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_ready(port: int) -> None:
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health-check")
            if json.load(connection.getresponse())["status"] == "READY":
                return
        except OSError:
            pass
        time.sleep(0.005)


def post(port: int, inputs: dict[str, object]) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"input": inputs})
    connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
    answer: dict[str, object] = json.load(connection.getresponse())
    return answer

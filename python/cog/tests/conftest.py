"""A worker process as the server drives it: frames over two pipes."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
TIME_LIMIT_SECONDS = 20


class Worker:
    def __init__(self, directory: Path, model: str, slots: int = 1, mode: str = "predict") -> None:
        self.directory = directory
        (directory / "run.py").write_text(model)
        spill = directory / "spill"
        spill.mkdir(exist_ok=True)
        read, self._outgoing = os.pipe()
        self._incoming, write = os.pipe()
        self._ends = [self._incoming, self._outgoing]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cog._worker"],
            cwd=directory,
            env={
                **os.environ,
                "PYTHONPATH": str(SOURCE),
                "COG_WORKER_FDS": f"{read},{write}",
                "COG_WORKER_SPILL_DIR": str(spill),
                "COG_SCRATCH_DIR": str(directory / "scratch"),
            },
            pass_fds=[read, write],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        os.close(read)
        os.close(write)
        self.send(type="init", version=1, ref="run.py:Runner", mode=mode, slots=slots, weights=None)

    def send(self, **message: Any) -> None:
        body = json.dumps(message).encode()
        frame = struct.pack("<I", len(body)) + body
        while frame:
            frame = frame[os.write(self._outgoing, frame) :]

    def receive(self) -> dict[str, Any]:
        (length,) = struct.unpack("<I", self._read(4))
        message: dict[str, Any] = json.loads(self._read(length))
        return message

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            if not select.select([self._incoming], [], [], TIME_LIMIT_SECONDS)[0]:
                raise TimeoutError("the worker says nothing")
            part = os.read(self._incoming, length - len(data))
            if not part:
                raise EOFError("the worker is gone")
            data += part
        return data

    def until(self, *kinds: str) -> list[dict[str, Any]]:
        """All frames up to the first of one of these kinds."""
        frames = [self.receive()]
        while frames[-1]["type"] not in kinds:
            frames.append(self.receive())
        return frames

    def within(self, seconds: float, kind: str) -> list[dict[str, Any]]:
        """The frames up to the first of this kind, or those that come within the time."""
        frames: list[dict[str, Any]] = []
        while select.select([self._incoming], [], [], seconds)[0]:
            frames.append(self.receive())
            if frames[-1]["type"] == kind:
                break
        return frames

    def ready(self) -> list[dict[str, Any]]:
        return self.until("ready", "setup_failed")

    def predict(self, number: int = 1, **inputs: Any) -> list[dict[str, Any]]:
        self.send(type="predict", id=str(number), input=inputs, context={}, files={})
        return self.until("done")

    def cancel_by_signal(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def hang_up(self) -> None:
        """As if the server was gone."""
        while self._ends:
            os.close(self._ends.pop())

    def close(self) -> None:
        self.hang_up()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers, and ends them after the test."""
    started: list[Worker] = []

    def start(model: str, **options: Any) -> Worker:
        started.append(Worker(tmp_path, model, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()

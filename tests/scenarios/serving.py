"""`cog serve` under way, and what is asked of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING, Any

from support import COG, Project

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 120
CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
#: The beginning of models that wait for files, so that nothing is a matter of time.
WAITING = """
import os
import sys
import time
from collections.abc import Iterator

from cog import BaseRunner, Path


def wait_for(name: str) -> None:
    while not os.path.exists(name):
        time.sleep(0.005)
"""


class Reading:
    """Reads all the time what we were given to read, so that nobody waits for us."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.said = b""
        self.place = 0
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream: IO[bytes]) -> None:
        while piece := os.read(stream.fileno(), 1 << 16):
            with self.news:
                self.said += piece
                self.news.notify_all()

    def until(self, text: str) -> str:
        """Waits for the text, after the one that was waited for last."""
        wanted = text.encode()
        with self.news:
            found = self.news.wait_for(lambda: wanted in self.said[self.place :], PATIENCE_SECONDS)
            assert found, f"waited in vain for {text!r}:\n{self.said[self.place :].decode(errors='replace')}"
            end = self.said.index(wanted, self.place) + len(wanted)
            said = self.said[self.place : end]
            self.place = end
            return said.decode(errors="replace")

    def until_all(self, *texts: str) -> None:
        """The same for several texts that come in any order: `cog` and the server write at the same time."""
        start = end = self.place
        for text in texts:
            self.place = start
            self.until(text)
            end = max(end, self.place)
        self.place = end

    def whole(self) -> str:
        with self.news:
            return self.said.decode(errors="replace")

    def rest(self) -> str:
        self.thread.join(PATIENCE_SECONDS)
        return self.whole()


class Serve:
    """A server of a project, on any free port."""

    def __init__(self, project: Project, *flags: str, **env: str) -> None:
        self.project = project
        self.child = subprocess.Popen(
            [COG, "serve", "-p", "0", *flags],
            cwd=project.directory,
            env=project.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.child.stderr is not None
        self.log = Reading(self.child.stderr)

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(PATIENCE_SECONDS)

    def ready(self) -> Serve:
        """Waits until it serves."""
        said = self.log.until("Serving at http://localhost:") + self.log.until("\n")
        self.port = int(re.findall(r"localhost:(\d+)", said)[-1])
        return self

    def stop(self) -> str:
        """Stops it as Ctrl-C does; all that it has said."""
        self.child.send_signal(signal.SIGINT)
        status = self.child.wait(PATIENCE_SECONDS)
        said = self.log.rest()
        assert status == 0, said
        return said

    def ask(self, path: str = "/predictions", **inputs: object) -> tuple[int, Any]:
        """The status and the JSON of an answer; a prediction with these inputs, if there are some."""
        body = json.dumps({"input": inputs}).encode() if path == "/predictions" else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def output(self, **inputs: object) -> Any:
        status, answer = self.ask(**inputs)
        assert (status, answer.get("status")) == (200, "succeeded"), answer
        return answer["output"]


class Asking:
    """A prediction that is asked for beside everything else."""

    def __init__(self, server: Serve, **inputs: object) -> None:
        self.answer: tuple[int, Any] | None = None
        self.server = server
        self.inputs = inputs
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self) -> None:
        self.answer = self.server.ask(**self.inputs)

    def end(self) -> tuple[int, Any]:
        self.thread.join(PATIENCE_SECONDS)
        assert self.answer is not None, "it is not answered"
        return self.answer


def save(path: Path, content: str) -> None:
    """As many editors do: beside it, and renamed."""
    beside = path.with_name(f"{path.name}.new~")
    beside.write_text(content)
    beside.rename(path)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def records(project: Project) -> list[Path]:
    """What servers have left for `cog run`."""
    return sorted((project.store / "serving").glob("*"))

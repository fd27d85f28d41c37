"""`cog login` at a terminal: keys that a shell knows do there what they do elsewhere, and a password is never shown."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

import pytest
from support import COG, Project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATIENCE_SECONDS = 60
LOGIN = (COG, "login", "--registry", "registry.example.com", "--username", "me")
PROMPT = b"Password: "
CONTROL_Z = b"\x1a"


class Shown:
    """A program at a terminal, and what the terminal shows."""

    def __init__(self, command: Sequence[object], project: Project) -> None:
        self.outside, inside = pty.openpty()
        self.everything = b""
        self.seen = 0
        environment = project.environment(DOCKER_CONFIG=str(project.directory / "docker"), PS1="> ", TERM="dumb")
        environment.pop("COG_REGISTRY", None)
        self.child = subprocess.Popen(
            [str(word) for word in command],
            cwd=project.directory,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lead,
        )
        os.close(inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.outside)

    def type(self, keys: bytes) -> None:
        os.write(self.outside, keys)

    def until(self, end: bytes) -> None:
        """Waits for what was not waited for before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (at := self.everything.find(end, self.seen)) < 0:
            ready, _, _ = select.select([self.outside], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.everything
            self.everything += os.read(self.outside, 4096)
        self.seen = at + len(end)

    def hides(self, hidden: bool) -> None:
        """Waits for it: a prompt is there before the terminal is told."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while hidden == bool(termios.tcgetattr(self.outside)[3] & termios.ECHO):
            assert time.monotonic() < deadline, self.everything
            time.sleep(0.01)

    def asks(self) -> None:
        self.until(PROMPT)
        self.hides(True)


def lead() -> None:
    """In a new process: takes the terminal, with signals as a shell would have them."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


def test_a_suspended_login_gives_the_terminal_back_and_hides_it_again(project: Project) -> None:
    with Shown(["bash", "--norc", "--noprofile", "--noediting", "-i"], project) as shell:
        shell.until(b"> ")
        shell.type(" ".join(str(word) for word in LOGIN).encode() + b"\n")
        for _ in range(2):
            shell.asks()
            shell.type(b"forgotten" + CONTROL_Z)
            shell.until(b"Stopped")
            shell.until(b"> ")
            shell.hides(False)
            shell.type(b"echo back again\n")
            shell.until(b"\nback again")
            shell.type(b"fg\n")
        shell.asks()
        shell.type(b"hunter2\r")
        shell.until(b"Login succeeded")
        shell.until(b"> ")
        shell.hides(False)
        assert b"hunter2" not in shell.everything and b"forgotten" not in shell.everything
    stored = json.loads((project.directory / "docker/config.json").read_text())
    assert stored["auths"]["registry.example.com"] == {"auth": "bWU6aHVudGVyMg=="}


@pytest.mark.parametrize(("keys", "number"), [(b"\x1c", signal.SIGQUIT), (b"\x03", signal.SIGINT)])
def test_a_login_ends_by_the_key_that_ends_programs(project: Project, keys: bytes, number: int) -> None:
    with Shown(LOGIN, project) as login:
        login.asks()
        login.type(b"secret" + keys)
        assert login.child.wait(PATIENCE_SECONDS) == -number
        login.hides(False)
        assert b"secret" not in login.everything
    assert not (project.directory / "docker/config.json").exists()


def test_an_empty_password_is_none(project: Project) -> None:
    with Shown(LOGIN, project) as login:
        login.asks()
        # The other keys are no characters.
        login.type(b"\x01\x1b\x04")
        login.until(b"password cannot be empty")
        assert login.child.wait(PATIENCE_SECONDS) == 1

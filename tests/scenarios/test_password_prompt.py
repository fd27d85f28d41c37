"""`cog login` at a terminal: keys that a shell knows do there what they do elsewhere, and a password is never shown."""

from __future__ import annotations

import json
import signal
import termios
import time
from typing import TYPE_CHECKING

import pytest
from support import COG, Project
from terminals import PATIENCE_SECONDS, Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOGIN = (COG, "login", "--registry", "registry.example.com", "--username", "me")
PROMPT = b"Password: "
CONTROL_Z = b"\x1a"


class Shown(Terminal):
    """A program that asks for a password, and everything that its terminal showed."""

    def __init__(self, command: Sequence[object], project: Project) -> None:
        environment = project.environment(DOCKER_CONFIG=str(project.directory / "docker"), PS1="> ", TERM="dumb")
        environment.pop("COG_REGISTRY", None)
        self.before = b""
        super().__init__(command, project.directory, environment)

    def until(self, end: bytes, patience: float = PATIENCE_SECONDS) -> bytes:
        said = super().until(end, patience)
        self.before += said
        return said

    def shows(self, text: bytes) -> bool:
        return text in self.before + self.said

    def hides(self, hidden: bool) -> None:
        """Waits for it: a prompt is there before the terminal is told."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while hidden == bool(termios.tcgetattr(self.outside)[3] & termios.ECHO):
            assert time.monotonic() < deadline, self.before + self.said
            time.sleep(0.01)

    def asks(self) -> None:
        self.until(PROMPT)
        self.hides(True)


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
        assert not shell.shows(b"hunter2") and not shell.shows(b"forgotten")
    stored = json.loads((project.directory / "docker/config.json").read_text())
    assert stored["auths"]["registry.example.com"] == {"auth": "bWU6aHVudGVyMg=="}


@pytest.mark.parametrize(("keys", "number"), [(b"\x1c", signal.SIGQUIT), (b"\x03", signal.SIGINT)])
def test_a_login_ends_by_the_key_that_ends_programs(project: Project, keys: bytes, number: int) -> None:
    with Shown(LOGIN, project) as login:
        login.asks()
        login.type(b"secret" + keys)
        assert login.ends() == -number
        login.hides(False)
        assert not login.shows(b"secret")
    assert not (project.directory / "docker/config.json").exists()


def test_an_empty_password_is_none(project: Project) -> None:
    with Shown(LOGIN, project) as login:
        login.asks()
        # The other keys are no characters.
        login.type(b"\x01\x1b\x04")
        login.until(b"password cannot be empty")
        assert login.ends() == 1

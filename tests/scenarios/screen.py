"""A terminal with a program in it: what its screen shows, and what the program has sent there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from support import Project

PATIENCE_SECONDS = 120
ROWS = 24


class Screen:
    """Runs `cog` with a terminal of its own, which it is the foreground of: what is typed there reaches it."""

    def __init__(self, project: Project, *arguments: object, columns: int = 80, **env: str) -> None:
        self.sent = b""
        self.screen = pyte.Screen(columns, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        environment = {name: value for name, value in project.environment().items() if name != "NO_COLOR"}
        for name in ("TERM_PROGRAM", "TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "LC_TERMINAL"):
            environment.pop(name, None)
        environment |= {"TERM": "xterm", **env}
        command = [str(argument) for argument in ("cog", *arguments)]
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            try:
                # Before the program can ask.
                set_size(0, columns)
                # Whoever runs the tests in the background has them ignored.
                for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)
                os.chdir(project.directory)
                os.execvpe(command[0], command, environment)
            finally:
                os._exit(127)
        self.status: int | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.status is None:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        os.close(self.terminal)

    def lines(self) -> list[str]:
        """The rows of the screen that are not empty."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def with_text(self, text: str) -> list[str]:
        return [line for line in self.lines() if text in line]

    def text(self) -> str:
        return "\n".join(self.lines())

    def until(self, shows: Callable[[], object]) -> None:
        """Waits for what the screen shows."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not shows():
            left = deadline - time.monotonic()
            assert left > 0 and self.read(left), f"waited in vain:\n{self.text()}\n{self.sent[-2000:]!r}"

    def shows(self, text: str) -> None:
        self.until(lambda: text in self.text())

    def read(self, patience: float) -> bool:
        """Takes what the program sends; false if it sends no more."""
        ready, _, _ = select.select([self.terminal], [], [], patience)
        if not ready:
            return False
        piece = b""
        # The other side is closed, which Linux calls an error.
        with suppress(OSError):
            piece = os.read(self.terminal, 1 << 16)
        self.sent += piece
        self.stream.feed(piece)
        return bool(piece)

    def resize(self, columns: int) -> None:
        self.screen.resize(columns=columns)
        set_size(self.terminal, columns)

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def ends(self) -> int:
        """The program's exit status, or the signal that ended it as a negative number."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.read(max(0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"it does not end:\n{self.text()}"
        _, status = os.waitpid(self.child, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status


def set_size(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

"""A terminal, and a program that was started at it. What its screen would show is in `screen.py`."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PATIENCE_SECONDS = 120


class Terminal:
    """Runs a program as the foreground of a terminal of its own: what is typed there reaches it."""

    def __init__(
        self,
        command: Sequence[object],
        directory: Path,
        environment: Mapping[str, str],
        *,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self.outside, inside = pty.openpty()
        # Before the program can ask.
        termios.tcsetwinsize(inside, (rows, columns))
        self.said = b""
        self.child = subprocess.Popen(
            [str(word) for word in command],
            cwd=directory,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lead,
        )
        os.close(inside)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.outside)

    def type(self, keys: bytes) -> None:
        os.write(self.outside, keys)

    def until(self, end: bytes, patience: float = PATIENCE_SECONDS) -> bytes:
        """All that was said up to this, since the last such wait."""
        deadline = time.monotonic() + patience
        while end not in self.said:
            ready, _, _ = select.select([self.outside], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited in vain for {end!r}: {self.said!r}"
            piece = b""
            # The other side is closed, which Linux calls an error.
            with suppress(OSError):
                piece = os.read(self.outside, 1 << 16)
            assert piece, f"ended without {end!r}: {self.said!r}"
            self.said += piece
        place = self.said.index(end) + len(end)
        said, self.said = self.said[:place], self.said[place:]
        return said

    def ends(self, patience: float = PATIENCE_SECONDS) -> int:
        """The program's exit status, or the signal that ended it as a negative number."""
        return self.child.wait(patience)


def lead() -> None:
    """In a new process: takes the terminal, with signals as a shell would have them."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Whoever runs the tests in the background has them ignored.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)

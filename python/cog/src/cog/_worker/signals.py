"""Signals that mean something to the worker, and nothing to the processes that the model forks.

A forked process inherits handlers. With ours it would not end when the model terminates it, as every
``multiprocessing.Pool`` does with its workers.
"""

from __future__ import annotations

import os
import signal
import threading

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], None]

#: Our handlers, each with the one it replaced.
_installed: dict[signal.Signals, tuple[Handler, Any]] = {}

#: What the forking thread had blocked itself.
_blocked_before = threading.local()


def handle(number: signal.Signals, handler: Handler) -> None:
    """Calls ``handler`` for this signal, in this process only."""
    _installed[number] = (handler, signal.signal(number, handler))


def ignore(number: signal.Signals) -> None:
    """Does nothing for this signal. Unlike real ignoring, a handler does not outlive an ``exec``."""
    handle(number, _ignore)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass


def outlive_termination() -> None:
    """Setup is done. Who terminates a whole group or container means the server, which lets this process finish.

    Until here it just ended. A handler that the model has installed stays.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        ignore(signal.SIGTERM)


def _hold() -> None:
    """Before a fork: a signal that reaches the child before it has its handlers back waits until it has."""
    _blocked_before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _installed)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _blocked_before.mask)


def _restore() -> None:
    for number, (handler, before) in _installed.items():
        # The model may have installed its own.
        if signal.getsignal(number) == handler:
            signal.signal(number, before)
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_restore)

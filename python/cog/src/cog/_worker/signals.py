"""Signals that mean something to the worker, and nothing to the processes that the model forks.

A forked process inherits handlers. With ours it would not end when the model terminates it, as every
``multiprocessing.Pool`` does with its workers.

And signals that mean something to the model, and nothing to the worker. A handler that raises (``signal.alarm`` is
often used so) is called between any two steps of the main thread. What it raises while the worker's own code runs there
is raised where the model goes on, or nowhere.
"""

from __future__ import annotations

import os
import signal
import threading

from .errors import print_traceback
from .foreign import quietly

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from .channel import Protection

    Handler = Callable[[int, FrameType | None], None]

_set, _get = signal.signal, signal.getsignal

#: Our handlers, each with the one it replaced.
_installed: dict[signal.Signals, tuple[Handler, Any]] = {}

#: What the forking thread had blocked itself.
_blocked_before = threading.local()


def handle(number: signal.Signals, handler: Handler) -> None:
    """Calls ``handler`` for this signal, in this process only."""
    _installed[number] = (handler, _set(number, handler))


def ignore(number: signal.Signals) -> None:
    """Does nothing for this signal. Unlike real ignoring, a handler does not outlive an ``exec``."""
    handle(number, _ignore)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass


def outlive_termination() -> None:
    """Setup is done. Who terminates a whole group or container means the server, which lets this process finish.

    Until here it just ended. A handler that the model has installed stays.
    """
    if _get(signal.SIGTERM) == signal.SIG_DFL:
        ignore(signal.SIGTERM)


class Guarded:
    """A handler of the model."""

    __slots__ = ("_has_told", "_protection", "handler")

    def __init__(self, handler: Any, protection: Protection) -> None:
        self.handler = handler
        self._protection = protection
        #: Once is enough: a timer may go off a thousand times in a second.
        self._has_told = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        protection = self._protection
        if not protection.depth:
            self.handler(number, frame)
            return
        try:
            self.handler(number, frame)
        except BaseException as error:
            if protection.inside and protection.after is None:
                protection.after = _raiser(error)
            elif not self._has_told:
                self._has_told = True
                quietly(print_traceback, error)


def guard(protection: Protection) -> None:
    """From now on, for the handlers that the model installs in the main thread, which has this protection."""

    def guarded(signalnum: Any, handler: Any) -> Any:
        # One of ours may come back to its place.
        is_foreign = callable(handler) and all(handler != ours for ours, _ in _installed.values())
        return _unguarded(_set(signalnum, Guarded(handler, protection) if is_foreign else handler))

    signal.signal = guarded
    signal.getsignal = lambda signalnum: _unguarded(_get(signalnum))


def _unguarded(handler: Any) -> Any:
    return handler.handler if type(handler) is Guarded else handler


def _raiser(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def _hold() -> None:
    """Before a fork: a signal that reaches the child before it has its handlers back waits until it has."""
    _blocked_before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _installed)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _blocked_before.mask)


def _restore() -> None:
    for number, (handler, before) in _installed.items():
        # The model may have installed its own.
        if _get(number) == handler:
            _set(number, before)
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_restore)

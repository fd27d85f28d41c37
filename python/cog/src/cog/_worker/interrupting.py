"""Raising an exception in another thread, which Python can do but does not make safe.

The thread raises it at its next step. What must not be cut apart there is done between `Channel.enter` and
`Channel.leave`; that a thread is not within is only true for as long as no other one runs, so that looking and raising
are one step here.
"""

from __future__ import annotations

import _thread
import ctypes
import sys
import threading

from .channel import Channel, Protection

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_NOTHING = ctypes.py_object()


def interrupt(thread: int, exception: type[BaseException], protection: Protection) -> None:
    """Raises it in the thread, which has this protection: now, or when it leaves what is protected."""

    def raise_it() -> None:
        raise exception

    identity, raised, raise_in = ctypes.c_ulong(thread), ctypes.py_object(exception), _raise_in
    # Python changes threads where a function begins or returns, and where a branch is taken: nowhere from here on.
    protection.after = raise_it
    if not protection.depth:
        protection.after = None
        raise_in(identity, raised)


def take_back(thread: int) -> None:
    """What the thread has not raised yet, it will not raise."""
    _raise_in(ctypes.c_ulong(thread), _NOTHING)


def guard_new_threads(channel: Channel) -> None:
    """A thread is not interrupted while it starts another one.

    Up to Python 3.11, the new thread has its parent's identity until it runs. It would be the one that is interrupted,
    and end; its parent would wait for it forever.
    """
    if sys.version_info >= (3, 12):
        return
    start = _thread.start_new_thread

    def start_new_thread(function: Callable[..., Any], arguments: tuple[Any, ...], *named: dict[str, Any]) -> int:
        runs = _thread.allocate_lock()
        runs.acquire()

        def run(*args: Any, **kwargs: Any) -> Any:
            runs.release()
            return function(*args, **kwargs)

        channel.enter()
        try:
            identity = start(run, arguments, *named)
            runs.acquire()
            return identity
        finally:
            channel.leave()

    _thread.start_new_thread = start_new_thread
    threading._start_new_thread = start_new_thread  # type: ignore[attr-defined]

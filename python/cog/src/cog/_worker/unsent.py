"""Files that the server has not been told of yet. A cancelation may come between making one and saying so.

The server removes those that it knows; the others would stay as long as this process.
"""

from __future__ import annotations

import contextlib
import os
import threading

#: Of each thread.
_paths: dict[int, list[str]] = {}


def reserve(path: str) -> str:
    """Before it is made."""
    _paths.setdefault(threading.get_ident(), []).append(path)
    return path


def sent() -> None:
    """This thread's are the server's now."""
    if _paths:
        _paths.pop(threading.get_ident(), None)


def discard() -> None:
    """Nobody will hear of this thread's."""
    if _paths:
        for path in _paths.pop(threading.get_ident(), ()):
            with contextlib.suppress(OSError):
                os.unlink(path)

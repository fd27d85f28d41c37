"""The model's code inside ours.

What a model defines runs in places that look harmless: describing an exception (``__str__``), printing its traceback
(``sys.stderr`` may be the model's), closing a file, flushing a stream. It may raise anything, and a process that it has
forked may come back from it.

Whatever of that has no ``try`` of its own goes through `quietly`, so it can end neither a loop of the worker nor keep a
prediction from ending. Wherever the model's code comes back, `leave_if_forked` ends a process that is not the worker.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: This process was forked by the model. It is not the worker, and has nothing to say to the server.
is_forked = False


def quietly(function: Callable[..., Any], *arguments: Any, otherwise: Any = None) -> Any:
    """Calls it. What it raises goes no further; ``otherwise`` is the result then."""
    try:
        result = function(*arguments)
    except BaseException as error:
        leave_if_forked(error)
        return otherwise
    if is_forked:
        _leave(None)
    return result


def leave_if_forked(error: BaseException | None = None) -> None:
    """The model's code has come back, with ``error`` if it raised: for a forked process, this is the end.

    It ends as a Python program would, but without what its parent has registered with ``atexit``.
    """
    if is_forked:
        _leave(error)


def _leave(error: BaseException | None) -> None:
    global is_forked
    is_forked = False  # once is enough
    code = 1
    try:
        code = _exit_code(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    sys.excepthook(type(error), error, error.__traceback__)
    return 1


def _after_fork() -> None:
    global is_forked
    is_forked = True


os.register_at_fork(after_in_child=_after_fork)

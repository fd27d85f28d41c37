"""How errors of the model are told."""

from __future__ import annotations

import os
import sys

from .foreign import quietly

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LOADER = "<frozen importlib"

#: More of an error's text is of no use to a client, and a frame has a limit.
TEXT_LIMIT = 256 * 1024
CUT = " [**** ERROR TRUNCATED ****]"
#: As Python's own tracebacks say it.
INDESCRIBABLE = "<exception str() failed>"
#: That of the class itself, whatever its own class says.
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__

#: Where tracebacks go if the model's ``sys.stderr`` does not take them.
last_resort: Any = None


def described(error: BaseException) -> str:
    """``ValueError: it was odd``, even if the error cannot say it."""
    name = _exactly(_name_of(type(error)))
    text = quietly(_text, error, otherwise=INDESCRIBABLE)
    if len(text) > TEXT_LIMIT:
        text = text[:TEXT_LIMIT] + CUT
    return f"{name}: {text}" if text else str(name)


def _text(error: BaseException) -> str:
    return _exactly(str(error))


def _exactly(text: str) -> str:
    """A plain string of one that may be of a class of its own."""
    return str.__str__(text)


def print_traceback(error: BaseException) -> None:
    """To stderr, from where the model's own code begins."""
    text = quietly(_traceback, error) or f"{described(error)}\n"
    if quietly(_print, text) is None and last_resort is not None:
        quietly(last_resort.write, text)


def _traceback(error: BaseException) -> str:
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith((_PACKAGE, _LOADER)):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _print(text: str) -> bool:
    sys.stderr.write(text)
    return True

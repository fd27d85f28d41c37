"""How errors of the model are told."""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LOADER = "<frozen importlib"


def described(error: BaseException) -> str:
    """``ValueError: it was odd``."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def print_traceback(error: BaseException) -> None:
    """To stderr, from where the model's own code begins."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith((_PACKAGE, _LOADER)):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)

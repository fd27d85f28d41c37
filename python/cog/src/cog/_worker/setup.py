"""The model's ``setup``, and the end of a worker whose model cannot serve."""

from __future__ import annotations

import os
import sys

from . import errors, signals
from .channel import Channel
from .errors import described, print_traceback
from .foreign import leave_if_forked, quietly
from .logs import Logs
from .model import ConcurrencyError, Model

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any


def set_up(model: Model, channel: Channel, logs: Logs) -> None:
    """Runs ``setup`` in the main thread; if it fails, this is the end of the process.

    From here on, the main thread is ours.
    """
    try:
        waiting = model.call_setup()
        if hasattr(waiting, "__await__"):
            _complete(waiting)
            leave_if_forked()
    except BaseException as error:
        fail_setup(channel, "setup failed", error)
    protection = channel.protect()
    protection.inside = False
    protection.depth = 1
    logs.flush(None)
    signals.outlive_termination()


def _complete(waiting: Any) -> None:
    """The loop of an async ``setup`` stays open, since what it made may belong to it."""
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(waiting)


def fail_setup(channel: Channel, what: str, error: BaseException) -> None:
    """Tells the server what the model has raised, and ends the process."""
    leave_if_forked(error)
    quietly(print_traceback, error)
    fail(channel, str(error) if type(error) is ConcurrencyError else f"{what}: {described(error)}")


def fail(channel: Channel, text: str) -> None:
    """Tells the server why there will be no predictions, and ends the process."""
    for stream in (sys.stdout, sys.stderr, errors.last_resort):
        quietly(_flush, stream)
    channel.send({"type": "setup_failed", "error": text})
    os._exit(1)


def _flush(stream: Any) -> None:
    stream.flush()

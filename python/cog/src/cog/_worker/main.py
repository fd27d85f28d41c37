"""From the first frame to the last: load, set up, serve."""

from __future__ import annotations

import os
import signal
import sys

from .. import _scope
from .._version import __version__
from . import signals
from .channel import Channel
from .foreign import quietly
from .logs import Logs
from .model import Model, python_version, spill_directory
from .setup import fail, fail_setup

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

PROTOCOL_VERSION = 1
#: What children may take to end when they are terminated.
CHILDREN_SECONDS = 1.0


def main() -> None:
    """Runs until the server says so, or is gone."""
    incoming, outgoing = os.environ.pop("COG_WORKER_FDS").split(",")
    channel = Channel(int(incoming), int(outgoing), spill_directory())
    logs = Logs(channel)
    logs.install()
    signals.guard(channel.protect())
    _scope.batch_sink = lambda size: channel.send({"type": "batch", "size": size})
    _trace_fatal_signals()
    signals.ignore(signal.SIGINT)  # a terminal's Ctrl-C is the server's alone to handle
    _mark_active()
    first = channel.receive()
    if first is None:
        return
    if first.get("version") != PROTOCOL_VERSION:
        fail(
            channel,
            f"the server speaks version {first.get('version')} of the protocol, the SDK {PROTOCOL_VERSION}",
        )
    if first.get("weights"):
        os.environ["COG_WEIGHTS"] = first["weights"]
    model = _load(channel, first)
    channel.send(
        {
            "type": "loaded",
            "sdk": __version__,
            "python": python_version(),
            "cancel_frames": model.is_async or first["slots"] > 1,
            "has_healthcheck": model.healthcheck is not None,
            "signature": model.inputs.kinds,
        }
    )
    if model.is_async:
        from .concurrent import serve
    elif first["slots"] > 1:
        from .threaded import serve
    else:
        from .serial import serve
    serve(model, channel, logs)
    _end_children()


def _load(channel: Channel, first: dict[str, Any]) -> Model:
    try:
        return Model(first["ref"], first["mode"], first["slots"])
    except BaseException as error:
        fail_setup(channel, "failed to load predictor", error)
        raise AssertionError("unreachable") from error


def _end_children() -> None:
    """`multiprocessing` waits at exit for children that are not daemons. These will not be told to end by anybody else.

    Once the model's own ``atexit`` handlers have run, which are called first.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        quietly(util.Finalize, None, _terminate_children, (), None, 0)


def _terminate_children() -> None:
    import multiprocessing
    import time

    deadline = time.monotonic() + CHILDREN_SECONDS
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(max(deadline - time.monotonic(), 0))
        child.kill()


def _trace_fatal_signals() -> None:
    """On a segmentation fault and its like, says where, to the real stderr: the server puts it into the error."""
    import faulthandler

    faulthandler.enable(2)


def _mark_active() -> None:
    """``coglet.server.active`` is true here; most models never look."""
    try:
        import coglet
    except ImportError:
        return
    coglet.server.active = True

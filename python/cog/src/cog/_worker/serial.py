"""Predictions of synchronous models: one at a time, in the main thread, with nothing beside it.

Only a model with a health check gets a second thread, which reads the frames so that the check is answered while a
prediction runs.
"""

from __future__ import annotations

import signal
import sys
import threading
import time

from .. import _scope
from .._scope import Scope
from ..exceptions import CancelationException
from . import ending, signals
from .canceling import AGAIN_SECONDS, is_handled
from .channel import Channel
from .ending import CANCELED, attempt, metric_sink
from .health import Checks
from .logs import Logs
from .model import Model, scratch_directory, spill_directory
from .setup import set_up

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from .ending import End


def serve(model: Model, channel: Channel, logs: Logs) -> None:
    """Until the server says so, or is gone."""
    set_up(model, channel, logs)
    runner = Serial(model, channel, logs)
    channel.send({"type": "ready"})
    receive = _Reader(model, channel).receive if model.healthcheck else channel.receive
    while True:
        message = receive()
        if message is None or message["type"] == "shutdown":
            return
        if message["type"] == "predict":
            runner.predict(message)


class Serial:
    """Runs one prediction after another."""

    def __init__(self, model: Model, channel: Channel, logs: Logs) -> None:
        self._model = model
        self._channel = channel
        self._logs = logs
        self._spill = spill_directory()
        self._canceled = False
        #: When the cancelation was raised last.
        self._raised_at = 0.0
        # Signals are handled by the main thread, which this is.
        self._protection = channel.protect()
        signals.handle(signal.SIGUSR1, self._on_cancel)

    def _on_cancel(self, _signal: int, _frame: FrameType | None) -> None:
        """The server repeats the signal until the prediction has ended, so one that comes too early is no loss."""
        if not self._protection.inside:
            return
        if self._protection.depth:
            self._protection.after = self._raise
        else:
            self._raise()

    def _raise(self) -> None:
        if not self._protection.inside or (self._canceled and not self._is_lost()):
            return
        self._canceled = True
        self._raised_at = time.monotonic()
        raise CancelationException

    def _is_lost(self) -> bool:
        """Python, or the model, has swallowed it, as it happens in a finalizer or in a callback of an event loop.

        It is not while something cleans up because of it.
        """
        return time.monotonic() - self._raised_at >= AGAIN_SECONDS and not is_handled(sys.exc_info()[1])

    def predict(self, message: dict[str, Any]) -> None:
        """One prediction, from its frame to the frame that ends it."""
        prediction: str = message["id"]
        opened: list[Any] = []
        self._canceled = False
        scope = Scope(message.get("context"), metric_sink(self._channel, prediction), scratch_directory(prediction))
        self._logs.attribution.process = prediction
        _scope.enter_process(scope)
        end = self._attempt(prediction, message, opened)
        self._protection.after = None
        _scope.enter_process(None)
        end = ending.conclude(prediction, CANCELED if self._canceled else end, scope, opened, self._logs)
        self._logs.attribution.process = None
        ending.finish(self._channel, prediction, end)

    def _attempt(self, prediction: str, message: dict[str, Any], opened: list[Any]) -> End:
        """Within, the model's code can be interrupted."""
        protection = self._protection
        try:
            try:
                protection.inside = True
                protection.depth = 0
                return attempt(self._model, self._channel, prediction, message, opened, self._spill)
            finally:
                protection.depth = 1
                protection.inside = False
        except BaseException as error:
            # Between the model's code and ours.
            protection.depth = 1
            protection.inside = False
            return ending.failure(error)


class _Reader:
    """Reads the frames in a thread of its own: answers health checks, hands everything else to the main thread."""

    def __init__(self, model: Model, channel: Channel) -> None:
        import queue

        self._checks = Checks(model, channel)
        self._channel = channel
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="cog-reader").start()

    def receive(self) -> dict[str, Any] | None:
        return self._messages.get()

    def _read(self) -> None:
        while True:
            message = self._channel.receive()
            if message is not None and message["type"] == "healthcheck":
                self._checks.begin(message["seq"])
                continue
            self._messages.put(message)
            if message is None:
                return

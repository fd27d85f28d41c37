"""Predictions of synchronous models that several threads may call at once.

The main thread reads frames; each prediction runs in one of as many threads as there are slots.
"""

from __future__ import annotations

import contextvars
import os
import queue
import sys
import threading
import time

from .. import _scope
from .._scope import Scope
from ..exceptions import CancelationException
from . import ending
from .canceling import AGAIN_SECONDS, is_handled
from .channel import Channel, Protection
from .ending import CANCELED, attempt, metric_sink
from .health import Checks
from .interrupting import guard_new_threads, interrupt, take_back
from .logs import Logs, task_prediction
from .model import Model, scratch_directory, spill_directory
from .setup import set_up

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

    from .ending import End


def serve(model: Model, channel: Channel, logs: Logs) -> None:
    """Until the server says so, or is gone."""
    guard_new_threads(channel)
    set_up(model, channel, logs)
    logs.attribute_pieces()
    threads = Threaded(model, channel, logs)
    channel.send({"type": "ready"})
    while True:
        message = channel.receive()
        if message is None:
            os._exit(1)  # the server is gone, and nobody waits for what still runs
        if message["type"] == "shutdown":
            threads.finish()
            return
        threads.handle(message)


class Threaded:
    """Runs predictions in threads, which are started as they are needed. The server sends no more than it has slots."""

    def __init__(self, model: Model, channel: Channel, logs: Logs) -> None:
        self._model = model
        self._channel = channel
        self._logs = logs
        self._spill = spill_directory()
        self._checks = Checks(model, channel)
        #: What `setup` has set in its context is there for all predictions.
        self._context = contextvars.copy_context()
        self._messages: queue.SimpleQueue[tuple[dict[str, Any], Prediction] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        #: Held while one is canceled and while it settles, so that only what runs is interrupted.
        self._lock = threading.Lock()
        #: Those that have not settled, by their ids.
        self._predictions: dict[str, Prediction] = {}
        self._idle = 0

    def handle(self, message: dict[str, Any]) -> None:
        """One frame of the server."""
        kind = message["type"]
        if kind == "predict":
            prediction = Prediction()
            with self._lock:
                self._predictions[message["id"]] = prediction
                needs_thread = self._idle == 0
                self._idle -= not needs_thread
            self._messages.put((message, prediction))
            if needs_thread:
                thread = threading.Thread(target=self._work, daemon=True, name=f"cog-predict-{len(self._threads)}")
                self._threads.append(thread)
                thread.start()
        elif kind == "cancel":
            self._cancel(message["id"])
        elif kind == "healthcheck":
            self._checks.begin(message["seq"])

    def finish(self) -> None:
        """Waits for what runs."""
        for _ in self._threads:
            self._messages.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        protection = self._channel.protect()
        while True:
            work = self._messages.get()
            if work is None:
                return
            self._context.copy().run(self._predict, *work, protection)

    def _cancel(self, prediction: str) -> None:
        with self._lock:
            found = self._predictions.get(prediction)
            if found is not None:
                found.cancel()

    def _predict(self, message: dict[str, Any], prediction: Prediction, protection: Protection) -> None:
        name: str = message["id"]
        opened: list[Any] = []
        scope = Scope(message.get("context"), metric_sink(self._channel, name), scratch_directory(name))
        self._logs.attribution.live.add(name)
        task_prediction.set(name)
        _scope.enter(scope)
        end = self._attempt(message, prediction, protection, opened)
        end = ending.conclude(name, CANCELED if prediction.is_canceled else end, scope, opened, self._logs)
        self._logs.attribution.live.discard(name)
        with self._lock:
            self._idle += 1
        ending.finish(self._channel, name, end)

    def _attempt(
        self, message: dict[str, Any], prediction: Prediction, protection: Protection, opened: list[Any]
    ) -> End:
        """Within, the model's code can be interrupted."""
        name: str = message["id"]
        try:
            try:
                with self._lock:
                    prediction.begin(protection)
                return attempt(self._model, self._channel, name, message, opened, self._spill)
            finally:
                self._settle(name, prediction)
        except BaseException as error:
            # Between the model's code and ours; that can happen once only.
            self._settle(name, prediction)
            return ending.failure(error)

    def _settle(self, name: str, prediction: Prediction) -> None:
        """From here on it is not interrupted any more."""
        with self._lock:
            if self._predictions.pop(name, None) is not None:
                prediction.settle()


class Prediction:
    """What is known of one that has not ended."""

    def __init__(self) -> None:
        self.is_canceled = False
        self._protection: Protection | None = None
        self._thread = 0
        #: When the cancelation was raised last.
        self._raised_at = 0.0

    def begin(self, protection: Protection) -> None:
        """This thread runs it."""
        if self.is_canceled:
            raise CancelationException
        # The one before may have been interrupted where it counts.
        protection.depth, protection.after = 0, None
        self._protection = protection
        self._thread = threading.get_ident()

    def cancel(self) -> None:
        """Raises `CancelationException` in its thread, and again if it got lost: the server repeats what it wants."""
        if self.is_canceled and not self._is_lost():
            return
        self.is_canceled = True
        if self._protection is None:
            return  # it has not begun, and will not
        self._raised_at = time.monotonic()
        interrupt(self._thread, CancelationException, self._protection)

    def _is_lost(self) -> bool:
        if self._protection is None or time.monotonic() - self._raised_at < AGAIN_SECONDS:
            return False
        active = sys._current_exceptions().get(self._thread)
        # Before Python 3.12, type and traceback came with it.
        return not is_handled(active[1] if isinstance(active, tuple) else active)

    def settle(self) -> None:
        """Takes back what has not been raised yet."""
        if self._protection is not None and self.is_canceled:
            self._protection.after = None
            take_back(self._thread)

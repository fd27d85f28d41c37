"""Predictions of synchronous models: one at a time, in the main thread, with nothing beside it.

Only a model with a health check gets a second thread, which reads the frames so that the check is answered while a
prediction runs.
"""

from __future__ import annotations

import signal
import threading

from .. import _scope
from .._scope import Scope
from ..exceptions import CancelationException
from . import signals
from .channel import Channel, NoRoom
from .encode import Encoded, OutputError, encode
from .errors import described, print_traceback
from .health import answer
from .logs import Logs
from .main import fail_setup
from .model import Model, scratch_directory, spill_directory

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


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


def set_up(model: Model, channel: Channel, logs: Logs) -> None:
    """Runs ``setup``; if it fails, this is the end of the process."""
    try:
        waiting = model.call_setup()
        if hasattr(waiting, "__await__"):
            _complete(waiting)
    except BaseException as error:
        fail_setup(channel, "setup failed", error)
    logs.flush(None)
    signals.outlive_termination()


def _complete(waiting: Any) -> None:
    """The loop of an async ``setup`` stays open, since what it made may belong to it."""
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(waiting)


class Serial:
    """Runs one prediction after another."""

    def __init__(self, model: Model, channel: Channel, logs: Logs) -> None:
        self._model = model
        self._channel = channel
        self._logs = logs
        self._spill = spill_directory()
        self._interruptible = False
        self._canceled = False
        # Signals are handled by the main thread, which this is.
        self._protection = channel.protect()
        signals.handle(signal.SIGUSR1, self._on_cancel)

    def _on_cancel(self, _signal: int, _frame: FrameType | None) -> None:
        """The server repeats the signal until the prediction has ended, so one that comes too early is no loss."""
        if not self._interruptible or self._canceled:
            return
        if self._protection.depth:
            self._protection.after = self._raise
        else:
            self._raise()

    def _raise(self) -> None:
        if self._interruptible and not self._canceled:
            self._canceled = True
            raise CancelationException

    def predict(self, message: dict[str, Any]) -> None:
        """One prediction, from its frame to the frame that ends it."""
        prediction: str = message["id"]
        opened: list[Any] = []
        self._canceled = False
        scope = Scope(message.get("context"), metric_sink(self._channel, prediction), scratch_directory(prediction))
        self._logs.attribution.process = prediction
        _scope.enter_process(scope)
        try:
            try:
                self._interruptible = True
                arguments = self._model.inputs.arguments(message, opened)
                end = run(self._model, self._channel, prediction, arguments, self._spill)
            finally:
                self._interruptible = False
        except BaseException as error:
            end = failure(error, self._canceled)
        self._protection.after = None
        scratch = scope.close()
        _scope.enter_process(None)
        for file in opened:
            file.close()
        self._logs.flush(prediction)
        self._logs.attribution.process = None
        if self._canceled:
            end = ({"status": "canceled"}, None)
        if scratch:
            end[0]["scratch"] = True
        finish(self._channel, prediction, *end)


def run(
    model: Model, channel: Channel, prediction: str, arguments: dict[str, Any], spill: str | None
) -> tuple[dict[str, Any], Encoded | None]:
    """Calls the model and sends what it yields. Returns how the prediction ended, and what the model returned."""
    output = model.handler(**arguments)
    if hasattr(output, "__next__") and not hasattr(output, "read"):
        for item in output:
            send_chunk(channel, prediction, encode(item, spill))
        return {"status": "succeeded", "stream": True}, None
    return {"status": "succeeded"}, encode(output, spill)


def metric_sink(channel: Channel, prediction: str) -> Callable[[str, Any, str], None]:
    """Sends a prediction's metrics."""

    def send(name: str, value: Any, mode: str) -> None:
        channel.send({"type": "metric", "id": prediction, "name": name, "value": value, "mode": mode})

    return send


def send_chunk(channel: Channel, prediction: str, item: Encoded) -> None:
    """One item of a stream."""
    _send(channel, {"type": "chunk", "id": prediction}, "value", item)


def finish(channel: Channel, prediction: str, end: dict[str, Any], output: Encoded | None) -> None:
    """The frame that ends a prediction."""
    frame: dict[str, Any] = {"type": "done", "id": prediction, **end}
    if output is None:
        channel.send(frame)
        return
    try:
        _send(channel, frame, "output", output)
    except NoRoom as error:
        channel.send({"type": "done", "id": prediction, **end, **failure(error, False)[0]})


def _send(channel: Channel, frame: dict[str, Any], key: str, output: Encoded) -> None:
    if output.raw:
        channel.send_raw(frame, key, output.text)
        return
    if output.files:
        frame["files"] = output.files
    channel.send_value(frame, key, output.text)


def failure(error: BaseException, canceled: bool) -> tuple[dict[str, Any], None]:
    """How a prediction that raised ends. The traceback goes to its log."""
    if canceled or isinstance(error, CancelationException):
        return {"status": "canceled"}, None
    if isinstance(error, (OutputError, NoRoom)):
        return {"status": "failed", "error": f"Prediction failed: {error}"}, None
    print_traceback(error)
    return {"status": "failed", "error": f"Prediction failed: {described(error)}"}, None


class _Reader:
    """Reads the frames in a thread of its own: answers health checks, hands everything else to the main thread."""

    def __init__(self, model: Model, channel: Channel) -> None:
        import queue

        self._model = model
        self._channel = channel
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="cog-reader").start()

    def receive(self) -> dict[str, Any] | None:
        return self._messages.get()

    def _read(self) -> None:
        while True:
            message = self._channel.receive()
            if message is not None and message["type"] == "healthcheck":
                check = threading.Thread(
                    target=answer,
                    args=(self._model, self._channel, message["seq"]),
                    daemon=True,
                    name="cog-health",
                )
                check.start()
                continue
            self._messages.put(message)
            if message is None:
                return

"""Predictions of asynchronous models: many at a time on one event loop, which ``setup`` shares."""

from __future__ import annotations

import asyncio
import os

from .. import _scope
from .._scope import Scope
from . import loop, signals
from .channel import Channel
from .encode import Encoded, encode
from .errors import described
from .health import TIME_LIMIT_SECONDS, TIMED_OUT, answer, healthy
from .logs import Logs, task_prediction
from .main import fail_setup
from .model import Model, scratch_directory, spill_directory
from .serial import failure, finish, metric_sink, send_chunk

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any


def serve(model: Model, channel: Channel, logs: Logs) -> None:
    """Until the server says so, or is gone."""
    loop.run(Concurrent(model, channel, logs).serve())


class Concurrent:
    """Runs predictions as tasks."""

    def __init__(self, model: Model, channel: Channel, logs: Logs) -> None:
        self._model = model
        self._channel = channel
        self._logs = logs
        logs.attribute_pieces()
        self._spill = spill_directory()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._canceled: set[str] = set()
        self._ended = asyncio.Event()
        self._serial = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Sets up, then reads frames until there are no more to come."""
        try:
            waiting = self._model.call_setup()
            if hasattr(waiting, "__await__"):
                await waiting
        except BaseException as error:
            fail_setup(self._channel, "setup failed", error)
        self._logs.flush(None)
        signals.outlive_termination()
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._on_readable)
        self._channel.send({"type": "ready"})
        await self._ended.wait()
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _on_readable(self) -> None:
        if not self._channel.feed():
            os._exit(1)  # the server is gone, and nobody waits for what still runs
        while True:
            message = self._channel.buffered()
            if message is None:
                return
            self._on_message(message)

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "predict":
            prediction = message["id"]
            self._tasks[prediction] = asyncio.get_running_loop().create_task(self._predict(message))
        elif kind == "cancel":
            task = self._tasks.get(message["id"])
            if task is not None:
                self._canceled.add(message["id"])
                # Not at once: a task that is canceled before its first step never runs, and nothing would be sent.
                asyncio.get_running_loop().call_soon(task.cancel)
        elif kind == "healthcheck":
            task = asyncio.get_running_loop().create_task(self._health(message["seq"]))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        elif kind == "shutdown":
            self._ended.set()

    async def _predict(self, message: dict[str, Any]) -> None:
        """A task of its own around the model's, so that no cancelation can keep the last frame from being sent."""
        prediction: str = message["id"]
        opened: list[Any] = []
        scope = Scope(message.get("context"), metric_sink(self._channel, prediction), scratch_directory(prediction))
        self._logs.attribution.live.add(prediction)
        task_prediction.set(prediction)
        _scope.enter(scope)
        try:
            end = await self._run(prediction, self._model.inputs.arguments(message, opened))
        except BaseException as error:
            end = failure(error, prediction in self._canceled)
        if prediction in self._canceled:
            end = ({"status": "canceled"}, None)
        if scope.close():
            end[0]["scratch"] = True
        for file in opened:
            file.close()
        self._logs.flush(prediction)
        self._logs.attribution.live.discard(prediction)
        self._canceled.discard(prediction)
        del self._tasks[prediction]
        finish(self._channel, prediction, *end)

    async def _run(self, prediction: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], Encoded | None]:
        output = self._model.handler(**arguments)
        if hasattr(output, "__await__"):
            output = await output
        if hasattr(output, "__anext__"):
            async for item in output:
                send_chunk(self._channel, prediction, encode(item, self._spill))
            return {"status": "succeeded", "stream": True}, None
        if hasattr(output, "__next__") and not hasattr(output, "read"):
            for item in output:
                send_chunk(self._channel, prediction, encode(item, self._spill))
            return {"status": "succeeded", "stream": True}, None
        return {"status": "succeeded"}, encode(output, self._spill)

    async def _health(self, number: int) -> None:
        check = self._model.healthcheck
        if not asyncio.iscoroutinefunction(check):
            await asyncio.get_running_loop().run_in_executor(None, answer, self._model, self._channel, number)
            return
        try:
            outcome = healthy(await asyncio.wait_for(check(), TIME_LIMIT_SECONDS))
        except (asyncio.TimeoutError, TimeoutError):
            outcome = {"ok": False, "error": TIMED_OUT}
        except BaseException as error:
            outcome = {"ok": False, "error": f"Healthcheck failed: {described(error)}"}
        self._channel.send({"type": "health", "seq": number, **outcome})

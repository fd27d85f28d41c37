"""Predictions of asynchronous models: many at a time on one event loop, which ``setup`` shares."""

from __future__ import annotations

import asyncio
import gc
import os
import time

from .. import _scope
from .._scope import Scope
from . import ending, health, loop, signals
from .channel import Channel
from .encode import encode, encode_item
from .ending import CANCELED, metric_sink, send_chunk
from .foreign import leave_if_forked, quietly
from .logs import Logs, task_prediction
from .model import Model, scratch_directory, spill_directory
from .setup import fail_setup

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

    from .ending import End

#: A task that goes on although it was canceled is canceled again after so long.
AGAIN_SECONDS = 5.0


def serve(model: Model, channel: Channel, logs: Logs) -> None:
    """Until the server says so, or is gone."""
    worker = Concurrent(model, channel, logs)
    worker.set_up()
    worker.serve()


class Running:
    """What is known of a prediction that has not ended."""

    __slots__ = ("canceled_at", "is_canceled", "opened", "scope", "task")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.opened: list[Any] = []
        self.is_canceled = False
        self.canceled_at = 0.0
        self.task: asyncio.Task[None]


class Concurrent:
    """Runs predictions as tasks."""

    def __init__(self, model: Model, channel: Channel, logs: Logs) -> None:
        self._model = model
        self._channel = channel
        self._logs = logs
        logs.attribute_pieces()
        self._spill = spill_directory()
        self._loop: asyncio.AbstractEventLoop
        self._running: dict[str, Running] = {}
        self._is_ending = False
        self._checks = health.Checks(model, channel)
        #: The model's own health check, as long as it runs. One at a time: it may be deaf to being canceled.
        self._check: asyncio.Task[Any] | None = None
        #: Tasks are kept alive by whoever needs them.
        self._answers: set[asyncio.Task[None]] = set()

    def set_up(self) -> None:
        """Outside of the loop, where a `setup` that is not async may run one itself."""
        try:
            self._loop = loop.new()
            waiting = self._model.call_setup()
            if self._loop.is_closed():
                self._loop = loop.new()
            asyncio.set_event_loop(self._loop)
            loop.complete(self._loop, self._begin(waiting))
        except BaseException as error:
            fail_setup(self._channel, "setup failed", error)

    async def _begin(self, waiting: Any) -> None:
        if hasattr(waiting, "__await__"):
            await waiting
        # Here, because what comes of it begins with the context that setup has made.
        self._loop.add_reader(self._channel.fileno(), self._on_readable)

    def serve(self) -> None:
        """Reads frames until there are no more to come, and what they have begun has ended."""
        protection = self._channel.protect()
        protection.depth = 1
        self._logs.flush(None)
        signals.outlive_termination()
        self._channel.send({"type": "ready"})
        loop.run(self._loop, lambda: self._is_ending and not self._running, protection)
        self._loop.remove_reader(self._channel.fileno())
        quietly(loop.close, self._loop)

    def _on_readable(self) -> None:
        leave_if_forked()
        # A frame that was read must not get lost between two steps of ours.
        self._channel.enter()
        try:
            if not self._channel.feed():
                os._exit(1)  # the server is gone, and nobody waits for what still runs
            while True:
                message = self._channel.buffered()
                if message is None:
                    return
                self._on_message(message)
        finally:
            self._channel.leave()

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "predict":
            self._on_predict(message)
        elif kind == "cancel":
            self._on_cancel(message["id"])
        elif kind == "healthcheck":
            self._on_health(message["seq"])
        elif kind == "shutdown":
            self._is_ending = True
            self._loop.stop()

    def _on_predict(self, message: dict[str, Any]) -> None:
        prediction: str = message["id"]
        running = Running(
            Scope(message.get("context"), metric_sink(self._channel, prediction), scratch_directory(prediction))
        )
        self._running[prediction] = running
        self._logs.attribution.live.add(prediction)
        running.task = self._task(self._predict(message, running))
        running.task.add_done_callback(lambda task: self._on_task_done(prediction, task))

    def _task(self, coroutine: Any) -> asyncio.Task[Any]:
        """Not through the loop, whose factory of tasks may be the model's."""
        return asyncio.Task(coroutine, loop=self._loop)

    def _on_cancel(self, prediction: str) -> None:
        """The server repeats it until the prediction has ended."""
        running = self._running.get(prediction)
        if running is None:
            return
        now = time.monotonic()
        if running.is_canceled and (now - running.canceled_at < AGAIN_SECONDS or self._cleans_up(running)):
            return
        running.is_canceled = True
        running.canceled_at = now
        running.task.cancel()

    def _cleans_up(self, running: Running) -> Any:
        return quietly(cleans_up, running.task, otherwise=True)

    async def _predict(self, message: dict[str, Any], running: Running) -> None:
        """A task of its own around the model's, so that no cancelation can keep the last frame from being sent."""
        prediction: str = message["id"]
        task_prediction.set(prediction)
        _scope.enter(running.scope)
        try:
            end = await self._run(prediction, self._model.inputs.arguments(message, running.opened))
            leave_if_forked()
        except BaseException as error:
            leave_if_forked(error)
            end = CANCELED if running.is_canceled else ending.failure(error)
        self._end(prediction, end)

    def _on_task_done(self, prediction: str, task: asyncio.Task[None]) -> None:
        """Mostly nothing is left to do. But a task that is canceled before its first step, as the model can do,
        never runs."""
        if prediction in self._running:
            error = None if task.cancelled() else task.exception()
            self._end(prediction, ending.failure(error or asyncio.CancelledError()))

    async def _run(self, prediction: str, arguments: dict[str, Any]) -> End:
        output = self._model.handler(**arguments)
        if hasattr(output, "__await__"):
            output = await output
        leave_if_forked()
        is_async = hasattr(output, "__anext__")
        if not is_async and (not hasattr(output, "__next__") or hasattr(output, "read")):
            return {"status": "succeeded"}, encode(output, self._spill)
        try:
            if is_async:
                async for item in output:
                    self._send_item(prediction, item)
            else:
                for item in output:
                    self._send_item(prediction, item)
        except BaseException as error:
            leave_if_forked(error)
            # Now, rather than when its prediction is over.
            await _close(output)
            raise
        return {"status": "succeeded", "stream": True}, None

    def _send_item(self, prediction: str, item: Any) -> None:
        leave_if_forked()
        send_chunk(self._channel, prediction, encode_item(item, self._spill))

    def _end(self, prediction: str, end: End) -> None:
        """Once."""
        running = self._running.get(prediction)
        if running is None:
            return
        self._channel.enter()
        try:
            end = CANCELED if running.is_canceled else end
            end = ending.conclude(prediction, end, running.scope, running.opened, self._logs)
            self._logs.attribution.live.discard(prediction)
            del self._running[prediction]
            ending.finish(self._channel, prediction, end)
        finally:
            self._channel.leave()
        if self._is_ending:
            self._loop.stop()

    def _on_health(self, number: int) -> None:
        if not asyncio.iscoroutinefunction(self._model.healthcheck):
            self._checks.begin(number)
            return
        task = self._task(self._answer(number))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, number: int) -> None:
        deadline = self._loop.time() + health.TIME_LIMIT_SECONDS
        outcome = health.TIMED_OUT
        try:
            if await self._has_ended(deadline):
                assert self._model.healthcheck is not None
                self._check = self._task(self._model.healthcheck())
                if await self._has_ended(deadline):
                    outcome = health.healthy(self._check.result())
                else:
                    self._check.cancel()
        except BaseException as error:
            outcome = health.failed(error)
        self._channel.send({"type": "health", "seq": number, **outcome})

    async def _has_ended(self, deadline: float) -> bool:
        check = self._check
        if check is None or check.done():
            return True
        await asyncio.wait({check}, timeout=max(deadline - self._loop.time(), 0))
        return check.done()


async def _close(output: Any) -> None:
    try:
        if hasattr(output, "aclose"):
            await output.aclose()
        elif hasattr(output, "close"):
            output.close()
    except BaseException as error:
        leave_if_forked(error)


def cleans_up(task: asyncio.Task[Any]) -> bool:
    """Whether it is handling a cancelation just now, as far as that can be seen: asks what holds a `CancelledError`."""
    awaited: Any = task
    for _ in range(100):
        if type(awaited) is asyncio.Task:
            awaited = awaited.get_coro()
        held = gc.get_referents(awaited)
        if any(issubclass(type(one), asyncio.CancelledError) for one in held):
            return True
        names = ("cr_await", "ag_await", "gi_yieldfrom")
        inner = next((found for name in names if (found := getattr(awaited, name, None)) is not None), None)
        # A step of an async generator, or of a future, tells nobody but the garbage collector whose it is.
        steps = (one for one in held if type(one).__name__ == "async_generator" or type(one) is asyncio.Task)
        awaited = next(steps, None) if inner is None else inner
        if awaited is None:
            return False
    return True

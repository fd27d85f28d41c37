"""Dynamic batching: calls with one item each, made at the same time, become one call with lists."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from . import _scope
from ._decorators import is_async

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any, overload

    Function = Callable[..., Any]
else:

    def overload(function):
        """As in `typing`, as far as it matters when the program runs."""
        return function


#: A thread that makes batches ends after so long without work, so that it keeps no model alive.
IDLE_SECONDS = 5.0
#: How often a thread that waits for its result looks whether it was canceled.
CANCEL_SECONDS = 0.05


@overload
def batch(function: Function) -> Batched: ...
@overload
def batch(*, max_size: int = 8, max_wait: float = 0.01) -> Callable[[Function], Batched]: ...  # noqa: F811
def batch(  # noqa: F811
    function: Function | None = None, *, max_size: int = 8, max_wait: float = 0.01
) -> Batched | Callable[[Function], Batched]:
    """Decorates a method, or a function, that takes a list for each parameter and returns a list of as many results.

    It is called with one item for each parameter and gives one result. Calls that are made at the same time, by
    predictions that run at once, are gathered into one: at most ``max_size`` items, of which the first waits for others
    for ``max_wait`` seconds at most. One batch runs at a time.

        @cog.batch(max_size=16)
        def embed(self, texts: list[str]) -> list[list[float]]:
            return self.model.encode(texts)

        @cog.concurrent(max=32)
        async def run(self, text: str) -> list[float]:
            return await self.embed(text)

    A result that is an exception is raised for its item only. If the call itself raises, each of its items is tried
    alone, and those that fail raise. An async function runs on the event loop; any other one in a thread of its own,
    so that the event loop goes on. From a function that is not async, and runs in several threads
    (``@cog.concurrent(max=…, threads=True)``), it is called without ``await``.
    """
    if not isinstance(max_size, int) or isinstance(max_size, bool):
        raise TypeError("batch max_size must be an integer")
    if max_size < 1:
        raise ValueError("batch max_size must be at least 1")
    if not isinstance(max_wait, (int, float)) or isinstance(max_wait, bool):
        raise TypeError("batch max_wait must be a number of seconds")
    if not 0 <= max_wait < float("inf"):
        raise ValueError("batch max_wait must be 0 or more seconds")
    if function is None:
        return lambda decorated: Batched(decorated, max_size, max_wait)
    return Batched(function, max_size, max_wait)


class Batched:
    """A function, or a method of a class, that was decorated with `batch`."""

    def __init__(self, function: Function, max_size: int, max_wait: float, self_argument: tuple[Any, ...] = ()) -> None:
        code = getattr(function, "__code__", None)
        if code is None:
            raise TypeError("batch must be used as @batch or @batch(max_size=..., max_wait=...), on a function")
        self.__wrapped__ = function
        self.__name__: str = function.__name__
        self.__doc__ = function.__doc__
        #: The instance whose method it is, if it is bound.
        self._self = self_argument
        self._limits = (max_size, max_wait)
        self._parameters: tuple[str, ...] = code.co_varnames[len(self_argument) : code.co_argcount]
        make = AsyncBatches if is_async(function) else ThreadBatches
        self._batches: Batches = make(lambda *lists: function(*self_argument, *lists), self.__name__, *self._limits)

    def __get__(self, instance: Any, owner: type) -> Batched:
        if instance is None:
            return self
        # Each instance has its own, which goes with it.
        members = instance.__dict__
        name = f"_cog_batch_{self.__name__}"
        bound: Batched | None = members.get(name)
        if bound is None or bound.__wrapped__ is not self.__wrapped__:
            bound = members.setdefault(name, Batched(self.__wrapped__, *self._limits, (instance,)))
        return bound

    def __call__(self, *items: Any, **named: Any) -> Any:
        """One item for each parameter. Gives the result; an awaitable of it where an event loop runs."""
        return self._batches.submit(self._in_order(items, named))

    def _in_order(self, items: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        parameters = self._parameters
        if len(items) > len(parameters):
            raise TypeError(f"{self.__name__}() takes {len(parameters)} items but {len(items)} were given")
        rest = parameters[len(items) :]
        for name in named:
            if name not in rest:
                raise TypeError(f"{self.__name__}() got an unexpected item '{name}'")
        for name in rest:
            if name not in named:
                raise TypeError(f"{self.__name__}() is missing the item '{name}'")
        return (*items, *(named[name] for name in rest))


class Item:
    """A call that waits for its result."""

    __slots__ = ("context", "future", "since", "values")

    def __init__(self, values: tuple[Any, ...], future: Any) -> None:
        self.values = values
        self.future = future
        self.since = time.monotonic()
        self.context = contextvars.copy_context()


class Batches:
    """What both kinds have in common."""

    def __init__(self, function: Function, name: str, max_size: int, max_wait: float) -> None:
        self._function = function
        self._name = name
        self._max_size = max_size
        self._max_wait = max_wait
        self._items: deque[Item] = deque()

    def submit(self, values: tuple[Any, ...]) -> Any:
        raise NotImplementedError

    def _rest(self) -> float:
        """Seconds for which the first item still waits for others; 0 if the batch is full."""
        if len(self._items) >= self._max_size:
            return 0.0
        return self._items[0].since + self._max_wait - time.monotonic()

    def _taken(self) -> list[Item]:
        count = min(self._max_size, len(self._items))
        return [self._items.popleft() for _ in range(count)]

    def _begin(self, batch: list[Item]) -> tuple[contextvars.Context, list[list[Any]]]:
        """The context and the lists to call the function with."""
        if _scope.batch_sink is not None:
            _scope.batch_sink(len(batch))
        # What an item that is alone prints belongs to its prediction; what several share, to none.
        context = batch[0].context if len(batch) == 1 else contextvars.Context()
        return context, [list(column) for column in zip(*(item.values for item in batch), strict=True)]

    def _settle(self, batch: list[Item], results: Any) -> None:
        try:
            outcomes = self._outcomes(results, len(batch))
        except Exception as error:
            outcomes = [error] * len(batch)
        for item, outcome in zip(batch, outcomes, strict=True):
            _resolve(item.future, outcome)

    def _raised(self, error: BaseException) -> Exception:
        """What its caller gets: an exit, or a cancelation of the batch, is not one of the caller."""
        if isinstance(error, Exception):
            return error
        return RuntimeError(f"{self._name}() raised {type(error).__name__}")

    def _outcomes(self, results: Any, count: int) -> list[Any]:
        if isinstance(results, (str, bytes, dict, set)) or not hasattr(results, "__len__"):
            kind = type(results).__name__
            raise TypeError(f"{self._name}() has to return a list with a result for each item, not {kind}")
        if len(results) != count:
            raise ValueError(f"{self._name}() was given {count} items and returned {len(results)} results")
        return list(results)


def _resolve(future: Any, outcome: Any) -> None:
    if future.done():
        return  # canceled in the meantime: nobody waits for it
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class ThreadBatches(Batches):
    """Of a function that is not async: it runs in a thread, for callers on event loops and in threads."""

    def __init__(self, function: Function, name: str, max_size: int, max_wait: float) -> None:
        super().__init__(function, name, max_size, max_wait)
        self._changed = threading.Condition()
        self._has_thread = False

    def submit(self, values: tuple[Any, ...]) -> Any:
        future: Future[Any] = Future()
        with self._changed:
            self._items.append(Item(values, future))
            if self._has_thread:
                self._changed.notify()
            else:
                self._has_thread = True
                threading.Thread(target=self._work, daemon=True, name=f"cog-batch-{self._name}").start()
        loop = _running_loop()
        if loop is not None:
            import asyncio

            return asyncio.wrap_future(future, loop=loop)
        try:
            while True:
                try:
                    return future.result(CANCEL_SECONDS)
                except FutureTimeoutError:
                    # Perhaps the function's own.
                    if future.done():
                        return future.result()
        finally:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._items, IDLE_SECONDS):
                    self._has_thread = False
                    return
                while (rest := self._rest()) > 0:
                    self._changed.wait(rest)
                taken = self._taken()
            batch = [item for item in taken if item.future.set_running_or_notify_cancel()]
            if batch:
                self._run(batch)

    def _run(self, batch: list[Item]) -> None:
        context, lists = self._begin(batch)
        try:
            results = context.run(self._function, *lists)
        except BaseException as error:
            if len(batch) > 1:
                for item in batch:
                    self._run([item])
                return
            results = [self._raised(error)]
        self._settle(batch, results)


class AsyncBatches(Batches):
    """Of an async function: it runs on the event loop of its callers."""

    def __init__(self, function: Function, name: str, max_size: int, max_wait: float) -> None:
        super().__init__(function, name, max_size, max_wait)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._added: asyncio.Event
        self._task: asyncio.Task[None] | None = None

    def submit(self, values: tuple[Any, ...]) -> Any:
        loop = _running_loop()
        if loop is None:
            raise TypeError(f"{self._name}() is async: it has to be awaited where an event loop runs")
        if loop is not self._loop:
            import asyncio

            self._loop, self._added, self._task = loop, asyncio.Event(), None
            self._items.clear()
        future = loop.create_future()
        self._items.append(Item(values, future))
        self._added.set()
        if self._task is None:
            self._task = _task(contextvars.Context(), loop, self._work())
        return future

    async def _work(self) -> None:
        import asyncio

        while self._items:
            while (rest := self._rest()) > 0:
                self._added.clear()
                try:
                    await asyncio.wait_for(self._added.wait(), rest)
                except (asyncio.TimeoutError, TimeoutError):
                    break
            batch = [item for item in self._taken() if not item.future.done()]
            if batch:
                await self._run(batch)
        self._task = None

    async def _run(self, batch: list[Item]) -> None:
        import asyncio

        context, lists = self._begin(batch)
        try:
            results = await _task(context, asyncio.get_running_loop(), self._function(*lists))
        except BaseException as error:
            if len(batch) > 1:
                for item in batch:
                    await self._run([item])
                return
            results = [self._raised(error)]
        self._settle(batch, results)


def _task(
    context: contextvars.Context, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]
) -> asyncio.Task[Any]:
    """In a copy of the context; `create_task` itself takes one since Python 3.11 only."""
    return context.run(loop.create_task, coroutine)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

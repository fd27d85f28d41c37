"""Calls with one item that become one call with lists."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import cog
import pytest
from cog.batching import batch

Start = Callable[..., Any]


class Model:
    """Doubles numbers, and remembers in which batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    @batch(max_size=4, max_wait=20)
    def double(self, numbers: list[int]) -> list[Any]:
        self.batches.append(numbers)
        if any(number < 0 for number in numbers):
            raise ValueError(f"{[number for number in numbers if number < 0]}")
        return [KeyError(number) if number == 13 else number * 2 for number in numbers]

    @batch(max_size=4, max_wait=20)
    async def slow_double(self, numbers: list[int]) -> list[Any]:
        await asyncio.sleep(0)
        self.batches.append(numbers)
        if any(number < 0 for number in numbers):
            raise ValueError(f"{[number for number in numbers if number < 0]}")
        return [KeyError(number) if number == 13 else number * 2 for number in numbers]


METHODS = ["double", "slow_double"]


def gathered(model: Model, method: str, *numbers: int) -> list[Any]:
    async def gather() -> list[Any]:
        return await asyncio.gather(*(getattr(model, method)(number) for number in numbers), return_exceptions=True)

    return asyncio.run(gather())


@pytest.mark.parametrize("method", METHODS)
def test_calls_at_the_same_time_are_one_and_a_full_batch_does_not_wait(method: str) -> None:
    model = Model()
    assert gathered(model, method, 1, 2, 3, 4, 5, 6, 7, 8) == [2, 4, 6, 8, 10, 12, 14, 16]
    assert model.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("method", METHODS)
def test_an_item_that_fails_fails_alone(method: str) -> None:
    model = Model()
    outcomes = gathered(model, method, 1, 13, 3, 4)
    assert [outcomes[0], *outcomes[2:]] == [2, 6, 8]
    assert isinstance(outcomes[1], KeyError)
    outcomes = gathered(model, method, 1, -2, 3, 4)
    assert [outcomes[0], *outcomes[2:]] == [2, 6, 8]
    assert repr(outcomes[1]) == "ValueError('[-2]')"
    assert model.batches[-4:] == [[1], [-2], [3], [4]]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ([1], "ValueError('wrong() was given 2 items and returned 1 results')"),
        ("ab", "TypeError('wrong() has to return a list with a result for each item, not str')"),
        (None, "TypeError('wrong() has to return a list with a result for each item, not NoneType')"),
    ],
)
def test_results_that_do_not_fit_are_an_error_of_all(is_async: bool, returned: Any, error: str) -> None:
    if is_async:

        @batch(max_size=2, max_wait=20)
        async def wrong(items: list[int]) -> Any:
            return returned

    else:

        @batch(max_size=2, max_wait=20)
        def wrong(items: list[int]) -> Any:
            return returned

    async def both() -> list[Any]:
        return await asyncio.gather(wrong(1), wrong(2), return_exceptions=True)

    assert [repr(outcome) for outcome in asyncio.run(both())] == [error] * 2


def test_one_that_stays_alone_waits_no_longer_than_it_has_to() -> None:
    @cog.batch
    def same(items: list[int]) -> list[int]:
        return items

    @cog.batch(max_wait=0)
    async def async_same(items: list[int]) -> list[int]:
        return items

    async def call(function: Callable[[int], Awaitable[int]]) -> int:
        return await function(7)

    assert asyncio.run(call(same)) == 7
    assert asyncio.run(call(async_same)) == 7
    assert same(8) == 8


def test_threads_call_without_await() -> None:
    model = Model()
    results: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: model.double(n)})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == {0: 0, 1: 2, 2: 4, 3: 6}
    assert len(model.batches) == 1
    with pytest.raises(TypeError, match="has to be awaited"):
        model.slow_double(1)


@pytest.mark.parametrize("method", METHODS)
def test_a_canceled_call_is_left_out(method: str) -> None:
    model = Model()

    async def cancel_one() -> list[int]:
        calls = [asyncio.ensure_future(getattr(model, method)(number)) for number in range(3)]
        await asyncio.sleep(0)
        calls[1].cancel()
        # The thread that makes batches hears of it through callbacks.
        for _ in range(5):
            await asyncio.sleep(0)
        calls += [asyncio.ensure_future(getattr(model, method)(number)) for number in (3, 4)]
        return await asyncio.gather(calls[0], *calls[2:])

    # The canceled one counts until the batch is made, so the last two may come in a batch of their own.
    limited = type(model).__dict__[method]
    limited._limits = (4, 1.0)
    try:
        assert asyncio.run(cancel_one()) == [0, 4, 6, 8]
    finally:
        limited._limits = (4, 20)
    assert sorted(number for numbers in model.batches for number in numbers) == [0, 2, 3, 4]


def test_instances_share_nothing_and_are_not_kept() -> None:
    first, second = Model(), Model()
    assert gathered(first, "slow_double", 1, 2, 3, 4) == [2, 4, 6, 8]
    assert gathered(second, "slow_double", 5, 6, 7, 8) == [10, 12, 14, 16]
    assert (first.batches, second.batches) == ([[1, 2, 3, 4]], [[5, 6, 7, 8]])
    seen = weakref.ref(first)
    del first
    gc.collect()
    assert seen() is None


def test_items_have_names() -> None:
    @batch(max_wait=0)
    def pair(left: list[str], right: list[str]) -> list[str]:
        return [f"{one}-{other}" for one, other in zip(left, right, strict=True)]

    assert pair("a", "b") == pair(right="b", left="a") == pair("a", right="b") == "a-b"
    for arguments, named in [(("a",), {}), (("a", "b", "c"), {}), (("a",), {"left": "b"}), ((), {"wrong": 1})]:
        with pytest.raises(TypeError, match="pair"):
            pair(*arguments, **named)


def test_what_one_alone_prints_is_its_own() -> None:
    name = contextvars.ContextVar("name", default="nobody")

    @batch(max_size=2, max_wait=0.2)
    def names(items: list[int]) -> list[str]:
        return [name.get()] * len(items)

    async def call(own: str) -> str:
        name.set(own)
        return await names(1)

    async def both() -> list[str]:
        return await asyncio.gather(call("a"), call("b"))

    assert asyncio.run(call("a")) == "a"
    assert asyncio.run(both()) == ["nobody"] * 2


def test_an_exit_does_not_end_the_thread() -> None:
    @batch(max_wait=0)
    def leave(items: list[int]) -> list[int]:
        if items == [0]:
            raise SystemExit(3)
        return items

    with pytest.raises(RuntimeError, match="raised SystemExit"):
        leave(0)
    assert leave(1) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_size": 0}, ValueError),
        ({"max_size": "4"}, TypeError),
        ({"max_size": True}, TypeError),
        ({"max_wait": -1}, ValueError),
        ({"max_wait": float("nan")}, ValueError),
        ({"max_wait": "1"}, TypeError),
    ],
)
def test_wrong_limits(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="batch max_"):
        batch(**options)


def test_only_functions_are_decorated() -> None:
    with pytest.raises(TypeError, match="on a function"):
        batch(max_size=2)(3)  # type: ignore[arg-type]


def test_the_server_is_told_the_sizes(worker: Start) -> None:
    started = worker(
        """
import cog

class Runner:
    @cog.batch(max_size=3, max_wait=20)
    def double(self, numbers: list[int]) -> list[int]:
        print("doubling", len(numbers))
        return [number * 2 for number in numbers]

    async def run(self, number: int) -> int:
        return await self.double(number)
""",
        slots=3,
    )
    started.ready()
    for number in range(3):
        started.send(type="predict", id=str(number), input={"number": number}, context={}, files={})
    frames: list[dict[str, Any]] = []
    while sum(frame["type"] == "done" for frame in frames) < 3:
        frames.append(started.receive())
    assert [frame["size"] for frame in frames if frame["type"] == "batch"] == [3]
    assert {frame["id"]: frame["output"] for frame in frames if frame["type"] == "done"} == {"0": 0, "1": 2, "2": 4}
    assert [frame["id"] for frame in frames if frame["type"] == "log"] == [None]

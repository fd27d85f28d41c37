"""The event loop of asynchronous models."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from cog._worker import loop


def run(main: Coroutine[Any, Any, None]) -> None:
    running = loop.new()
    try:
        loop.complete(running, main)
    finally:
        loop.close(running)


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Iterator[None]:
    yield
    asyncio.set_event_loop_policy(None)


def test_timers_and_descriptors_wake_it() -> None:
    reader, writer = os.pipe()
    seen: list[str] = []

    async def main() -> None:
        running, arrived = asyncio.get_running_loop(), asyncio.Event()
        running.add_reader(reader, arrived.set)
        running.call_later(0.0002, seen.append, "first")
        running.call_later(0.0004, seen.append, "second")
        await asyncio.sleep(0.005)
        os.write(writer, b"x")
        # The timer keeps it waiting with a limit, which the descriptor has to cut short.
        timer = running.call_later(3600, seen.append, "never")
        await arrived.wait()
        timer.cancel()
        running.remove_reader(reader)

    run(main())
    os.close(reader)
    os.close(writer)
    assert seen == ["first", "second"]


def test_what_still_runs_at_the_end_is_canceled_and_waited_for() -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("canceled")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(background())
        await asyncio.sleep(0)
        assert not task.done()

    run(main())
    assert seen == ["canceled"]


def test_errors_come_out() -> None:
    async def main() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        run(main())


def test_a_model_keeps_the_loop_it_asked_for() -> None:
    class Own(asyncio.SelectorEventLoop):
        pass

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return Own(selectors.DefaultSelector())

    async def main() -> None:
        assert type(asyncio.get_running_loop()) is Own

    asyncio.set_event_loop_policy(Policy())
    run(main())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_a_task_raises_does_not_end_the_others(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    async def leaves() -> None:
        raise error

    async def main() -> None:
        running = asyncio.get_running_loop()
        task = running.create_task(leaves())
        await asyncio.sleep(0.01)
        assert task.exception() is error
        running.stop()
        await asyncio.sleep(0.01)

    run(main())
    assert type(error).__name__ in capsys.readouterr().err

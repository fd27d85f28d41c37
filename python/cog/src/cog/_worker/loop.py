"""The event loop of asynchronous models.

It is asyncio's own, but keeps time more exactly: ``epoll`` counts in milliseconds, and asyncio rounds up, so that what
should happen at different moments happens together at the next millisecond, and then waits for its turn. A model that
has set a policy of its own (uvloop's, for example) gets the loop it asked for.

The model can stop the loop, or raise out of it (``sys.exit()`` in a task does). All predictions run on it, so it goes
on.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors

from .channel import Protection
from .errors import print_traceback
from .foreign import leave_if_forked, quietly

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: ``select`` knows no higher descriptors.
_FD_SETSIZE = 1024


if hasattr(selectors, "EpollSelector"):

    class _ExactSelector(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            leave_if_forked()
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)  # counts in microseconds
                timeout = 0
            return super().select(timeout)


def new() -> asyncio.AbstractEventLoop:
    """Makes it, and makes it this thread's."""
    loop = _new()
    asyncio.set_event_loop(loop)
    return loop


def _new() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    if not hasattr(selectors, "EpollSelector") or type(loop) is not asyncio.SelectorEventLoop:
        return loop
    selector = _ExactSelector()
    if selector.fileno() >= _FD_SETSIZE:
        selector.close()
        return loop
    loop.close()
    return asyncio.SelectorEventLoop(selector)


def run(loop: asyncio.AbstractEventLoop, is_over: Callable[[], Any], protection: Protection | None = None) -> None:
    """Until it is over. Whoever makes it so stops the loop.

    The thread's protection ends where the loop begins: there, the model's code runs.
    """
    protection = protection or Protection()
    while not is_over():
        if loop.is_closed():
            os._exit(1)  # by the model: nothing can run any more
        try:
            try:
                protection.depth = 0
                loop.run_forever()
            finally:
                protection.depth = 1
        except BaseException as error:
            protection.depth = 1
            leave_if_forked(error)
            if not is_over():
                quietly(print_traceback, error)


def complete(loop: asyncio.AbstractEventLoop, waiting: Any) -> Any:
    """Runs the loop until what is waited for is there."""
    future = asyncio.ensure_future(waiting, loop=loop)
    future.add_done_callback(lambda _: loop.stop())
    run(loop, future.done)
    return future.result()


def close(loop: asyncio.AbstractEventLoop) -> None:
    """As `asyncio.run` does it: what still runs is canceled and waited for."""
    try:
        remaining = asyncio.all_tasks(loop)
        for task in remaining:
            task.cancel()
        if remaining:
            complete(loop, asyncio.wait(remaining))
        complete(loop, loop.shutdown_asyncgens())
        complete(loop, loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()

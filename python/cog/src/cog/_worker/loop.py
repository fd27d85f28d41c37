"""The event loop of asynchronous models.

It is asyncio's own, but keeps time more exactly: ``epoll`` counts in milliseconds, and asyncio rounds up, so that what
should happen at different moments happens together at the next millisecond, and then waits for its turn. A model that
has set a policy of its own (uvloop's, for example) gets the loop it asked for.
"""

from __future__ import annotations

import asyncio
import select
import selectors

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

#: ``select`` knows no higher descriptors.
_FD_SETSIZE = 1024


class _ExactSelector(selectors.EpollSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)  # counts in microseconds
            timeout = 0
        return super().select(timeout)


def run(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, on such a loop."""
    loop = _new()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        _close(loop)


def _new() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop:
        return loop
    selector = _ExactSelector()
    if selector.fileno() >= _FD_SETSIZE:
        selector.close()
        return loop
    loop.close()
    return asyncio.SelectorEventLoop(selector)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """As `asyncio.run` does it: what still runs is canceled and waited for."""
    try:
        remaining = asyncio.all_tasks(loop)
        for task in remaining:
            task.cancel()
        if remaining:
            loop.run_until_complete(asyncio.wait(remaining))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()

"""The user's health check, answered while predictions run."""

from __future__ import annotations

import sys
import threading
import time

from .channel import Channel
from .errors import described
from .foreign import leave_if_forked
from .model import Model

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

TIME_LIMIT_SECONDS = 5.0
TIMED_OUT = {
    "ok": False,
    "error": f"Healthcheck failed: user-defined healthcheck timed out after {TIME_LIMIT_SECONDS} seconds",
}


class Checks:
    """Runs a check that is a plain function, beside everything else.

    One at a time: a check that hangs cannot be ended, and keeps its thread. Until it has come back, whoever asks is
    told that it has timed out, and no other one is begun.
    """

    def __init__(self, model: Model, channel: Channel) -> None:
        self._model = model
        self._channel = channel
        self._running: threading.Thread | None = None
        self._verdict: dict[str, Any] = {}

    def begin(self, number: int) -> None:
        """The server hears of it. It asks again only when it has heard."""
        threading.Thread(target=self._answer, args=(number,), daemon=True, name="cog-health").start()

    def _answer(self, number: int) -> None:
        deadline = time.monotonic() + TIME_LIMIT_SECONDS
        outcome = TIMED_OUT
        if self._has_ended(deadline):
            self._running = threading.Thread(target=self._check, daemon=True, name="cog-healthcheck")
            self._running.start()
            if self._has_ended(deadline):
                outcome = self._verdict
        self._channel.send({"type": "health", "seq": number, **outcome})

    def _has_ended(self, deadline: float) -> bool:
        running = self._running
        if running is None:
            return True
        running.join(max(deadline - time.monotonic(), 0))
        return not running.is_alive()

    def _check(self) -> None:
        self._verdict = verdict(self._model)


def verdict(model: Model) -> dict[str, Any]:
    """What a check that is a plain function, or a coroutine of its own, says."""
    check = model.healthcheck
    if check is None:
        return healthy(True)
    try:
        said = check()
        leave_if_forked()
        if hasattr(said, "__await__"):
            import asyncio

            async def awaited() -> Any:
                return await said

            said = asyncio.run(awaited())
        return healthy(said)
    except BaseException as error:
        return failed(error)


def healthy(said: Any) -> dict[str, Any]:
    """Anything but False is healthy."""
    numpy = sys.modules.get("numpy")
    if said is False or (numpy is not None and type(said) is numpy.bool_ and not said):
        return {"ok": False, "error": "Healthcheck failed: user-defined healthcheck returned False"}
    return {"ok": True, "error": None}


def failed(error: BaseException) -> dict[str, Any]:
    """It raised this."""
    leave_if_forked(error)
    return {"ok": False, "error": f"Healthcheck failed: {described(error)}"}

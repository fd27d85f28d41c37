"""The user's health check, answered while predictions run."""

from __future__ import annotations

import threading

from .channel import Channel
from .errors import described
from .model import Model

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

TIME_LIMIT_SECONDS = 5.0
TIMED_OUT = f"Healthcheck failed: user-defined healthcheck timed out after {TIME_LIMIT_SECONDS} seconds"


def answer(model: Model, channel: Channel, number: int) -> None:
    """Runs it in a thread that is left behind if it takes too long, and tells the server."""
    result: list[dict[str, Any]] = []

    def check() -> None:
        result.append(verdict(model))

    thread = threading.Thread(target=check, daemon=True, name="cog-healthcheck")
    thread.start()
    thread.join(TIME_LIMIT_SECONDS)
    outcome = result[0] if result else {"ok": False, "error": TIMED_OUT}
    channel.send({"type": "health", "seq": number, **outcome})


def verdict(model: Model) -> dict[str, Any]:
    """What a check that is a plain function, or a coroutine of its own, says."""
    check = model.healthcheck
    if check is None:
        return healthy(True)
    try:
        said = check()
        if hasattr(said, "__await__"):
            import asyncio

            async def awaited() -> Any:
                return await said

            said = asyncio.run(awaited())
    except BaseException as error:
        return {"ok": False, "error": f"Healthcheck failed: {described(error)}"}
    return healthy(said)


def healthy(said: Any) -> dict[str, Any]:
    """Anything but False is healthy."""
    if said is False:
        return {"ok": False, "error": "Healthcheck failed: user-defined healthcheck returned False"}
    return {"ok": True, "error": None}

"""One of several workers is killed, again and again, while predictions wait for their turn. The others serve on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

from kills import Load
from server import ASYNC_MODEL, Server, check, exactly_once, serving

WORKERS = 3
#: Writes down, too, which worker has finished something.
MODEL = ASYNC_MODEL.replace(
    "    async def run", '        self.by = os.open("by", os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n\n    async def run'
).replace("        return", '        os.write(self.by, b"%d\\n" % os.getpid())\n        return')


async def run(quick: bool) -> str:
    kills = 20 if quick else 400
    with serving(MODEL, slots=2, COG_WORKERS=str(WORKERS), COG_QUEUE="4") as server:
        rest = await server.rest()
        load = Load(server)
        clients = [asyncio.create_task(load.client(number)) for number in range(14)]
        started = time.monotonic()
        await kill_workers(server, kills)
        load.over = True
        await asyncio.gather(*clients)
        seconds = time.monotonic() - started
        await rest.check()
        exactly_once(server, load.succeeded, load.refused)
        check(not load.odd, f"unexpected answers: {load.odd[:3]}")
        check(not load.unready, f"{load.unready} were told that no worker is ready")
    return (
        f"{kills} kills of one of {WORKERS} in {seconds:.0f} s: {len(load.succeeded)} succeeded, {load.failed} failed, "
        f"{len(load.refused)} refused, 0 lost, 0 doubled, ready all the time"
    )


async def kill_workers(server: Server, kills: int) -> None:
    """Only one that has finished something, and only if at most one other is starting."""
    killed: set[int] = set()

    def candidates() -> list[int]:
        children = set(server.children()) - killed
        useful = children & {int(line) for line in (server.directory / "by").read_text().split()}
        return list(useful) if len(children) == WORKERS and len(useful) >= WORKERS - 1 else []

    for _ in range(kills):
        await server.until("workers that have finished something", candidates)
        await asyncio.sleep(random.uniform(0, 0.03))
        chosen = random.choice(candidates())
        os.kill(chosen, signal.SIGKILL)
        killed.add(chosen)

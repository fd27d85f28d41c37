"""The worker is killed at random moments under load: idle, running, starting, being set up."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

from client import Connection
from server import ASYNC_MODEL, Server, check, exactly_once, serving

#: More losses in a row without a success make the server give up, which is another scenario.
STARTS_KILLED_IN_A_ROW = 3


async def run(quick: bool) -> str:
    kills = 50 if quick else 1000
    with serving(ASYNC_MODEL, slots=4) as server:
        rest = await server.rest()
        load = Load(server)
        clients = [asyncio.create_task(load.client(number)) for number in range(6)]
        started = time.monotonic()
        moments = await kill_worker(server, load, kills)
        load.over = True
        await asyncio.gather(*clients)
        seconds = time.monotonic() - started
        await rest.check()
        exactly_once(server, load.succeeded, load.refused)
        check(not load.odd, f"unexpected answers: {load.odd[:3]}")
    return (
        f"{kills} kills ({moments} while starting) in {seconds:.0f} s: {len(load.succeeded)} succeeded, "
        f"{load.failed} failed, {len(load.refused)} refused, 0 lost, 0 doubled"
    )


async def kill_worker(server: Server, load: Load, kills: int) -> int:
    """Most kills come after a success, some at once, when the next worker is starting. Returns how many those were."""
    in_a_row = while_starting = 0
    last = None
    killed = 0.0
    for number in range(kills):
        check(server.process.poll() is None, f"the server has ended\n{server.log_text()}")
        at_once = in_a_row < STARTS_KILLED_IN_A_ROW and random.random() < 0.2
        if at_once:
            in_a_row += 1
            while_starting += 1
        else:
            await server.until(f"a success after kill {number}", lambda since=killed: load.last_begun > since)
            in_a_row = 0
        # Time enough for a worker to come up, to run some predictions, or neither.
        await asyncio.sleep(random.uniform(0, 0.05))
        await server.until("a new worker", lambda gone=last: server.worker() not in (None, gone))
        last = server.worker()
        if last is not None:
            try:
                os.kill(last, signal.SIGKILL)
                killed = time.monotonic()
            except ProcessLookupError:
                continue
    return while_starting


class Load:
    """Clients that want answers, and what they got."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.over = False
        self.succeeded: set[str] = set()
        self.refused: set[str] = set()
        self.failed = 0
        #: Of those that were refused: because no worker could take them.
        self.unready = 0
        #: When the latest of those that succeeded was sent: answers to older ones may come after a kill.
        self.last_begun = 0.0
        self.odd: list[str] = []

    async def client(self, number: int) -> None:
        connection = await Connection.open(self.server.port)
        sent = 0
        while not self.over:
            name = f"{number}-{sent}"
            sent += 1
            begun = time.monotonic()
            answer = await asyncio.wait_for(connection.predict(id=name, seconds=random.choice([0, 0.001, 0.01])), 30)
            if answer.status != 200:
                self.refused.add(name)
                self.unready += answer.status == 503
                if answer.status not in (409, 503):
                    self.odd.append(f"{answer.status} {answer.body[:200]!r}")
                await asyncio.sleep(0.01)
                continue
            prediction = answer.json()
            if prediction["status"] == "succeeded" and prediction["output"] == name:
                self.succeeded.add(name)
                self.last_begun = max(self.last_begun, begun)
            elif prediction["status"] == "failed" and prediction["error"].startswith("Worker crashed"):
                self.failed += 1
            else:
                self.odd.append(str(prediction)[:300])
        connection.close()

"""A worker that stands still: stopped while it runs, and while it is set up."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from client import Connection
from server import Server, check, exactly_once, serving

SLOW_SETUP = """
import time
from cog import BaseRunner

class Runner(BaseRunner):
    def setup(self) -> None:
        time.sleep(3600)

    def run(self, id: str) -> str:
        return id
"""


async def run(quick: bool) -> str:
    with serving() as server:
        rest = await server.rest()
        worker = server.signal_worker(signal.SIGSTOP)
        waiting = await Connection.open(server.port)
        waiting.send("POST", "/predictions", b'{"input": {"id": "waiting"}}')
        await server.until_status("UNHEALTHY", 15)
        health = await server.health()
        check("stopped" in health["user_healthcheck_error"], f"the health does not say why: {health}")
        slowest = await slowest_answer(server, 100 if quick else 1000)
        check((await server.predict(id="other")).status == 409, "a second prediction was let in")
        os.kill(worker, signal.SIGCONT)
        answer = (await asyncio.wait_for(waiting.answer(), 30)).json()
        check(answer["status"] == "succeeded", f"it did not go on: {answer}")
        waiting.close()
        await rest.check()

        # A stopped worker dies like any other.
        os.kill(worker, signal.SIGSTOP)
        waiting = await Connection.open(server.port)
        waiting.send("POST", "/predictions", b'{"input": {"id": "killed"}}')
        await server.until_status("UNHEALTHY", 15)
        os.kill(worker, signal.SIGKILL)
        answer = (await asyncio.wait_for(waiting.answer(), 30)).json()
        check(answer["error"] == "Worker crashed: killed by SIGKILL", f"odd error: {answer}")
        waiting.close()
        await rest.check()
        exactly_once(server, {"waiting"}, {"other", "killed"})
    setup = await stopped_setup()
    return f"health says so, slowest of its answers {slowest * 1000:.0f} ms; stopped setup given up after {setup:.1f} s"


async def slowest_answer(server: Server, requests: int) -> float:
    slowest = 0.0
    for _ in range(requests):
        started = time.monotonic()
        answer = await server.get("/health-check", 5)
        check(answer.status == 200, f"health answered {answer.status}")
        slowest = max(slowest, time.monotonic() - started)
    return slowest


async def stopped_setup() -> float:
    """Setup's deadline holds for a worker that cannot even take a signal."""
    started = time.monotonic()
    server = Server(SLOW_SETUP, waits=False, COG_SETUP_TIMEOUT="1")
    try:
        await server.until("the worker", server.worker)
        server.signal_worker(signal.SIGSTOP)
        await server.until_status("SETUP_FAILED", 10)
        logs = (await server.health())["setup"]["logs"]
        check("timed out" in logs, f"the setup log does not say why: {logs}")
        await server.until("the worker's end", lambda: not server.children())
        server.stop()
    finally:
        server.clean()
    return time.monotonic() - started

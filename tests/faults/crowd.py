"""Ten thousand connections; more connections than descriptors."""

from __future__ import annotations

import asyncio
import resource
import signal
import time

from client import Closed, Connection
from server import Server, check, serving

FEW_DESCRIPTORS = 256


async def run(quick: bool) -> str:
    many = await many_connections(1000 if quick else 10_000)
    few = await more_than_descriptors(600 if quick else 5000)
    return f"{many}; {few}"


async def many_connections(wanted: int) -> str:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The server gives three quarters of its descriptors to clients; a few connections are for asking how it is.
    count = min(wanted, limit * 3 // 4 - 100)
    with serving() as server:
        rest = await server.rest()
        memory = server.resident()
        connections = await open_many(server, count)
        each = (server.resident() - memory) / count
        check(await server.status() == "READY", "the server is not ready")
        started = time.monotonic()
        answers = await asyncio.gather(*(connection.request("GET", "/health/live") for connection in connections))
        seconds = time.monotonic() - started
        check(all(answer.status == 200 for answer in answers), "some got no answer")
        answer = await server.predict(id="among-many")
        check(answer.json()["status"] == "succeeded", f"odd answer: {answer.body!r}")
        for connection in connections:
            connection.abort()
        await rest.check()
    less = "" if count == wanted else f" (of {wanted}: the limit is {limit} descriptors)"
    return f"{count} connections{less}, each answered within {seconds:.1f} s, {each / 1024:.1f} KiB each"


async def open_many(server: Server, count: int) -> list[Connection]:
    connections: list[Connection] = []
    # Not all at once: the queue of the listener is short.
    while len(connections) < count:
        batch = min(100, count - len(connections))
        connections += await asyncio.gather(*(Connection.open(server.port) for _ in range(batch)))
    return connections


async def more_than_descriptors(count: int) -> str:
    """Idle clients are sent away, so that others get in, and a new worker can be started."""
    with serving(descriptors=FEW_DESCRIPTORS) as server:
        rest = await server.rest()
        idle = await open_many(server, count)
        started = time.monotonic()
        answer = await asyncio.wait_for(server.predict(id="in-the-crowd"), 20)
        seconds = time.monotonic() - started
        check(answer.json()["status"] == "succeeded", f"odd answer: {answer.body!r}")
        check(server.descriptors() < FEW_DESCRIPTORS, "no descriptor is left for the server itself")
        worker = server.signal_worker(signal.SIGKILL)
        await server.until("another worker", lambda: server.worker() not in (None, worker))
        await server.until_status("READY")
        # Half a request each: they are not idle, and cannot be sent away before their time is up.
        busy = await open_many(server, FEW_DESCRIPTORS // 2)
        for connection in busy:
            connection.writer.write(b"POST /predictions HT")
        answer = await asyncio.wait_for(server.predict(id="beside-half-requests"), 20)
        check(answer.json()["status"] == "succeeded", f"odd answer: {answer.body!r}")
        gone = await sent_away(idle)
        for connection in [*idle, *busy]:
            connection.abort()
        await rest.check()
    return (
        f"{count} connections to a server with {FEW_DESCRIPTORS} descriptors: others answered in {seconds:.2f} s, "
        f"{gone} idle ones closed"
    )


async def sent_away(connections: list[Connection]) -> int:
    async def is_closed(connection: Connection) -> bool:
        try:
            await asyncio.wait_for(connection.answer(), 0.2)
        except Closed:
            return True
        except asyncio.TimeoutError:
            return False
        return False

    return sum(await asyncio.gather(*(is_closed(connection) for connection in connections)))

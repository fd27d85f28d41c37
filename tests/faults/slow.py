"""Clients that send a byte a second, leave in the middle, or never take their answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Coroutine
from typing import Any

from client import Closed, Connection
from server import Server, check, exactly_once, serving

CLIENT_TIMEOUT = 2
LARGE = 20_000_000


async def run(quick: bool) -> str:
    each = 20 if quick else 200
    with serving(COG_CLIENT_TIMEOUT=str(CLIENT_TIMEOUT)) as server:
        rest = await server.rest()
        good = Good(server)
        working = asyncio.create_task(good.work())
        kinds: list[Any] = [slow_head, slow_body, leaves_in_head, leaves_in_body, leaves_while_running]
        clients: list[Coroutine[Any, Any, None]] = [kind(server, number) for kind in kinds for number in range(each)]
        # Their answers take memory until they are given up.
        clients += [never_reads(server, number) for number in range(each // 4)]
        random.shuffle(clients)
        await asyncio.gather(*clients)
        good.over = True
        await working
        await rest.check()
        exactly_once(server, good.succeeded, set())
        check(len(good.succeeded) > 10, f"only {len(good.succeeded)} predictions came through")
        check(good.slowest < 5, f"an honest client waited {good.slowest:.1f} s for an answer")
    return (
        f"{len(clients)} bad clients of 6 kinds cut off; {len(good.succeeded)} predictions of others meanwhile, "
        f"slowest {good.slowest * 1000:.0f} ms"
    )


class Good:
    """A client as it should be."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.over = False
        self.succeeded: set[str] = set()
        self.slowest = 0.0

    async def work(self) -> None:
        connection = await Connection.open(self.server.port)
        number = 0
        while not self.over:
            number += 1
            started = time.monotonic()
            answer = await connection.predict(id=f"good-{number}")
            self.slowest = max(self.slowest, time.monotonic() - started)
            if answer.status == 409:
                await asyncio.sleep(0.002)
                continue
            check(answer.status == 200, f"an honest client got {answer.status} {answer.body[:200]!r}")
            self.succeeded.add(f"good-{number}")
        connection.close()


def request(name: str, **more: Any) -> bytes:
    body = json.dumps({"input": {"id": name, **more}}).encode()
    lines = ["POST /predictions HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def trickle(connection: Connection, data: bytes) -> None:
    """A byte a second, for as long as the server bears it: that has to end soon."""
    started = time.monotonic()
    ended = asyncio.create_task(connection.reader.read())
    for byte in data:
        with contextlib.suppress(ConnectionError):
            connection.writer.write(bytes([byte]))
        done, _ = await asyncio.wait([ended], timeout=1)
        if done:
            break
    check(ended.done(), "a byte a second was borne to the end")
    waited = time.monotonic() - started
    check(waited < CLIENT_TIMEOUT + 10, f"a byte a second was borne for {waited:.0f} s")
    with contextlib.suppress(ConnectionError):
        text = ended.result()
        check(not text or text.startswith(b"HTTP/1.1 408"), f"odd answer: {text[:100]!r}")


async def slow_head(server: Server, number: int) -> None:
    connection = await Connection.open(server.port)
    await trickle(connection, request(f"slow-head-{number}"))
    connection.close()


async def slow_body(server: Server, number: int) -> None:
    connection = await Connection.open(server.port)
    head, end, body = request(f"slow-body-{number}").partition(b"\r\n\r\n")
    connection.writer.write(head + end)
    await trickle(connection, body)
    connection.close()


async def leaves_in_head(server: Server, number: int) -> None:
    connection = await Connection.open(server.port)
    connection.writer.write(request(f"left-{number}")[: random.randint(0, 60)])
    await asyncio.sleep(random.uniform(0, 0.5))
    connection.abort()


async def leaves_in_body(server: Server, number: int) -> None:
    connection = await Connection.open(server.port)
    data = request(f"left-{number}", file="x" * 100_000)
    connection.writer.write(data[: random.randint(200, len(data) - 1)])
    await asyncio.sleep(random.uniform(0, 0.5))
    random.choice([connection.abort, connection.close])()


async def leaves_while_running(server: Server, number: int) -> None:
    """It is canceled then; otherwise the slot would be taken for a minute."""
    connection = await Connection.open(server.port)
    connection.writer.write(request(f"running-{number}", seconds=60))
    await asyncio.sleep(random.uniform(0, 0.5))
    random.choice([connection.abort, connection.close])()


async def never_reads(server: Server, number: int) -> None:
    connection = await Connection.open(server.port)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    connection.writer.write(request(f"unread-{number}", size=LARGE))
    # Longer than the server waits.
    await asyncio.sleep(CLIENT_TIMEOUT + 5)
    connection.writer.transport.resume_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(Closed):
        answer = await asyncio.wait_for(connection.answer(), 30)
        check(len(answer.body) < LARGE, "an answer that was not taken was kept")
    connection.close()

"""What clients can send to make the server grow: for each flood, how large it has ever been.

The same floods end in gigabytes where something grows with what was sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from client import Answer, Connection
from server import Server, check, serving

LIMIT = 300 << 20

MODEL = """
import os, time
from cog import BaseRunner, Path, current_scope

class Runner(BaseRunner):
    def setup(self) -> None:
        self.ran = os.open("ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(
        self, id: str = "", numbers: list[int] = [], paths: list[Path] = [], text: str = "",
        lines: int = 0, metrics: int = 0, size: int = 0, seconds: float = 0.0, file: Path = None,
    ) -> str:
        time.sleep(seconds)
        for number in range(lines):
            print(f"{number} " + "x" * 1000)
        for number in range(metrics):
            current_scope().record_metric("large", f"{number} " + "x" * 100_000)
        return "x" * size
"""
INPUTS = {
    "id": {"type": "string", "default": ""},
    "numbers": {"type": "array", "items": {"type": "integer"}, "default": []},
    "paths": {"type": "array", "items": {"type": "string", "format": "uri"}, "default": []},
    "text": {"type": "string", "minLength": 0, "default": ""},
    "lines": {"type": "integer", "default": 0},
    "metrics": {"type": "integer", "default": 0},
    "size": {"type": "integer", "default": 0},
    "seconds": {"type": "number", "default": 0.0},
    "file": {"type": "string", "format": "uri", "nullable": True},
}

Flood = Callable[[Server, bool], Awaitable[None]]


async def run(quick: bool) -> str:
    peaks = {}
    for name, (flood, options) in FLOODS.items():
        with serving(MODEL, inputs=INPUTS, streaming=True, **options) as server:
            rest = await server.rest()
            server.forget_peak()
            await flood(server, quick)
            peaks[name] = server.peak()
            check(peaks[name] < LIMIT, f"{name}: the server has taken {peaks[name] >> 20} MiB\n{server.log_text()}")
            await rest.check(60)
            # What is undelivered would be waited for.
            server.patience = 1
    return "peaks: " + ", ".join(f"{name} {peak >> 20} MiB" for name, peak in peaks.items())


def body(**input_: object) -> bytes:
    return json.dumps({"input": input_}).encode()


async def send_all(server: Server, bodies: list[bytes], path: str = "/predictions", **headers: str) -> Counter[int]:
    """Each on a connection of its own, all at the same time."""

    async def send(text: bytes) -> Answer:
        connection = await Connection.open(server.port)
        try:
            return await asyncio.wait_for(connection.request("POST", path, text, headers), 120)
        finally:
            connection.close()

    answers = await asyncio.gather(*(send(text) for text in bodies))
    return Counter(answer.status for answer in answers)


def only(statuses: Counter[int], *expected: int) -> None:
    check(set(statuses) <= set(expected), f"odd statuses {dict(statuses)}, expected {expected}")


async def wrong_elements(server: Server, quick: bool) -> None:
    # A build for tests is slow.
    text = b'{"input":{"numbers":[' + b'"",' * ((1 if quick else 10) << 20) + b'""]}}'
    only(await send_all(server, [text] * (4 if quick else 12)), 422)


async def deep_and_odd(server: Server, quick: bool) -> None:
    million = 300_000 if quick else 3 << 20
    for text in [
        b'{"input":{' + b",".join(b'"%x":1' % number for number in range(million)) + b"}}",
        b'{"context":{' + b",".join(b'"%x":""' % number for number in range(million)) + b"}}",
        b'{"webhook_events_filter":[' + b'"logs",' * million + b'"logs"]}',
        b'{"input":{"numbers":{' + b",".join(b'"%x":1' % number for number in range(million)) + b"}}}",
        b'{"input":{"numbers":"\\ud83d\\ude00","text":[' + b"1," * million + b"1]}}",
        b'{"id":"' + b"x" * (30 << 20) + b'"}',
        b"[" + b"[]," * million + b"[]]",
    ]:
        only(await send_all(server, [text]), 200, 422)


async def many_files(server: Server, quick: bool) -> None:
    count = 300_000 if quick else 3 << 20
    only(await send_all(server, [b'{"input":{"paths":[' + b'"data:,",' * count + b'"data:,"]}}'] * 2), 422)


async def large_texts(server: Server, quick: bool) -> None:
    """With room in the queue for all of them: so they are kept, as far as there is memory."""
    texts = [body(text="x" * (30 << 20), seconds=0.1)] * (8 if quick else 30)
    only(await send_all(server, texts, Prefer="respond-async"), 202, 409, 503)
    await server.until_status("READY", 60)


async def full(server: Server, quick: bool) -> None:
    long = json.dumps({"id": "long", "input": {"seconds": 300}}).encode()
    only(await send_all(server, [long], Prefer="respond-async"), 202)
    await server.until_status("BUSY")
    only(await send_all(server, [body(text="x" * (60 << 20))] * (8 if quick else 30)), 409)
    only(await send_all(server, [b""], path="/predictions/long/cancel"), 200)


async def without_token(server: Server, quick: bool) -> None:
    only(await send_all(server, [body(text="x" * (50 << 20))] * (5 if quick else 20), path="/nowhere"), 404)


async def logs(server: Server, quick: bool) -> None:
    answer = await server.predict(lines=50_000 if quick else 300_000)
    check(answer.json()["logs"].endswith("x\n"), "the end of the log is missing")


async def metrics(server: Server, quick: bool) -> None:
    answer = await server.predict(metrics=1000 if quick else 5000)
    check(answer.json()["status"] == "succeeded", f"odd answer: {answer.body[:200]!r}")


async def undelivered(server: Server, quick: bool) -> None:
    """Results for receivers that do not answer, and for one that is not there."""
    async with silent() as url:
        for number in range(60 if quick else 300):
            text = json.dumps(
                {
                    "id": f"u{number}",
                    "input": {"size": 2 << 20, "text": "x" * (1 << 20)},
                    "webhook": url if number % 2 else "http://127.0.0.1:1/",
                }
            ).encode()
            only(await send_all(server, [text], Prefer="respond-async"), 202)
            await server.until_status("READY")


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


async def watched_by_nobody(server: Server, quick: bool) -> None:
    """Answers that are not taken."""
    await asyncio.gather(*(server.predict(lines=3000) for _ in range(1)))
    connections = [await Connection.open(server.port) for _ in range(50 if quick else 200)]
    for connection in connections:
        connection.send("GET", "/health-check")
        connection.send("GET", "/openapi.json")
    await asyncio.sleep(0.5)
    for connection in connections:
        connection.abort()


FLOODS: dict[str, tuple[Flood, dict[str, str]]] = {
    "wrong elements": (wrong_elements, {}),
    "odd bodies": (deep_and_odd, {}),
    "files": (many_files, {}),
    "queued": (large_texts, {"COG_QUEUE": "1000"}),
    "full": (full, {}),
    "unread": (without_token, {}),
    "logs": (logs, {"RUST_LOG": "error,coglet::server=info"}),
    "metrics": (metrics, {}),
    "webhooks": (undelivered, {}),
    "untaken": (watched_by_nobody, {}),
}

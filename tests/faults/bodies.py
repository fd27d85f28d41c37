"""Random request bodies: bytes, broken JSON, JSON that is odd. Each gets an answer, none harms the worker."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from typing import Any

from client import Connection
from server import Server, check, serving

#: What a create request can be answered with, whatever its body is.
EXPECTED = {200, 202, 400, 406, 409, 413, 415, 422}
CLIENTS = 4


async def run(quick: bool) -> str:
    count = 5_000 if quick else 100_000
    seed = random.randrange(1 << 32)
    bodies = Bodies(random.Random(seed))
    statuses: Counter[int] = Counter()
    with serving() as server:
        rest = await server.rest()
        worker = server.worker()
        started = time.monotonic()
        await asyncio.gather(*(send(server, bodies, count // CLIENTS, statuses) for _ in range(CLIENTS)))
        seconds = time.monotonic() - started
        odd = {status: times for status, times in statuses.items() if status not in EXPECTED}
        check(not odd, f"seed {seed}: odd statuses {odd}")
        check(server.worker() == worker, f"seed {seed}: the worker has died\n{server.log_text()}")
        await rest.check()
        ran = sum(server.ran().values()) - 2
        # One that is accepted may fail in the model's signature, so fewer may have run.
        check(ran <= statuses[200] + statuses[202], f"seed {seed}: {ran} ran, {statuses[200]} were accepted")
        panics = server.log.read_text(errors="replace").count("panicked")
        check(panics == 0, f"seed {seed}: {panics} panics\n{server.log_text()}")
    shares = ", ".join(f"{times} x {status}" for status, times in sorted(statuses.items()))
    return f"{count} bodies in {seconds:.0f} s, all answered: {shares}"


async def send(server: Server, bodies: Bodies, count: int, statuses: Counter[int]) -> None:
    connection = await Connection.open(server.port)
    for _ in range(count):
        body = bodies.any()
        answer = await asyncio.wait_for(connection.request("POST", "/predictions", body), 30)
        statuses[answer.status] += 1
    connection.close()


class Bodies:
    """Makes bodies. The same seed makes the same ones."""

    def __init__(self, choice: random.Random) -> None:
        self.choice = choice
        self.kinds = [
            self.noise,
            self.broken,
            self.deep,
            self.unicode,
            self.repeated,
            self.envelope,
            self.envelope,
            self.input,
            self.input,
        ]

    def any(self) -> bytes:
        body: bytes = self.choice.choice(self.kinds)()
        return body

    def noise(self) -> bytes:
        return self.choice.randbytes(self.choice.choice([0, 1, 10, 100, 1000, 70_000]))

    def broken(self) -> bytes:
        """A part of something valid, or something valid with a byte changed."""
        whole = bytearray(self.input())
        if self.choice.random() < 0.5:
            return bytes(whole[: self.choice.randrange(len(whole))])
        whole[self.choice.randrange(len(whole))] = self.choice.randrange(256)
        return bytes(whole)

    def deep(self) -> bytes:
        depth = self.choice.choice([10, 127, 128, 129, 1000, 100_000])
        start, end = self.choice.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'{"input":', b"}")])
        nested = start * depth + b"1" + end * self.choice.choice([0, depth - 1, depth, depth + 1])
        if self.choice.random() < 0.5:
            return b'{"input":{"id":' + nested + b"}}"
        return nested

    def unicode(self) -> bytes:
        odd = self.choice.choice(
            [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\x00", b"\xf4\x90\x80\x80"]
        )
        return b'{"input":{"id":"' + odd + b'"}}'

    def repeated(self) -> bytes:
        members = [b'"id":' + self.json(1) for _ in range(self.choice.randrange(2, 20))]
        return b'{"input":{' + b",".join(members) + b"}," + b'"input":{"id":' + self.json(0) + b"}}"

    def envelope(self) -> bytes:
        names = ["input", "id", "context", "created_at", "output_file_prefix", "webhook_events_filter", "x"]
        members = [
            json.dumps(self.choice.choice(names)).encode() + b":" + self.json(3)
            for _ in range(self.choice.randrange(4))
        ]
        return b"{" + b",".join(members) + b"}"

    def input(self) -> bytes:
        names = ["id", "id", "size", "file", "other", "\u00e9", ""]
        members = [
            json.dumps(self.choice.choice(names)).encode() + b":" + self.json(2)
            for _ in range(self.choice.randrange(4))
        ]
        return b'{"input":{' + b",".join(members) + b"}}"

    def json(self, depth: int) -> bytes:
        roll = self.choice.random()
        if depth and roll < 0.2:
            return b"[" + b",".join(self.json(depth - 1) for _ in range(self.choice.randrange(4))) + b"]"
        if depth and roll < 0.4:
            pairs = [json.dumps(self.text()).encode() + b":" + self.json(depth - 1) for _ in range(2)]
            return b"{" + b",".join(pairs) + b"}"
        if roll < 0.6:
            return json.dumps(self.text()).encode()
        return self.scalar()

    def scalar(self) -> bytes:
        scalars: list[Any] = [
            b"null",
            b"true",
            b"0",
            b"-0",
            b"1.5",
            b"1e5",
            b"1e400",
            b"-1e-400",
            b"9" * 500,
            b"18446744073709551616",
            b"-9223372036854775809",
            b"NaN",
            b"Infinity",
            b"01",
            b"1.",
            b"0.1" + b"0" * 300,
        ]
        chosen: bytes = self.choice.choice(scalars)
        return chosen

    def text(self) -> str:
        texts = [
            "",
            "a",
            "id",
            "\u0000",
            "\ud800",
            "\U0001f600",
            "data:,x",
            "data:;base64,!",
            "file:///etc/passwd",
            "x" * 2000,
        ]
        chosen: str = self.choice.choice(texts)
        return chosen

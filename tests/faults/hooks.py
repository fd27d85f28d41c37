"""Webhook receivers that are down, slow, wrong, endless or silent. None of them may hold up anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from client import Connection
from server import Server, check, exactly_once, serving

Handler = Callable[["Receiver", asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#: Generous: endless answers are a thousand times that.
MEMORY_GROWTH = 64 << 20


async def run(quick: bool) -> str:
    each = 10 if quick else 100
    flaky, slow = Receiver(answers_after_failures), Receiver(answers_late)
    kinds = {
        "flaky": flaky,
        "slow": slow,
        "endless": Receiver(answers_without_end),
        "garbage": Receiver(answers_garbage),
        "silent": Receiver(never_answers),
        "redirect": Receiver(redirects),
    }
    with serving() as server, contextlib.ExitStack() as stack:
        rest = await server.rest()
        memory = server.resident()
        for receiver in kinds.values():
            await receiver.start()
            stack.callback(receiver.close)
        urls = {name: receiver.url for name, receiver in kinds.items()}
        urls["down"] = f"http://127.0.0.1:{closed_port()}/"
        sent = await send(server, urls, each)
        slowest = await slowest_prediction(server, 50 if quick else 500)
        wanted = {name for name in sent if name.startswith(("flaky", "slow"))}
        await server.until("the webhooks that can arrive", lambda: wanted <= flaky.taken.keys() | slow.taken.keys(), 60)
        grown = server.resident() - memory
        for receiver in kinds.values():
            receiver.close()
        await rest.check()
        exactly_once(server, sent, set())
        # What is still undelivered would be waited for.
        server.patience = 1
        twice = [name for name, times in (flaky.taken + slow.taken).items() if times != 1]
        check(not twice, f"`completed` was taken more than once: {twice[:3]}")
        check(grown < MEMORY_GROWTH, f"memory grew by {grown >> 20} MiB")
    return (
        f"{len(sent)} predictions for {len(urls)} kinds of receivers, {len(wanted)} deliverable ones delivered once; "
        f"slowest prediction meanwhile {slowest * 1000:.0f} ms, memory +{grown >> 20} MiB"
    )


async def send(server: Server, urls: dict[str, str], each: int) -> set[str]:
    connection = await Connection.open(server.port)
    names = [f"{kind}-{number}" for kind in urls for number in range(each)]
    random.shuffle(names)
    for name in names:
        body = {"id": name, "input": {"id": name}, "webhook": urls[name.partition("-")[0]]}
        body["webhook_events_filter"] = ["start", "completed"]
        while True:
            answer = await connection.request(
                "POST", "/predictions", json.dumps(body).encode(), {"Prefer": "respond-async"}
            )
            if answer.status == 202:
                break
            check(answer.status == 409, f"odd answer: {answer.status} {answer.body!r}")
            await asyncio.sleep(0.002)
    connection.close()
    return set(names)


async def slowest_prediction(server: Server, count: int) -> float:
    connection = await Connection.open(server.port)
    slowest = 0.0
    for number in range(count):
        while True:
            started = time.monotonic()
            answer = await connection.predict(id=f"meanwhile-{number}")
            if answer.status == 200:
                break
            await asyncio.sleep(0.002)
        slowest = max(slowest, time.monotonic() - started)
        check(answer.json()["status"] == "succeeded", f"odd answer: {answer.body!r}")
    connection.close()
    check(slowest < 2, f"a prediction took {slowest:.1f} s while webhooks were undeliverable")
    return slowest


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Receiver:
    """A server that treats its callers badly, in one way."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.url = ""
        self.open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                await self.handler(self, reader, writer, await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    def take(self, body: bytes) -> None:
        """Counts what it has accepted at last."""
        prediction = json.loads(body)
        if prediction["status"] == "succeeded":
            self.taken[prediction["id"]] += 1

    def close(self) -> None:
        self.server.close()
        for writer in list(self.open):
            writer.transport.abort()


async def answers_after_failures(
    receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes
) -> None:
    name = json.loads(body)["id"]
    if receiver.refused[name] < 3:
        receiver.refused[name] += 1
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nno!\n")
        return
    receiver.take(body)
    writer.write(OK)


async def answers_late(
    receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes
) -> None:
    await asyncio.sleep(2)
    receiver.take(body)
    writer.write(OK)


async def answers_without_end(
    _receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes
) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while True:
        writer.write(bytes(1 << 16))
        await writer.drain()


async def answers_garbage(
    _receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes
) -> None:
    writer.write(random.randbytes(200) + b"\r\n\r\n")


async def never_answers(
    _receiver: Receiver, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _body: bytes
) -> None:
    await reader.read()


async def redirects(
    receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes
) -> None:
    writer.write(f"HTTP/1.1 307 Again\r\nLocation: {receiver.url}\r\nContent-Length: 0\r\n\r\n".encode())

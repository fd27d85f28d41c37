"""HTTP as bytes on a socket: what a client library would hide is what is tested here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any


class Answer:
    """Status and body of an answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Closed(Exception):
    """The server has closed the connection without an answer."""


class Connection:
    """A connection that is used for one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        self.send(method, path, body, headers)
        return await self.answer()

    def send(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: faults"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    async def predict(self, **input_: Any) -> Answer:
        return await self.request("POST", "/predictions", json.dumps({"input": input_}).encode())

    async def answer(self) -> Answer:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            body = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Closed(str(error)) from error
        return Answer(int(head[9:12]), body)

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        """Closes with a reset, as a program that was killed does."""
        self.writer.transport.abort()


async def ask(port: int, path: str, seconds: float = 30) -> Answer:
    """One GET on a connection of its own."""

    async def exchange() -> Answer:
        connection = await Connection.open(port)
        try:
            return await connection.request("GET", path)
        finally:
            connection.close()

    return await asyncio.wait_for(exchange(), seconds)

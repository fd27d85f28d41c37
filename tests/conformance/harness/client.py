"""A small HTTP client: one connection a request, and the connection in the test's hands."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Far more than any answer takes; reached only when a server hangs.
PATIENCE = 60


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def expect(self, status: int) -> Any:
        """The JSON of an answer that has to have this status."""
        assert self.status == status, f"status {self.status}, expected {status}: {self.text[:2000]}"
        return self.json()


class Pending:
    """A request that was sent and not answered yet."""

    def __init__(self, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.connection.request(method, path, body, headers)

    def answer(self) -> Response:
        try:
            response = self.connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            self.connection.close()

    def events(self) -> Events | Response:
        """The event stream, or the answer if it is something else."""
        response = self.connection.getresponse()
        if response.headers.get_content_type() != "text/event-stream":
            return Response(response.status, response.headers, response.read())
        return Events(self, response)

    def hang_up(self) -> None:
        assert self.connection.sock is not None
        # With a reset, so that no server waits for the rest of a half-closed connection.
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@dataclass
class Event:
    name: str
    data: Any


class Events:
    """Server-sent events, as they arrive."""

    def __init__(self, pending: Pending, response: http.client.HTTPResponse) -> None:
        self.pending = pending
        self.response = response
        self.status = response.status
        self.headers = response.headers

    def __iter__(self) -> Iterator[Event]:
        name, data = "message", ""
        while line := self.response.readline():
            field, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
            elif not field and not value and data:
                yield Event(name, json.loads(data))
                name, data = "message", ""

    def next(self) -> Event:
        return next(iter(self))

    def until(self, name: str) -> list[Event]:
        """The events up to and with the first of this name."""
        seen = []
        for event in self:
            seen.append(event)
            if event.name == name:
                return seen
        raise AssertionError(f"the stream ended before `{name}`: {seen[-5:]}")

    def close(self) -> None:
        self.response.close()
        self.pending.connection.close()


def encode(body: Any) -> tuple[bytes | None, dict[str, str]]:
    """A JSON body and its headers; none for None."""
    if body is None:
        return None, {}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}

"""HTTP as fast as Python can: a socket, whole requests as bytes, answers read to their last byte."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator

TIME_LIMIT_SECONDS = 60
#: Both servers write it in small letters.
_LENGTH = b"\r\ncontent-length: "


def post(path: str, document: object, *headers: str) -> bytes:
    """A request whose body is the document."""
    body = json.dumps(document).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def prediction(input: dict[str, object], *headers: str) -> bytes:
    """A request for a prediction."""
    return post("/predictions", {"input": input}, *headers)


class Answer:
    """Collects one answer from whatever pieces it comes in."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._end: int | None = None
        self._start = 0

    def feed(self, piece: bytes) -> bool:
        """True when it is complete."""
        data = self._data
        data += piece
        if self._end is None:
            start = data.find(b"\r\n\r\n")
            if start < 0:
                return False
            length = data.find(_LENGTH, 0, start)
            length = int(data[length + len(_LENGTH) : data.find(b"\r", length + len(_LENGTH))]) if length > 0 else 0
            self._start, self._end = start + 4, start + 4 + length
        return len(data) >= self._end

    @property
    def status(self) -> int:
        return int(self._data[9:12])

    @property
    def body(self) -> bytes:
        return bytes(self._data[self._start :])


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIME_LIMIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> Answer:
        """Sends a request and waits for its answer."""
        self.socket.sendall(request)
        answer = Answer()
        while not answer.feed(self._receive()):
            pass
        return answer

    def events(self, request: bytes) -> Iterator[bytes] | None:
        """The text of a stream of server-sent events, in the pieces in which it comes; None if the server is busy."""
        self.socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status == 409:
            return None
        if status != 200:
            raise RuntimeError(head.decode())
        return self._pieces(data)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        # Costs little: the sizes of chunks stay in it; the last one is empty.
        while not data.endswith(b"0\r\n\r\n"):
            yield data
            data = self._receive()
        yield data

    def close(self) -> None:
        self.socket.close()

    def _receive(self) -> bytes:
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece


def many_clients(port: int, clients: int, request: bytes, seconds: float) -> tuple[list[float], int]:
    """So many clients, each sending its next request when it has the last answer: latencies, number of refusals."""
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    refused = 0
    deadline = time.perf_counter() + seconds
    for _ in range(clients):
        connection = Connection(port)
        connection.socket.sendall(request)
        selector.register(connection.socket, selectors.EVENT_READ, [time.perf_counter(), Answer()])
    while selector.get_map():
        for key, _ in selector.select():
            state = key.data
            peer: socket.socket = key.fileobj  # type: ignore[assignment]
            if not state[1].feed(peer.recv(1 << 16)):
                continue
            now = time.perf_counter()
            if state[1].status == 200:
                latencies.append(now - state[0])
            elif state[1].status == 409:
                refused += 1
            else:
                raise RuntimeError(f"unexpected answer {state[1].status}: {state[1].body[:200]!r}")
            if now >= deadline:
                selector.unregister(peer)
                peer.close()
                continue
            state[0], state[1] = now, Answer()
            peer.sendall(request)
    return latencies, refused

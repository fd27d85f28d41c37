"""An HTTP server for tests: gets webhooks and uploads, serves files, remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

TERMINAL = ("succeeded", "failed", "canceled")


@dataclass
class Received:
    number: int
    method: str
    path: str
    headers: Message
    body: bytes
    at: float

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0
    hangs_up: bool = False
    """Closes the connection instead of answering."""


class Receiver:
    def __init__(self, answer: Callable[[Received], Reply] | None = None) -> None:
        self.answer = answer or (lambda _: Reply())
        self.requests: list[Received] = []
        self.changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                reply = receiver.receive(self)
                time.sleep(reply.delay)
                if reply.hangs_up:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_HEAD = do_POST = do_PUT = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def receive(self, handler: BaseHTTPRequestHandler) -> Reply:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if handler.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = read_chunks(handler)
        with self.changed:
            number = len(self.requests)
            received = Received(number, handler.command, handler.path, handler.headers, body, time.monotonic())
            self.requests.append(received)
            self.changed.notify_all()
        return self.answer(received)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for(self, count: int, seconds: float = 30) -> list[Received]:
        """The requests, once there are so many."""
        with self.changed:
            enough = self.changed.wait_for(lambda: len(self.requests) >= count, seconds)
            assert enough, f"only {len(self.requests)} of {count} requests came"
            return list(self.requests)

    def until_completed(self, seconds: float = 30) -> list[Any]:
        """The webhook bodies, once one has a terminal status."""

        def bodies() -> list[Any]:
            return [request.json() for request in self.requests]

        with self.changed:
            done = self.changed.wait_for(lambda: any(b["status"] in TERMINAL for b in bodies()), seconds)
            assert done, f"no terminal webhook came, only {bodies()}"
            return bodies()

    def completed(self, seconds: float = 30) -> Any:
        """The first webhook body with a terminal status."""
        return next(body for body in self.until_completed(seconds) if body["status"] in TERMINAL)

    def settled(self, seconds: float = 0.7) -> list[Received]:
        """The requests, once none has come for a while."""
        with self.changed:
            while self.changed.wait(seconds):
                pass
            return list(self.requests)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def read_chunks(handler: BaseHTTPRequestHandler) -> bytes:
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body

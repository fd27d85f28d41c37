"""Ports of this machine, and who answers there."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 120


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody has at the moment."""
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens."""
    with suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def wait_ready(port: int, logs: Callable[[], str] = lambda: "") -> None:
    """Waits until a model's server is ready; `logs` says why it is not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health-check")
            if json.load(connection.getresponse())["status"] == "READY":
                return
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail("the server does not get ready:\n" + logs())


def post(port: int, path: str, document: object) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
    answer: dict[str, object] = json.load(connection.getresponse())
    return answer

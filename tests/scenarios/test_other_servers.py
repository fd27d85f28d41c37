"""Images of other tools: their servers open a port, are asked whether they are ready, and have no event stream, or
another one than ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from registry import put_image
from support import Done, Project

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RegistryBase

TAG = "other-server"
SCHEMA = {
    "openapi": "3.0.2",
    "components": {
        "schemas": {
            "Input": {"type": "object", "properties": {"s": {"type": "string"}}, "required": ["s"]},
            "Output": {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"},
        }
    },
}

# It knows neither the descriptors that our server gets nor our headers.
SERVER = r"""
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ["MODE"]
STREAM = (
    "\ufeff: begins\r\n\r\n"
    'event: start\r\ndata: {"id":"run","status":"processing"}\r\n\r\n'
    'event: output\r\ndata: {"chunk":"hello ","index":0}\r\n\r\n'
    'event: something\rdata: new\r\r'
    'event: log\ndata: {"source":"stderr",\ndata: "data":"thinking\\n"}\n\n'
)
COMPLETED = 'event: completed\ndata: ' + json.dumps(
    {"id": "run", "status": "succeeded", "output": ["hello ", "world"], "logs": "thinking\n", "metrics": {}}
) + "\n\n"
LAGGED = 'event: error\ndata: {"error":"SSE stream lagged; events were dropped","skipped":7}\n\n'
health = iter(["STARTING", "STARTING"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if MODE == "dies in setup":
            os._exit(3)
        status = {"broken setup": "SETUP_FAILED", "strange": "ODD"}.get(MODE, "READY")
        logs = "Traceback\nValueError: no weights\n"
        self.answer(200, {"status": next(health, status), "setup": {"logs": logs}})

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        request = json.loads(self.rfile.read(length))
        wants_events = "text/event-stream" in self.headers.get("Accept", "")
        print("asked", "for events" if wants_events else "plainly", file=sys.stderr, flush=True)
        if wants_events and MODE == "refuses":
            return self.answer(406, {"error": "This model does not support streaming responses."})
        if wants_events and MODE.startswith("stream"):
            return self.stream()
        output = ["hello ", request["input"]["s"]]
        self.answer(200, {"id": request["id"], "status": "succeeded", "output": output, "logs": "thinking\n"})

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        # In pieces that end anywhere.
        whole = STREAM + {"stream": COMPLETED, "stream lags": LAGGED}.get(MODE, "")
        data = whole.encode()
        for start in range(0, len(data), 7):
            self.wfile.write(data[start : start + 7])
            self.wfile.flush()
        if MODE == "stream dies":
            os._exit(3)
        self.close_connection = True

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


if MODE == "does not start":
    sys.exit(5)
assert sys.argv[1] == "--host", sys.argv
ThreadingHTTPServer((sys.argv[2], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("other")


def run(base: RegistryBase, directory: Path, mode: str, *flags: str) -> Done:
    config = {
        "Cmd": ["python3", "/server.py"],
        "Labels": {"run.cog.openapi_schema": json.dumps(SCHEMA), "run.cog.config": "{}"},
    }
    put_image(base.registry, TAG, [{"server.py": SERVER}], {}, config=config)
    image = base.registry.reference(TAG)
    return Project(directory, base.store).cog("run", image, "-i", "s=world", "-e", f"MODE={mode}", *flags)


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        ("plain", ["asked for events"]),
        ("refuses", ["asked for events", "asked plainly"]),
        ("stream", ["asked for events"]),
    ],
)
def test_each_gives_the_result(base_in_registry: RegistryBase, project: Path, mode: str, asked: list[str]) -> None:
    done = run(base_in_registry, project, mode).works()
    assert done.stdout == '[\n  "hello ",\n  "world"\n]\n', done
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("asked")] == asked
    assert lines.count("thinking") == 1, done


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("stream dies", "Container exited unexpectedly (status 3)"),
        ("stream lags", "the server gave up the prediction: SSE stream lagged"),
        ("stream ends", "the server ended the event stream before the prediction had ended"),
        ("broken setup", "ValueError: no weights"),
        ("strange", "Container healthcheck returned unexpected status: ODD"),
        ("dies in setup", "Container exited unexpectedly (status 3)"),
        ("does not start", "Container exited unexpectedly (status 5)"),
    ],
)
def test_each_failure_is_told(base_in_registry: RegistryBase, project: Path, mode: str, text: str) -> None:
    done = run(base_in_registry, project, mode).fails_with(text)
    assert done.stdout == ('[\n  "hello "\n' if mode.startswith("stream") else ""), done

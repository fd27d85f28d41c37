"""One running server: its own directory, port, log and processes."""

from __future__ import annotations

import json as jsonlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import schema
from .client import Events, Pending, Response, encode
from .ports import Port
from .processes import MARK, kill_marked
from .target import PUBLISHED
from .waiting import eventually

if TYPE_CHECKING:
    from .target import Target

MODELS = Path(__file__).resolve().parents[1] / "models"
START_SECONDS = 60
# Nothing follows these.
FINAL = ("SETUP_FAILED", "DEFUNCT")


@dataclass(frozen=True)
class Model:
    """A model and how to serve it: references as in cog.yaml, into the folder `models/`."""

    run: str | None = None
    train: str | None = None
    project: Path = MODELS
    """The folder that the references start from."""
    copied: tuple[str, ...] = ()
    """More files of that folder, beside those that the references name."""
    env: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    """A command that becomes the server's, as `unshare` does."""
    has_schema: bool = True

    def files(self) -> dict[str, str]:
        references = [reference for reference in (self.run, self.train) if reference]
        names = {reference.partition(":")[0] for reference in references} | set(self.copied)
        return {name: (self.project / name).read_text() for name in sorted(names)}

    def document(self) -> dict[str, Any]:
        references = {"run": self.run, "train": self.train}
        return schema.document(self.files(), {key: value for key, value in references.items() if value})

    def stubs(self) -> dict[str, str]:
        stubs = {"COG_PREDICT_TYPE_STUB": self.run, "COG_TRAIN_TYPE_STUB": self.train}
        return {key: value for key, value in stubs.items() if value}


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)
    reading: threading.Event = field(default_factory=threading.Event)
    """Cleared: nobody reads what the server says, and its pipe fills up."""

    def follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            self.reading.wait()

    def hold(self) -> None:
        self.reading.clear()

    def release(self) -> None:
        self.reading.set()

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Server:
    """Started by its making; `stop` kills it and all that it has started."""

    def __init__(self, target: Target, model: Model) -> None:
        self.target = target
        self.model = model
        self.mark = uuid.uuid4().hex
        # Short: some servers put sockets below it, whose paths may have 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="cog-conf-"))
        self.directory = self.root / "src"
        (self.root / "tmp").mkdir()
        self._write_project()
        self.log = Log()
        self.log.release()
        self._start()

    def _write_project(self) -> None:
        for name, content in self.model.files().items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        if self.model.has_schema:
            (self.directory / ".cog").mkdir()
            (self.directory / ".cog/openapi_schema.json").write_text(jsonlib.dumps(self.model.document()))

    def _start(self) -> None:
        self.reserved = Port()
        self.port = self.reserved.number
        self.process = subprocess.Popen(
            [*self.model.wrapper, *self.target.command, *self.model.arguments],
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self.log.follow, args=(self.process,), daemon=True).start()
        if not self._listens():
            self.stop()
            raise AssertionError(f"{self.target.command} does not start:\n{self.log}")

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
        return {
            **inherited,
            **self.target.environment,
            **self.model.stubs(),
            **dict(self.model.env),
            "PORT": str(self.port),
            "TMPDIR": str(self.root / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "127.0.0.1",
            MARK: self.mark,
        }

    def _listens(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if can_connect(self.port):
                return True
            time.sleep(0.005)
        return False

    # Requests

    def send(
        self, method: str, path: str, json: Any = None, *, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Pending:
        encoded, content_type = encode(json)
        return Pending(self.port, method, path, body or encoded, {**content_type, **(headers or {})})

    def request(self, method: str, path: str, json: Any = None, **options: Any) -> Response:
        return self.send(method, path, json, **options).answer()

    def get(self, path: str) -> Response:
        return self.request("GET", path)

    def post(self, path: str, json: Any = None, **options: Any) -> Response:
        return self.request("POST", path, json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> Response:
        return self.request("PUT", path, json, **options)

    def finish(self, envelope: Any, method: str = "POST", path: str = "/predictions", **options: Any) -> Any:
        """The finished prediction that this request makes."""
        response = self.request(method, path, envelope, **options)
        deadline = time.monotonic() + 5
        # What the published server does is in `differences.toml`; the other tests are not about that.
        while self.target.name == PUBLISHED and response.status == 409 and time.monotonic() < deadline:
            time.sleep(0.005)
            response = self.request(method, path, envelope, **options)
        return response.expect(200)

    def predict(self, **inputs: Any) -> Any:
        """The finished prediction with these inputs."""
        return self.finish({"input": inputs})

    def output(self, **inputs: Any) -> Any:
        """The output of a prediction that has to succeed."""
        prediction = self.predict(**inputs)
        assert prediction["status"] == "succeeded", f"{prediction}\n{self.log}"
        return prediction["output"]

    def failure(self, **inputs: Any) -> str:
        """The error of a prediction that has to fail."""
        prediction = self.predict(**inputs)
        assert prediction["status"] == "failed", prediction
        return str(prediction["error"])

    def begin(self, **inputs: Any) -> Pending:
        """A synchronous prediction that is not waited for."""
        return self.send("POST", "/predictions", {"input": inputs})

    def accept(self, path: str = "/predictions", **envelope: Any) -> str:
        """Starts an asynchronous prediction and returns its id."""
        created = self.post(path, envelope, headers={"Prefer": "respond-async"}).expect(202)
        return str(created["id"])

    def cancel(self, prediction_id: str) -> Response:
        return self.post(f"/predictions/{prediction_id}/cancel")

    def stream(self, method: str = "POST", path: str = "/predictions", **envelope: Any) -> Events:
        """The events of a prediction; an answer of another kind fails the test."""
        events = self.send(method, path, envelope, headers={"Accept": "text/event-stream"}).events()
        assert isinstance(events, Events), f"no event stream: {events}"
        return events

    # State

    def health(self) -> Any:
        return self.get("/health-check").expect(200)

    def status(self) -> str:
        return str(self.health()["status"])

    def until_status(self, *wanted: str, seconds: float = 30) -> Any:
        """The health document, once its status is one of these."""

        def probe() -> Any:
            health = self.health()
            return health if health["status"] in (*wanted, *FINAL) else None

        try:
            health = eventually(" or ".join(wanted), probe, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.health()}\n{self.log}") from None
        assert health["status"] in wanted, f"{health}\n{self.log}"
        return health

    def until_ready(self) -> Server:
        self.until_status("READY", seconds=START_SECONDS)
        return self

    def setup_logs(self) -> str:
        return str(self.health()["setup"].get("logs", ""))

    def until_file(self, name: str) -> str:
        """The content of a file that the model writes into its directory."""
        path = self.directory / name
        eventually(f"the file {name}", path.exists)
        return path.read_text()

    def touch(self, name: str) -> None:
        (self.directory / name).touch()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def until_exit(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)

    def refuses_connections(self) -> bool:
        return not can_connect(self.port)

    def stop(self) -> None:
        self.log.release()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        kill_marked(self.mark)
        self.reserved.release()
        shutil.rmtree(self.root, ignore_errors=True)


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True

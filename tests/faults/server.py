"""A coglet of one scenario, and what it has open, seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from client import Answer, Connection, ask

ROOT = Path(__file__).resolve().parents[2]

#: Writes down each prediction that it runs: ``ran`` then says what ran how often.
SYNC_MODEL = """
import os, time
from cog import BaseRunner, Path

class Runner(BaseRunner):
    def setup(self) -> None:
        self.ran = os.open("ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(self, id: str, seconds: float = 0.0, size: int = 0, file: Path = None) -> str:
        os.write(self.ran, f"{id}\\n".encode("utf-8", "replace"))
        time.sleep(seconds)
        return "x" * size if size else id
"""
ASYNC_MODEL = (
    SYNC_MODEL.replace("import os, time", "import asyncio, os")
    .replace("    def run", "    async def run")
    .replace("time.sleep", "await asyncio.sleep")
)
INPUTS = {
    "id": {"type": "string"},
    "seconds": {"type": "number", "default": 0.0},
    "size": {"type": "integer", "default": 0},
    "file": {"type": "string", "format": "uri", "nullable": True},
}


class Failure(Exception):
    """A scenario found something wrong."""


class Skip(Exception):
    """A scenario cannot run here."""


def check(holds: object, problem: str) -> None:
    if not holds:
        raise Failure(problem)


def coglet_binary() -> Path:
    """`$COGLET`, else the one that `make build` has put into dist/."""
    named = os.environ.get("COGLET")
    candidates = [Path(named)] if named else [ROOT / "dist" / profile / "coglet" for profile in ("release", "debug")]
    for candidate in candidates:
        if candidate.exists():
            return candidate.resolve()
    raise SystemExit(f"no coglet: {candidates[0]} does not exist; run `make build`, or set COGLET")


class Server:
    """A running coglet in a directory of its own."""

    def __init__(
        self,
        model: str = SYNC_MODEL,
        *,
        slots: int = 1,
        descriptors: int | None = None,
        prefix: list[str] | None = None,
        waits: bool = True,
        inputs: dict[str, Any] | None = None,
        streaming: bool = False,
        **variables: str,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="coglet-faults-"))
        self.temporary = self.directory / "tmp"
        self.temporary.mkdir()
        (self.directory / "model.py").write_text(model)
        schema = {"type": "object", "properties": inputs or INPUTS, "required": [] if inputs else ["id"]}
        document: dict[str, Any] = {"openapi": "3.0.2", "components": {"schemas": {"Input": schema}}}
        if streaming:
            document["paths"] = {"/predictions": {"post": {"x-cog-streaming": True}}}
        (self.directory / ".cog").mkdir()
        (self.directory / ".cog/openapi_schema.json").write_text(json.dumps(document))
        self.patience = 10.0
        self.workers = int(variables.get("COG_WORKERS", "1"))
        self.log = self.directory / "log"
        ready, ready_writer = os.pipe()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*(prefix or []), str(coglet_binary()), "--host", "127.0.0.1", "--port", "0"],
                cwd=self.directory,
                env={
                    **os.environ,
                    "PYTHONPATH": os.environ.get("COG_TEST_SDK", str(ROOT / "python/cog/src")),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "COG_PREDICT_TYPE_STUB": "model.py:Runner",
                    "COG_MAX_CONCURRENCY": str(slots),
                    "COG_READY_FD": str(ready_writer),
                    "COG_LOG_LEVEL": "warn",
                    "RUST_LOG": "warn,coglet::server=info",
                    "TMPDIR": str(self.temporary),
                    **variables,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[ready_writer],
                preexec_fn=lambda: limit_descriptors(descriptors),
            )
        os.close(ready_writer)
        with os.fdopen(ready) as pipe:
            said = pipe.read() if waits else "READY\n"
        check(said == "READY\n", f"the server did not start: {said!r}\n{self.log_text()}")
        self.port = self._port()

    def _port(self) -> int:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if "Listening on" in line:
                    return int(json.loads(line)["port"])
            time.sleep(0.01)
        raise Failure(f"no port in the log:\n{self.log_text()}")

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    @property
    def pid(self) -> int:
        return self.process.pid

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self, pid: int | None = None) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{pid or self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def forget_peak(self) -> None:
        """`peak` counts from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The most resident memory that it has had, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def children(self) -> list[int]:
        """Of all of its threads; at rest this is the worker."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def worker(self) -> int | None:
        return next(iter(self.children()), None)

    def signal_worker(self, number: signal.Signals) -> int:
        """Returns the process id of the worker that got it."""
        worker = self.worker()
        if worker is None:
            raise Failure(f"no worker\n{self.log_text()}")
        os.kill(worker, number)
        return worker

    def scratch(self) -> list[str]:
        """Its temporary files. Directories of its own are not counted: it has at most two while it lives."""
        root = Path(f"/proc/{self.pid}/root")
        owned = {entry.name for entry in self._scratch_directories()}
        places = [root / "dev/shm", root / str(self.temporary).lstrip("/")]
        return [
            str(file) for place in places for name in owned for file in (place / name).rglob("*") if not file.is_dir()
        ]

    def _scratch_directories(self) -> list[Path]:
        """Those that it holds open, which is how it locks them."""
        targets = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                targets.append(Path(os.readlink(entry)))
        return [target for target in targets if target.name.startswith("cog-scratch-")]

    def ran(self) -> dict[str, int]:
        """How often each prediction ran."""
        counts: dict[str, int] = {}
        for line in (self.directory / "ran").read_bytes().decode(errors="replace").splitlines():
            counts[line] = counts.get(line, 0) + 1
        return counts

    async def get(self, path: str, seconds: float = 30) -> Answer:
        return await ask(self.port, path, seconds)

    async def health(self) -> dict[str, Any]:
        health: dict[str, Any] = (await self.get("/health-check")).json()
        return health

    async def status(self) -> str:
        return str((await self.health())["status"])

    async def until(self, what: str, holds: Any, seconds: float = 30) -> None:
        """Waits for something to hold, a function or a coroutine function."""
        deadline = time.monotonic() + seconds
        while True:
            result = holds()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            check(time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}\n{self.log_text()}")
            await asyncio.sleep(0.02)

    async def until_status(self, status: str, seconds: float = 30) -> None:
        async def holds() -> bool:
            return await self.status() == status

        await self.until(f"status {status}", holds, seconds)

    async def predict(self, **input_: Any) -> Answer:
        connection = await Connection.open(self.port)
        try:
            return await connection.predict(**input_)
        finally:
            connection.close()

    async def rest(self) -> Rest:
        """What it has open when it has nothing to do. After a first prediction, which opens what stays open."""
        first = (await self.predict(id="first", file="data:,x")).json()
        check(first["status"] == "succeeded", f"the first prediction did not succeed: {first}")
        await self.until_status("READY")
        rest = Rest(self)
        await self.until("the first connections' end", rest.settles)
        return rest

    def stop(self) -> None:
        """Ends it, patiently at first; checks that nothing is left."""
        group = [self.pid, *self.children()]
        locked = self._scratch_directories()
        # The second signal tells it not to wait for what is undelivered.
        for patience in (self.patience, 10):
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                code = None
        check(code == 0, f"exit code {code} when told to stop\n{self.log_text()}")
        deadline = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in group) and time.monotonic() < deadline:
            time.sleep(0.01)
        check(not any(Path(f"/proc/{pid}").exists() for pid in group), "processes are left after the end")
        check(not any(directory.exists() for directory in locked), "scratch directories are left after the end")

    def clean(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Rest:
    """A server at rest: what it has open then, to be compared with later."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.descriptors = server.descriptors()

    def settles(self) -> bool:
        """For the first time: whatever is still closing is gone when the number stays the same."""
        before, self.descriptors = self.descriptors, self.server.descriptors()
        return before == self.descriptors

    async def check(self, seconds: float = 30) -> None:
        """READY, a slot free, its workers and no other child, no file, not one descriptor more than before."""
        server = self.server
        check(server.process.poll() is None, f"the server has ended\n{server.log_text()}")
        await server.until_status("READY", seconds)
        answer = await server.predict(id=f"after-{time.monotonic_ns()}")
        check(answer.status == 200, f"no slot is free: {answer.status} {answer.body!r}")
        await server.until("its workers alone", lambda: len(server.children()) == server.workers, seconds)
        try:
            await server.until("no scratch file", lambda: not server.scratch(), seconds)
        except Failure:
            raise Failure(
                f"files are left: {server.scratch()[:5]}, the worker is {server.worker()}\n{server.log_text()}"
            ) from None
        try:
            await server.until("closed descriptors", lambda: server.descriptors() <= self.descriptors, seconds)
        except Failure:
            raise Failure(f"descriptors are left: {self.descriptors} before, {server.descriptors()} now") from None


@contextlib.contextmanager
def serving(*arguments: Any, **options: Any) -> Any:
    """A server for the block. It has to end well if the block does."""
    server = Server(*arguments, **options)
    try:
        yield server
        server.stop()
    finally:
        server.clean()


def limit_descriptors(limit: int | None) -> None:
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def exactly_once(server: Server, succeeded: set[str], refused: set[str]) -> None:
    """Every success ran once, nothing ran twice, and what was refused did not run."""
    ran = server.ran()
    lost = [name for name in succeeded if ran.get(name) != 1]
    doubled = [name for name, times in ran.items() if times > 1]
    wrongly = [name for name in refused if name in ran]
    check(not lost, f"{len(lost)} succeeded without having run once, like {lost[:3]}")
    check(not doubled, f"{len(doubled)} ran twice, like {doubled[:3]}")
    check(not wrongly, f"{len(wrongly)} ran though they were refused, like {wrongly[:3]}")

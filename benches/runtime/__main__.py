"""`make bench-runtime`: our server beside the published one and a bare hop; one client, one run, the same models.

Rounds take turns between them, so that a busy moment hits all. Every answer is checked. Exits with 1 if a budget
is missed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from client import Answer, Connection, many_clients, prediction
from servers import PUBLISHED, REPOSITORY, Server, environments

T = TypeVar("T")
Figures = dict[str, float]
COG = REPOSITORY / "dist/release/cog"
PAGE = REPOSITORY / "docs/performance.md"
MIB = 1 << 20


@dataclass
class Budget:
    """What our figure divided by theirs may be: at most, or (for rates) at least. Without either it is only shown."""

    title: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    #: Of our own figure, where theirs is no measure.
    absolute: float | None = None


BUDGETS = {
    "echo rate": Budget("echo, one client: answered", "/s", at_least=4.5),
    "echo p50": Budget("echo: median", "µs", at_most=0.25),
    "echo p99": Budget("echo: 99th percentile", "µs", at_most=0.3),
    "echo refused": Budget("echo, strictly one after another: refused with 409", "%", absolute=0),
    "echo cpu": Budget("echo: processor time a request", "µs", at_most=0.25),
    "async rate": Budget("async model (10 ms), 64 slots, 64 clients: answered", "/s", at_least=3.8),
    "async p99": Budget("async model: 99th percentile", "ms", at_most=0.12),
    "ready": Budget("start to READY", "ms", at_most=0.35),
    "listening": Budget("start to listening", "ms", at_most=0.1),
    "idle memory": Budget("memory when idle, all processes", "MiB", at_most=0.35),
    "yields": Budget("10,000 yields, answered at the end", "ms", at_most=0.15),
    "events": Budget("10,000 yields as events", "tokens/s", at_least=8),
    "first token": Budget("first token of an async generator (one every 50 ms)", "ms", at_most=0.15),
    "data in": Budget("32 MiB file in, as data URL", "ms", at_most=0.2),
    "data in memory": Budget("the same: peak memory growth", "MiB", at_most=0.3),
    "data out": Budget("32 MiB file out, as data URL", "ms", at_most=0.4),
    "data out memory": Budget("the same: peak memory growth", "MiB", at_most=0.5),
    "text out": Budget("8 MiB string out", "ms", at_most=0.6),
    "log lines": Budget("20,000 log lines", "ms", at_most=0.4),
    "object": Budget("200 KB JSON object in and out: answered", "/s", at_least=2),
    "409": Budget("409 when busy: median", "µs", at_most=0.9),
    "422": Budget("422 for a wrong input: median", "µs", at_most=0.9),
    "exit": Budget("SIGTERM to exit, idle", "ms", at_most=0.3),
    "files": Budget("files left by 100 predictions with a file", "", absolute=0),
    "growth": Budget("memory growth per 1,000 predictions", "KiB", absolute=8),
}


#: Against the least that could answer: `benches/bare-hop`.
HOP_BUDGETS = {
    "echo rate": Budget("echo beside a bare hop: answered", "/s", at_least=0.85),
    "echo p50": Budget("echo beside a bare hop: median", "µs", at_most=1.2),
    "echo p99": Budget("echo beside a bare hop: 99th percentile", "µs", at_most=1.4),
}

#: Against what no server can exceed: 64 slots, each for 10 ms.
LIMITS = {"async rate": (Budget("async model: answered, of the possible", "/s", at_least=0.92), 64 / 0.01)}


class Bench:
    def __init__(self, work: Path, seconds: float) -> None:
        self.work = work
        self.seconds = seconds
        self.environments = environments()

    @contextmanager
    def server(self, name: str, model: str, slots: int = 1) -> Iterator[Server]:
        server = Server(name, self.environments[name], self._project(model), model, slots)
        try:
            server.wait_ready()
            yield server
        finally:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()

    def _project(self, model: str) -> Path:
        """The model with the document that describes it, made by `cog schema` for both servers."""
        project = self.work / model
        if not project.exists():
            (project / ".cog").mkdir(parents=True)
            shutil.copy(Path(__file__).with_name("models.py"), project)
            (project / "cog.yaml").write_text(f'build:\n  python_version: "3.11"\nrun: "models.py:{model}"\n')
            schema = subprocess.run([COG, "schema"], cwd=project, check=True, capture_output=True).stdout
            (project / ".cog/openapi_schema.json").write_bytes(schema)
        return project

    # Each gives one round's figures of one server.

    def echo(self, name: str) -> Figures:
        with self.server(name, "Echo") as server:
            connection, request = Connection(server.port), prediction({"text": "world"})
            latencies: list[float] = []
            refused = 0
            for warm in (True, False):
                latencies, refused = [], 0
                cpu = server.cpu_seconds()
                started = now = time.perf_counter()
                while now - started < self.seconds * (0.3 if warm else 1):
                    answer = connection.send(request)
                    before, now = now, time.perf_counter()
                    if answer.status == 409:
                        refused += 1
                        continue
                    expect(b'"hello world"' in answer.body, answer.body)
                    latencies.append(now - before)
                elapsed = now - started
            cpu = server.cpu_seconds() - cpu
            return {
                "echo rate": len(latencies) / elapsed,
                "echo p50": percentile(latencies, 50) * 1e6,
                "echo p99": percentile(latencies, 99) * 1e6,
                "echo refused": 100 * refused / (refused + len(latencies)),
                "echo cpu": cpu / len(latencies) * 1e6,
            }

    def concurrent(self, name: str) -> Figures:
        with self.server(name, "Wait", slots=64) as server:
            request = prediction({"seconds": 0.01})
            many_clients(server.port, 64, request, self.seconds * 0.3)
            started = time.perf_counter()
            latencies, _ = many_clients(server.port, 64, request, self.seconds)
            elapsed = time.perf_counter() - started
            return {"async rate": len(latencies) / elapsed, "async p99": percentile(latencies, 99) * 1e3}

    def start(self, name: str) -> Figures:
        project = self._project("Echo")
        server = Server(name, self.environments[name], project, "Echo")
        listening = server.wait_listening()
        ready = server.wait_ready()
        time.sleep(0.5)
        memory = server.pss_mib()
        return {
            "listening": listening * 1e3,
            "ready": ready * 1e3,
            "idle memory": memory,
            "exit": server.stop() * 1e3,
        }

    def yields(self, name: str) -> Figures:
        with self.server(name, "Tokens") as server:
            document = timed(lambda: answered(server, {"count": 10_000}))
            expect(len(document.value) == 10_000, b"tokens are missing")
            request = prediction({"count": 10_000}, "Accept: text/event-stream")
            started, events = watched(server, request)
            text = b"".join(events)
            elapsed = time.perf_counter() - started
            return {"yields": document.seconds * 1e3, "events": text.count(b"event: output\n") / elapsed}

    def first_token(self, name: str) -> Figures:
        with self.server(name, "SlowTokens") as server:
            started, events = watched(server, prediction({"count": 20}, "Accept: text/event-stream"))
            for piece in events:
                if b"event: output\n" in piece:
                    break
            return {"first token": (time.perf_counter() - started) * 1e3}

    def data_in(self, name: str) -> Figures:
        with self.server(name, "Size") as server:
            content = base64.b64encode(os.urandom(32 * MIB)).decode()
            request = prediction({"file": f"data:application/octet-stream;base64,{content}"})
            small = prediction({"file": "data:text/plain;base64,aGVsbG8="})
            taken(server, small)
            before = server.reset_peak()
            answer = timed(lambda: taken(server, request))
            expect(json.loads(answer.value.body)["output"] == 32 * MIB, answer.value.body)
            peak = server.peak_mib()
            connection, files = Connection(server.port), server.files_left()
            for _ in range(100):
                while connection.send(small).status == 409:
                    pass
            time.sleep(0.1)
            return {
                "data in": answer.seconds * 1e3,
                "data in memory": peak - before,
                "files": server.files_left() - files,
            }

    def data_out(self, name: str) -> Figures:
        with self.server(name, "File") as server:
            answered(server, {"size": 1024})
            before = server.reset_peak()
            output = timed(lambda: taken(server, prediction({"size": 32 * MIB})))
            peak = server.peak_mib()
            expect(len(output.value.body) > 32 * MIB * 4 // 3, output.value.body[:200])
            return {"data out": output.seconds * 1e3, "data out memory": peak - before}

    def text_out(self, name: str) -> Figures:
        with self.server(name, "Text") as server:
            answered(server, {"size": 10})
            output = timed(lambda: taken(server, prediction({"size": 8 * MIB})))
            expect(len(output.value.body) > 8 * MIB, output.value.body[:200])
            return {"text out": output.seconds * 1e3}

    def log_lines(self, name: str) -> Figures:
        with self.server(name, "Lines") as server:
            answered(server, {"count": 10})
            answer = timed(lambda: taken(server, prediction({"count": 20_000})))
            lines = json.loads(answer.value.body)["logs"].count("of a log\n")
            expect(lines == 20_000, f"{lines} lines".encode())
            return {"log lines": answer.seconds * 1e3}

    def object(self, name: str) -> Figures:
        with self.server(name, "Object") as server:
            value = {f"key {number}": {"text": "x" * 950, "numbers": [number, 1.5]} for number in range(200)}
            request, connection = prediction({"value": value}), Connection(server.port)
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < self.seconds:
                answer = connection.send(request)
                if answer.status != 409:
                    count += 1
            elapsed = time.perf_counter() - started
            expect(answer.status == 409 or json.loads(answer.body)["output"] == value, answer.body[:200])
            return {"object": count / elapsed}

    def refusals(self, name: str) -> Figures:
        figures = {}
        with self.server(name, "Wait") as server:
            connection = Connection(server.port)
            connection.send(prediction({"seconds": 30}, "Prefer: respond-async"))
            figures["409"] = self._refused(connection, prediction({"seconds": 0}), 409)
        with self.server(name, "Count") as server:
            figures["422"] = self._refused(Connection(server.port), prediction({"number": "x"}), 422)
        return figures

    def _refused(self, connection: Connection, request: bytes, status: int) -> float:
        times = []
        for _ in range(2000):
            answer = timed(lambda: connection.send(request))
            expect(answer.value.status == status, answer.value.body)
            times.append(answer.seconds)
        return statistics.median(times) * 1e6

    def growth(self, name: str) -> Figures:
        with self.server(name, "Echo") as server:
            connection, request = Connection(server.port), prediction({"text": "world"})
            figures = []
            for _ in range(2):
                done = 0
                while done < 3000:
                    done += connection.send(request).status == 200
                figures.append(server.pss_mib() * 1024)
            return {"growth": (figures[1] - figures[0]) / 3}


@dataclass
class Timed(Generic[T]):
    value: T
    seconds: float


def timed(action: Callable[[], T]) -> Timed[T]:
    started = time.perf_counter()
    value = action()
    return Timed(value, time.perf_counter() - started)


def taken(server: Server, request: bytes) -> Answer:
    """The answer to a request on a connection of its own, sent again while the server says that it has no room."""
    while True:
        answer = Connection(server.port).send(request)
        if answer.status != 409:
            return answer


def watched(server: Server, request: bytes) -> tuple[float, Iterator[bytes]]:
    """When a request for events was sent, and the events; sent again while the server says that it has no room."""
    while True:
        connection = Connection(server.port)
        started = time.perf_counter()
        events = connection.events(request)
        if events is not None:
            return started, events


def answered(server: Server, inputs: dict[str, object]) -> object:
    """The output of a prediction that succeeds."""
    answer = taken(server, prediction(inputs))
    document = json.loads(answer.body)
    expect(document.get("status") == "succeeded", answer.body[:300])
    return document["output"]


def expect(holds: bool, found: bytes) -> None:
    if not holds:
        sys.exit(f"a wrong answer: {found.decode(errors='replace')}")


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


@dataclass
class Row:
    budget: Budget
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else float("nan")

    @property
    def missed(self) -> bool:
        budget = self.budget
        if budget.absolute is not None:
            return self.ours > budget.absolute
        return (budget.at_most is not None and self.ratio > budget.at_most) or (
            budget.at_least is not None and self.ratio < budget.at_least
        )

    @property
    def cells(self) -> list[str]:
        budget = self.budget
        limit = (
            f"at most {budget.absolute:g}"
            if budget.absolute is not None
            else f"<= {budget.at_most:g}x"
            if budget.at_most is not None
            else f">= {budget.at_least:g}x"
        )
        ratio = "-" if budget.absolute is not None else f"{self.ratio:.2f}x"
        figures = [f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" for value in (self.ours, self.theirs)]
        return [budget.title, *(f"{figure} {budget.unit}".strip() for figure in figures), ratio, limit]


def measured(group: Callable[[str], Figures], rounds: int) -> Iterator[Row]:
    """The rows of a group: the medians of its rounds."""
    names = ["ours", "published", *(["hop"] if group.__name__ == "echo" else [])]
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for _ in range(rounds):
        for name, figures in found.items():
            for figure, value in group(name).items():
                figures.setdefault(figure, []).append(value)
    medians = {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in found.items()
    }
    for figure, ours in medians["ours"].items():
        yield Row(BUDGETS[figure], ours, medians["published"][figure])
    for figure, budget in HOP_BUDGETS.items():
        if "hop" in medians:
            yield Row(budget, medians["ours"][figure], medians["hop"][figure])
    for figure, (budget, limit) in LIMITS.items():
        if figure in medians["ours"]:
            yield Row(budget, medians["ours"][figure], limit)


def page(rows: list[Row], rounds: int) -> str:
    cpus = os.cpu_count()
    lines = [
        "# Performance",
        "",
        f"Written by `make bench-runtime ARGS=--write`: this server beside the published one (`cog=={PUBLISHED}`, "
        f"`coglet=={PUBLISHED}`), the same models, client and interpreter, in one run. A bare hop is the smallest Rust "
        f"HTTP server and Python process that answer the echo (`benches/bare-hop`). Each figure is the median of "
        f"{rounds} rounds that take turns. Absolute figures depend on the machine; the ratios are what holds.",
        "",
        f"{cpus} processors, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}.",
        "",
        "| what | ours | published, or the peer named | ratio | budget |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row.cells)}{' **missed**' if row.missed else ''} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="how long the rates are measured")
    parser.add_argument("--only", default="", help="measure the groups whose name contains this")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(REPOSITORY)}")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="cog-bench-") as directory:
        bench = Bench(Path(directory), arguments.seconds)
        groups = (
            bench.echo,
            bench.concurrent,
            bench.start,
            bench.yields,
            bench.first_token,
            bench.data_in,
            bench.data_out,
            bench.text_out,
            bench.log_lines,
            bench.object,
            bench.refusals,
            bench.growth,
        )
        for group in groups:
            if arguments.only not in group.__name__:
                continue
            for row in measured(group, arguments.rounds):
                rows.append(row)
                title, *cells = row.cells
                print(f"{title:<58}", *(f"{cell:>16}" for cell in cells), "  MISSED" if row.missed else "", flush=True)
    if arguments.write:
        PAGE.write_text(page(rows, arguments.rounds))
    if any(row.missed for row in rows):
        sys.exit("a budget is missed")


if __name__ == "__main__":
    main()

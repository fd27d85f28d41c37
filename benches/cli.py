"""What a user of the command line waits for: starting, running, editing, and the cost of its own load generator."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness import COG, REPOSITORY, Row, free_port, medians, post, run, seconds, wait_ready

if TYPE_CHECKING:
    from run import Bench

PLAYGROUND = REPOSITORY / "playground"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MODEL = "hello-world"
INPUTS = {"text": "world"}
LOAD_SECONDS = 5
PATIENCE_SECONDS = 30
#: A script of wrk's that sends a prediction.
REQUEST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"input": {"text": "world"}}'
"""


class CommandLine:
    """Groups of rows about the command line."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.project = bench.projects[MODEL]

    def starts(self) -> Iterator[Row]:
        rounds = self.bench.rounds * 5
        version, help_ = medians(rounds, lambda: self.bench.cog("--version"), lambda: self.bench.cog("--help"))
        yield Row("cog --version", version * 1000, 10, "limit", 1.0, "ms")
        yield Row("cog --help", help_ * 1000, 10, "limit", 1.0, "ms")

    def warm_run(self) -> Iterator[Row]:
        yield from self.bench.warm(MODEL, "import + 60 ms", lambda imported: imported + 0.06)

    def beside_serve(self) -> Iterator[Row]:
        with self.serving() as port:
            ours = lambda: self.bench.cog("run", "-itext=world", project=MODEL)
            theirs = lambda: post(port, INPUTS)
            ours(), theirs()
            mine, peer = medians(self.bench.rounds, ours, theirs)
        yield Row("cog run beside cog serve against the prediction + 30 ms", mine, peer + 0.03, "limit", 1.0)

    def watch(self) -> Iterator[Row]:
        model = self.project / "run.py"
        text = model.read_text()
        with self.serving("--watch") as port:
            times = [seconds(lambda: self.save(model, text, port)) for _ in range(self.bench.rounds)]
        model.write_text(text)
        yield Row("cog serve --watch, from saving to the new answer", statistics.median(times), 1.0, "limit", 1.0)

    def save(self, model: Path, text: str, port: int) -> None:
        """Saves another greeting, and asks until it is answered."""
        greeting = f"hello-{time.time_ns()}"
        model.write_text(text.replace('"hello"', repr(greeting)))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while post(port, INPUTS).get("output") != f"{greeting} world":
            if time.monotonic() > deadline:
                raise SystemExit("the changed model is not served")
            time.sleep(0.002)

    def load(self) -> Iterator[Row]:
        wrk = shutil.which("wrk")
        if wrk is None:
            print("skipped: wrk is not installed (apt-get install wrk)")
            return
        script = self.bench.work / "request.lua"
        script.write_text(REQUEST)
        ours: list[float] = []
        theirs: list[float] = []
        with self.serving() as port:
            url = f"http://127.0.0.1:{port}"
            for _ in range(max(3, self.bench.rounds // 3)):
                done = self.bench.cog(
                    "bench", url, "-itext=world", "--concurrency", "1", f"--duration={LOAD_SECONDS}", "--json"
                )
                ours.append(json.loads(done)["per_second"])
                said = run([wrk, "-t1", "-c1", f"-d{LOAD_SECONDS}s", "-s", script, f"{url}/predictions"])
                found = re.search(r"Requests/sec:\s+([\d.]+)", said)
                assert found and "Non-2xx" not in said, said
                theirs.append(float(found[1]))
        mine, peer = statistics.median(ours), statistics.median(theirs)
        yield Row("wrk, one client, answered", peer, mine, "cog bench", 1 / 0.7, "/s")

    def page(self) -> Iterator[Row]:
        files = (PLAYGROUND / "dist").iterdir()
        size = sum(len(gzip.compress(path.read_bytes())) for path in files)
        yield Row("page of cog playground, compressed", size / 1000, 300, "limit", 1.0, "KB")
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None or shutil.which("node") is None:
            print("skipped: the page in a browser (apt-get install chromium nodejs)")
            return
        if not (PLAYGROUND / "node_modules/playwright-core").exists():
            print("skipped: the page in a browser (no npm packages in playground/node_modules, see scripts/setup)")
            return
        port = free_port()
        with self.serving("--playground", "--playground-port", str(port)):
            env = {
                "BROWSER_PROGRAM": browser,
                "PAGE": f"http://127.0.0.1:{port}",
                # The first one is the browser's own.
                "ROUNDS": str(self.bench.rounds + 1),
            }
            times = json.loads(run(["node", PLAYGROUND / "tests/ready.mjs"], env=env))[1:]
        ready = statistics.median(times) / 1000
        yield Row("page of cog playground, ready in headless Chromium", ready, 1.0, "limit", 1.0)

    @contextmanager
    def serving(self, *flags: str) -> Iterator[int]:
        """`cog serve` of the project, as long as it is asked."""
        port = free_port()
        server = subprocess.Popen(
            [COG, "serve", "-p", str(port), *flags],
            cwd=self.project,
            env={**os.environ, **self.bench.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_ready(port)
            yield port
        finally:
            server.terminate()
            server.wait()

"""A prediction while it runs: what is shown of it and when, and what stops it. Nothing here is a matter of time: the
models wait for files, their gates."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import pytest
from support import COG, Project, processes_with

PATIENCE_SECONDS = 120
ENGINES = pytest.mark.parametrize("engine", ["embedded", "host"])

MODEL = """
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from cog import BaseRunner


def wait_for(name: str) -> None:
    while not os.path.exists(name):
        time.sleep(0.005)


class Runner(BaseRunner):
    def setup(self) -> None:
        if os.environ.get("SETUP") == "endless":
            print("looking for the weights", flush=True)
            open("in-setup", "w").close()
            wait_for("never")
        if os.environ.get("SETUP") == "long":
            print("loading", flush=True)
            os.system("echo from a program")
            wait_for("loaded")
            print("loaded", file=sys.stderr, flush=True)
            wait_for("go")
        if os.environ.get("SETUP") == "broken":
            print("loading", flush=True)
            raise RuntimeError("no weights")

    def run(self, what: str) -> Iterator[Any]:
        if what == "steps":
            yield "one\\ntwo"
            print("between", flush=True)
            wait_for("go")
            yield {"three": [4]}
        if what == "failure":
            yield 1
            raise ValueError("broken half-way")
        if what == "nothing":
            return
        if what == "endless":
            try:
                while True:
                    yield "more"
            finally:
                open("cleared-up", "w").close()
        if what == "lines":
            for number in range(20_000):
                print(f"line {number}", file=sys.stderr if number % 2 else sys.stdout)
        if what == "flood":
            for number in range(64 << 10):
                print(f"line {number} " + "x" * 1000)
            open("all-yielded", "w").close()
        if what == "chunks":
            for number in range(2000):
                yield f"{number}" * 10_000
            open("all-yielded", "w").close()
        if what == "large":
            yield "x" * (20 << 20)
        if what == "odd":
            yield "\\u2028 \\r\\n \\x1b[0m é \\U0001f600"
        if what == "kill the server":
            yield 1
            wait_for("go")
            os.kill(os.getppid(), signal.SIGKILL)
            wait_for("never")
        if what in ("stop", "go on"):
            try:
                yield 1
                print("running", flush=True)
                wait_for("never")
            finally:
                print("clearing up", flush=True)
                if what == "go on":
                    wait_for("never")
                open("cleared-up", "w").close()
"""


def project(directory: Path) -> Project:
    directory.mkdir()
    config = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
    return Project(directory).write(cog__yaml=config, run__py=MODEL)


class Run:
    """`cog run` under way."""

    def __init__(
        self,
        project: Project,
        what: str,
        *flags: str,
        engine: str = "embedded",
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.child = subprocess.Popen(
            [COG, "run", "-i", f"what={what}", "-e", f"MARK={project.directory}", *flags],
            cwd=project.directory,
            env=project.environment(COG_ENGINE=engine),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        self.stdout, self.stderr = Reading(self.child.stdout), Reading(self.child.stderr)

    def ends(self) -> tuple[int, str, str]:
        status = self.child.wait(PATIENCE_SECONDS)
        return status, self.stdout.rest(), self.stderr.rest()


class Reading:
    """Reads all the time what we were given to read, so that nobody waits for us."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.said = b""
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream: IO[bytes] | None) -> None:
        while stream is not None and (piece := os.read(stream.fileno(), 1 << 16)):
            with self.news:
                self.said += piece
                self.news.notify_all()

    def until(self, text: str) -> str:
        with self.news:
            found = self.news.wait_for(lambda: text.encode() in self.said, PATIENCE_SECONDS)
            assert found, self.said
            return self.said.decode()

    def rest(self) -> str:
        self.thread.join(PATIENCE_SECONDS)
        return self.said.decode()


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


@ENGINES
def test_items_and_logs_are_shown_as_they_come(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    run = Run(model, "steps", engine=engine)
    assert run.stdout.until('"one\\ntwo"') == '[\n  "one\\ntwo"'
    run.stderr.until("between\n")
    (model.directory / "go").touch()
    status, stdout, stderr = run.ends()
    assert (status, stdout) == (0, as_json(["one\ntwo", {"three": [4]}])), stderr
    assert stderr.count("between") == 1


def test_what_goes_elsewhere_comes_at_the_end_and_whole(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    (model.directory / "go").touch()
    output = ["one\ntwo", {"three": [4]}]
    done = model.cog("run", "-i", "what=steps", "-o", "out.json").works()
    assert (model.directory / "out.json").read_text() + "\n" == as_json(output)
    assert done.stdout == ""
    done = model.cog("run", "-i", "what=steps", "-o", "-").works()
    assert done.stdout == as_json(output)
    done = model.cog("run", "--json", '{"what": "steps"}').works()
    assert json.loads(done.stdout)["output"] == output
    assert model.cog("run", "-i", "what=nothing").works().stdout == "[]\n"
    done = model.cog("run", "-i", "what=odd").works()
    assert json.loads(done.stdout) == ["\u2028 \r\n \x1b[0m é \U0001f600"]


@ENGINES
def test_a_failure_half_way_leaves_no_whole_list(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    done = model.cog("run", "-i", "what=failure", COG_ENGINE=engine)
    assert (done.status, done.stdout) == (1, "[\n  1\n"), done
    assert 'Prediction failed with status "failed"' in done.stderr
    assert "ValueError: broken half-way" in done.stderr
    done = model.cog("run", "--json", '{"what": "failure"}', COG_ENGINE=engine)
    document = json.loads(done.stdout)
    assert (done.status, document["status"], document["output"]) == (1, "failed", None), done


@ENGINES
def test_who_has_enough_of_the_output_ends_it(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    ours, theirs = os.pipe()
    run = Run(model, "endless", engine=engine, stdout=theirs)
    os.close(theirs)
    assert os.read(ours, 1) == b"["
    os.close(ours)
    status, _, stderr = run.ends()
    assert status == 0, stderr
    assert (model.directory / "cleared-up").exists()


def test_in_one_file_logs_do_not_run_into_the_list(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    (model.directory / "go").touch()
    status, said, _ = Run(model, "steps", stderr=subprocess.STDOUT).ends()
    assert status == 0
    assert "between" in said.splitlines(), said


@ENGINES
def test_a_long_setup_is_seen_to_go_on(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    run = Run(model, "nothing", "-e", "SETUP=long", engine=engine)
    run.stderr.until("\nloading\n")
    run.stderr.until("from a program\n")
    # When nothing is said, that is said.
    run.stderr.until("Running setup() (")
    (model.directory / "loaded").touch()
    run.stderr.until("\nloaded\n")
    (model.directory / "go").touch()
    status, stdout, stderr = run.ends()
    assert (status, stdout) == (0, "[]\n"), stderr
    assert stderr.count("loading\n") == 1, "each line once"


@ENGINES
def test_what_a_broken_setup_has_said_is_told_once(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    done = model.cog("run", "-i", "what=nothing", "-e", "SETUP=broken", COG_ENGINE=engine)
    assert done.status == 1
    lines = done.stderr.splitlines()
    assert lines.count("loading") == 1, done
    assert sum("Traceback" in line for line in lines) == 1, done
    assert done.stderr.count("RuntimeError: no weights") == 1, done
    assert "Model setup failed" in done.stderr
    quiet = model.cog("run", "-i", "what=nothing", "-e", "SETUP=broken", "--progress", "quiet", COG_ENGINE=engine)
    assert quiet.stderr.count("loading") == 1, "with the failure"


def test_a_terminal_shows_how_long_setup_takes(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    outer, inner = pty.openpty()
    child = subprocess.Popen(
        [COG, "run", "-i", "what=nothing", "-e", "SETUP=long"],
        cwd=model.directory,
        env={name: value for name, value in model.environment().items() if name != "NO_COLOR"} | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=inner,
    )
    os.close(inner)
    said = b""
    while not re.search(rb"Running setup\(\) +[12]s", said):
        said += os.read(outer, 1 << 16)
    assert b"loading\r\n" in said
    for name in ["loaded", "go"]:
        (model.directory / name).touch()
    try:
        while piece := os.read(outer, 1 << 16):
            said += piece
    except OSError:
        # The other side is closed.
        pass
    assert child.wait(PATIENCE_SECONDS) == 0, said
    assert b"loaded\r\n" in said, said


def test_a_setup_that_takes_too_long_is_told_with_what_it_printed(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    model.cog("run", "-i", "what=nothing").works()
    done = model.cog("run", "-i", "what=nothing", "-e", "SETUP=endless", "--setup-timeout", "2")
    assert done.status == 1
    assert "Timed out: setup takes longer than 2 s" in done.stderr
    assert "looking for the weights" in done.stderr


def test_no_line_is_lost(tmp_path: Path) -> None:
    done = project(tmp_path / "project").cog("run", "-i", "what=lines").works()
    lines = [line for line in done.stderr.splitlines() if line.startswith("line ")]
    assert sorted(lines) == sorted(f"line {number}" for number in range(20_000))


def test_a_reader_that_waits_gets_everything_in_the_end(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    # A pipe holds little, and nobody reads it before all of the 70 MiB are yielded.
    reader, writer = os.pipe()
    run = Run(model, "chunks", stdout=writer)
    os.close(writer)
    wait_for(model.directory / "all-yielded")
    with open(reader, "rb") as stdout:
        output = json.load(stdout)
    status, _, stderr = run.ends()
    assert status == 0, stderr
    assert output == [f"{number}" * 10_000 for number in range(2000)]


def test_logs_that_nobody_reads_are_cut_and_not_kept(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    reader, writer = os.pipe()
    run = Run(model, "flood", stderr=writer)
    os.close(writer)
    wait_for(model.directory / "all-yielded")
    with open(reader, encoding="utf-8") as stream:
        stderr = stream.read()
    assert run.ends()[:2] == (0, "[]\n")
    left_out = [int(size) for size in re.findall(r"\[\*\*\*\* (\d+) BYTES OF LOG LEFT OUT", stderr)]
    assert "line 0 x" in stderr
    assert len(stderr) < 48 << 20
    printed = sum(len(f"line {number} ") + 1001 for number in range(64 << 10))
    assert len(stderr) + sum(left_out) >= printed


def test_a_large_item_comes_whole(tmp_path: Path) -> None:
    done = project(tmp_path / "project").cog("run", "-i", "what=large").works()
    assert done.stdout == as_json(["x" * (20 << 20)])


@ENGINES
def test_a_server_that_dies_is_told(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    run = Run(model, "kill the server", engine=engine)
    run.stdout.until("1")
    (model.directory / "go").touch()
    status, stdout, stderr = run.ends()
    assert (status, stdout) == (1, "[\n  1\n"), stderr
    assert "Container exited unexpectedly (status 137)" in stderr
    assert processes_with(str(model.directory)) == []


@ENGINES
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_and_the_model_clears_up(tmp_path: Path, engine: str, number: signal.Signals) -> None:
    model = project(tmp_path / "project")
    run = Run(model, "stop", engine=engine)
    run.stderr.until("running\n")
    run.child.send_signal(number)
    status, stdout, stderr = run.ends()
    assert (status, stdout) == (-number, "[\n  1"), stderr
    assert "Canceling: waiting up to 10 s" in stderr
    assert "clearing up\n" in stderr
    assert (model.directory / "cleared-up").exists()
    assert processes_with(str(model.directory)) == []


@ENGINES
def test_a_second_signal_ends_at_once(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    run = Run(model, "go on", engine=engine)
    run.stderr.until("running\n")
    run.child.send_signal(signal.SIGINT)
    run.stderr.until("clearing up\n")
    run.child.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert run.ends()[0] == -signal.SIGINT
    assert time.monotonic() - began < 8, "no grace is waited for"
    assert processes_with(str(model.directory)) == []


@ENGINES
def test_a_signal_in_setup_ends_it(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    run = Run(model, "nothing", "-e", "SETUP=endless", engine=engine)
    wait_for(model.directory / "in-setup")
    run.child.send_signal(signal.SIGINT)
    assert run.ends()[0] == -signal.SIGINT
    assert processes_with(str(model.directory)) == []


def test_a_signal_counts_even_if_nobody_reads_our_output(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    reader, writer = os.pipe()
    run = Run(model, "chunks", stdout=writer)
    os.close(writer)
    wait_for(model.directory / "all-yielded")
    run.child.send_signal(signal.SIGINT)
    assert run.child.wait(PATIENCE_SECONDS) == -signal.SIGINT
    os.close(reader)


def test_on_a_terminal_logs_do_not_run_into_the_list(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    (model.directory / "go").touch()
    outer, inner = pty.openpty()
    child = subprocess.Popen(
        [COG, "run", "-i", "what=steps"],
        cwd=model.directory,
        env=model.environment(),
        stdin=subprocess.DEVNULL,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    said = b""
    try:
        while piece := os.read(outer, 1 << 16):
            said += piece
    except OSError:
        # The other side is closed.
        pass
    assert child.wait(PATIENCE_SECONDS) == 0, said
    assert b'  "one\\ntwo"\r\nbetween\r\n' in said, said

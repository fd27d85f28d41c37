"""`cog bench`: load on the project, on an image and on a server that runs; what it tells, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import COG, Project

MODEL = """\
from typing import Iterator

import cog


class Runner:
    def setup(self) -> None:
        self.asked = 0

    @cog.streaming
    def run(self, text: str, fails_after: int = 1000000) -> Iterator[str]:
        self.asked += 1
        if self.asked > fails_after:
            raise ValueError("enough")
        yield text
        yield text
"""
CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).write(cog__yaml=CONFIG, run__py=MODEL)


@pytest.mark.parametrize("engine", ["embedded", "host"])
def test_the_project_is_measured(project: Project, engine: str) -> None:
    done = project.cog(
        "bench", "-i", "text=x", "-n", 20, "-c", 2, "-e", "COG_QUEUE=8", "--json", COG_ENGINE=engine
    ).works()
    found = json.loads(done.stdout)
    assert (found["succeeded"], found["failed"], found["unsent"]) == (20, 0, 0)
    assert found["concurrency"] == 2
    assert "rate" not in found
    assert found["statuses"] == {"200": 20}
    times = found["latency_ms"]
    assert 0 < times["min"] <= times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert sum(row["count"] for row in found["histogram"]) == 20


def test_people_get_a_picture(project: Project) -> None:
    done = project.cog("bench", "-i", "text=x", "-n", 10, COG_ENGINE="host").works()
    assert "10 succeeded, 0 failed" in done.stdout
    assert re.search(r"latency +p50 .* max ", done.stdout)
    assert "█" in done.stdout


def test_an_image_is_measured(project: Project) -> None:
    project.cog("build", "-t", "bench-image").works()
    done = project.cog("bench", "bench-image", "-i", "text=x", "-n", 3).works()
    assert "3 succeeded" in done.stdout


def test_a_server_is_measured_at_a_rate_and_to_its_first_output(project: Project) -> None:
    server = Server(project)
    try:
        arguments = ["bench", server.url, "-i", "text=x", "--rate", 40, "-d", 0.5, "--stream", "--json"]
        found = json.loads(project.cog(*arguments).works().stdout)
    finally:
        server.stop()
    assert found["rate"] == 40.0
    # The model takes one at a time, and on a busy machine two are due at once.
    assert found["succeeded"] + found["failed"] == 20
    assert found["succeeded"] > 0
    assert found["first_output_ms"]["min"] > 0
    assert found["outputs_per_second"] > found["per_second"]


def test_failures_are_counted_with_their_reason(project: Project) -> None:
    done = project.cog("bench", "-i", "text=x", "-i", "fails_after=3", "-n", 5, COG_ENGINE="host").works()
    assert "2 succeeded, 3 failed" in done.stdout
    assert "failed        3 Prediction failed: ValueError: enough" in done.stdout


def test_a_first_prediction_that_fails_is_told_and_nothing_measured(project: Project) -> None:
    done = project.cog("bench", "-i", "text=x", "-i", "fails_after=0", COG_ENGINE="host")
    done.fails_with("the first prediction, which is not measured, failed: Prediction failed: ValueError: enough\n")
    assert done.stdout == ""


def test_answers_before_the_result_are_no_results(project: Project) -> None:
    done = project.cog("bench", "-i", "text=x", "-H", "Prefer: respond-async", COG_ENGINE="host")
    done.fails_with("failed: the answer is not the result: its status is `starting`\n")


def test_stopping_shows_what_was_measured(project: Project) -> None:
    command = [str(COG), "bench", "-i", "text=x", "-d", "600"]
    process = subprocess.Popen(
        command,
        cwd=project.directory,
        env=project.environment(COG_ENGINE="host"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "answers" in line:
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert ", interrupted" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://127.0.0.1:1"], "no answer from http://127.0.0.1:1/openapi.json"),
        (["ftp://x"], "it has to begin with http:// or https://"),
        (["-i", "nope=1"], 'unknown input "nope"'),
        ([], 'missing required input "text"'),
        (["-i", "text=x", "--rate", "0"], "must be more than 0"),
        (["-i", "text=x", "-H", "secret"], "has to be `NAME: VALUE`"),
        (["no-such-image", "-i", "text=x"], "no-such-image"),
    ],
)
def test_mistakes_are_told_before_anything_starts(project: Project, arguments: list[str], message: str) -> None:
    done = project.cog("bench", *arguments, COG_REGISTRY_HOST="127.0.0.1:1")
    done.fails_with(message)
    assert "setup()" not in done.stderr


class Server:
    """`cog serve` of the project on a free port."""

    def __init__(self, project: Project) -> None:
        self.process = subprocess.Popen(
            [str(COG), "serve", "--port", "0"],
            cwd=project.directory,
            env=project.environment(COG_ENGINE="host"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.url = ""
        for line in self.process.stderr:
            if found := re.search(r"Serving at (http://\S+)", line):
                self.url = found[1]
                break
        # Nobody reads on, and it has to end all the same.
        os.set_blocking(self.process.stderr.fileno(), False)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.process.poll() is None:
            self.process.kill()

"""Synchronous models that several threads call at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cog
import pytest

Start = Callable[..., Any]

MODEL = """
import threading, time
import cog
from cog import BaseRunner, current_scope

def wait(event):
    if not event.wait(20):
        raise TimeoutError

class Runner(BaseRunner):
    def setup(self):
        self.barrier = threading.Barrier(2, timeout=20)
        self.begun = threading.Event()

    @cog.concurrent(max=2, threads=True)
    def run(self, name: str, how: str = "") -> str:
        print("begun", name)
        current_scope().record_metric("name", name)
        if how == "meet":
            self.barrier.wait()
            print(name, "has met", end="")
        if how == "loop":
            self.begun.set()
            while True:
                time.sleep(0.001)
        if how == "print":
            self.begun.set()
            while True:
                print("again and again")
        if how == "start":
            self.begun.set()
            while True:
                threading.Thread(target=int).start()
        if how == "after":
            wait(self.begun)
        if how == "raise":
            raise ValueError(name)
        return name
"""


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


def logs(frames: list[dict[str, Any]], prediction: str) -> str:
    return "".join(f["data"] for f in frames if f["type"] == "log" and f["id"] == prediction)


def begin(worker: Any, number: str, **inputs: object) -> None:
    worker.send(type="predict", id=number, input={"name": number, **inputs}, context={}, files={})


def until_done(worker: Any, count: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    frames: list[dict[str, Any]] = []
    while kinds(frames).count("done") < count:
        frames.append(worker.receive())
    return frames, {frame["id"]: frame for frame in frames if frame["type"] == "done"}


def test_two_run_at_once_and_keep_their_logs_and_metrics_apart(worker: Start) -> None:
    started = worker(MODEL, slots=2)
    ready = started.ready()
    assert ready[0]["cancel_frames"] is True
    for number in "12":
        begin(started, number, how="meet")
    frames, done = until_done(started, 2)
    for number in "12":
        assert done[number]["output"] == number
        assert logs(frames, number) == f"begun {number}\n{number} has met"
        metrics = [frame["value"] for frame in frames if frame["type"] == "metric" and frame["id"] == number]
        assert metrics == [number]


@pytest.mark.parametrize("how", ["loop", "print", "start"])
def test_one_is_canceled_and_the_other_goes_on(worker: Start, how: str) -> None:
    started = worker(MODEL, slots=2)
    started.ready()
    begin(started, "1", how=how)
    begin(started, "2", how="after")
    until = until_done(started, 1)[1]
    assert until["2"]["status"] == "succeeded"
    started.send(type="cancel", id="1")
    started.send(type="cancel", id="1")
    started.send(type="cancel", id="unknown")
    assert until_done(started, 1)[1]["1"]["status"] == "canceled"
    for number in ("3", "4", "5"):
        begin(started, number)
        assert until_done(started, 1)[1][number]["output"] == number


def test_one_that_has_not_begun_is_canceled(worker: Start) -> None:
    started = worker(MODEL, slots=2)
    started.ready()
    for number in range(50):
        begin(started, str(number), how="loop")
        started.send(type="cancel", id=str(number))
        assert until_done(started, 1)[1][str(number)]["status"] == "canceled"


def test_an_error_is_that_of_its_prediction(worker: Start) -> None:
    started = worker(MODEL, slots=2)
    started.ready()
    begin(started, "1", how="raise")
    frames, done = until_done(started, 1)
    assert done["1"]["error"] == "Prediction failed: ValueError: 1"
    assert "Traceback" in logs(frames, "1")


def test_what_runs_is_finished_before_the_end(worker: Start) -> None:
    started = worker(MODEL, slots=2)
    started.ready()
    begin(started, "1", how="meet")
    begin(started, "2", how="meet")
    started.send(type="shutdown")
    assert len(until_done(started, 2)[1]) == 2
    assert started.process.wait(10) == 0


def test_one_slot_needs_no_threads(worker: Start) -> None:
    started = worker(MODEL)
    assert started.ready()[0]["cancel_frames"] is False
    assert started.predict(name="1")[-1]["output"] == "1"


def test_the_decorator_says_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="requires an async function"):
        cog.concurrent(max=2)(lambda: None)
    with pytest.raises(TypeError, match="threads must be True or False"):
        cog.concurrent(max=2, threads=1)  # type: ignore[call-overload]

    async def run() -> None: ...

    with pytest.raises(TypeError, match="not async"):
        cog.concurrent(threads=True)(run)

"""Slots: cases 21-24 of the runtime specification."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Serve

FIVE = {"COG_MAX_CONCURRENCY": 5}


def test_case_21_one_slot(serve: Serve) -> None:
    server = serve("handlers.py:Gated")
    running = server.begin(s="x")
    server.until_file("runs")
    refused = server.post("/predictions", {"input": {"s": "y"}}).expect(409)
    assert refused == {"error": "At capacity - all prediction slots busy", "status": "failed"}
    assert server.status() == "BUSY"
    # What is wrong with the request is told first.
    assert server.post("/predictions", {"input": {"s": 1}}).status == 422
    server.touch("go")
    assert running.answer().expect(200)["output"] == "hello x"
    server.until_ready()


def test_case_21_slot_is_free_with_the_answer(shared: Serve) -> None:
    server = shared("echo.py:Runner")
    # Not by `output`, which is patient.
    statuses = [server.post("/predictions", {"input": {"s": "x"}}).status for _ in range(50)]
    assert statuses == [200] * 50


def test_case_22_parallel_predictions_and_shutdown(serve: Serve) -> None:
    server = serve("handlers.py:AsyncSleeps", env=FIVE)
    started = time.monotonic()
    running = [server.begin(n=n) for n in range(5)]
    time.sleep(0.2)
    assert server.post("/shutdown").expect(200) == {}
    outputs = [pending.answer().expect(200)["output"] for pending in running]
    assert outputs == [f"slept {n}" for n in range(5)]
    assert time.monotonic() - started < 3
    assert server.until_exit() == 0


def test_case_23_two_slots(serve: Serve) -> None:
    server = serve("handlers.py:AsyncSleeps", env={"COG_MAX_CONCURRENCY": 2})
    running = [server.begin(n=n, seconds=1.5) for n in range(2)]
    for n in range(2):
        server.until_file(f"running-{n}")
    refused = server.post("/predictions", {"input": {"n": 3}}).expect(409)
    assert refused["status"] == "failed"
    for pending in running:
        assert pending.answer().expect(200)["status"] == "succeeded"


def test_case_24_concurrent_logs_and_metrics(serve: Serve) -> None:
    server = serve("handlers.py:NamedMetrics", env=FIVE)
    names = ["a", "b", "c", "d", "e"]
    running = [server.begin(name=name) for name in names]
    for name, pending in zip(names, running, strict=True):
        done = pending.answer().expect(200)
        del done["metrics"]["predict_time"]
        assert done["metrics"] == {name: 5}
        assert done["logs"] == "".join(f"{name} {n}\n" for n in range(5))

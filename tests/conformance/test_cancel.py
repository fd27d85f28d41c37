"""Cancelation: cases 41-44 of the runtime specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Serve
    from harness.receiver import Receiver
    from harness.server import Server


def test_case_41_unknown_id(shared: Serve) -> None:
    server = shared("handlers.py:Iterates")
    for path in ("/predictions", "/trainings"):
        assert server.post(f"{path}/nobody/cancel").expect(404) == {}


def cancel_running(server: Server, receiver: Receiver) -> None:
    prediction_id = server.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    server.until_file("running")
    assert server.status() == "BUSY"
    assert server.cancel(prediction_id).expect(200) == {}
    completed = receiver.completed(5)
    assert completed["status"] == "canceled"
    assert completed["id"] == prediction_id
    assert "error" not in completed
    server.until_status("READY", seconds=5)
    # As long as its result is known, and never an error.
    again = server.cancel(prediction_id)
    assert again.status in (200, 404)
    assert again.json() == {}
    assert len(receiver.settled()) == 1


def test_case_42_cancel_busy_loop(serve: Serve, receiver: Receiver) -> None:
    server = serve("handlers.py:BusyLoop")
    cancel_running(server, receiver)
    assert (server.directory / "canceled").exists()
    assert (server.directory / "finally").exists()
    assert not (server.directory / "except-exception").exists()


def test_case_42_swallowed_cancel(serve: Serve, receiver: Receiver) -> None:
    cancel_running(serve("handlers.py:SwallowsCancel"), receiver)


def test_case_43_cancel_async(serve: Serve, receiver: Receiver) -> None:
    server = serve("handlers.py:AsyncForever")
    cancel_running(server, receiver)
    assert (server.directory / "canceled").exists()


def test_section_11_cancel_synchronous(serve: Serve) -> None:
    server = serve("handlers.py:BusyLoop")
    pending = server.send("POST", "/predictions", {"id": "mine", "input": {}})
    server.until_file("running")
    assert server.cancel("mine").status == 200
    done = pending.answer().expect(200)
    assert done["status"] == "canceled"
    assert "output" not in done
    assert isinstance(done["metrics"]["predict_time"], float)


def test_section_07_canceled_reply_has_its_logs(serve: Serve) -> None:
    server = serve("handlers.py:BusyLoop")
    pending = server.send("POST", "/predictions", {"id": "mine", "input": {}})
    server.until_file("running")
    server.cancel("mine")
    assert pending.answer().expect(200)["logs"] == "spinning\n"


def test_section_11_cancel_of_one_leaves_others(serve: Serve) -> None:
    server = serve("handlers.py:AsyncSleeps", env={"COG_MAX_CONCURRENCY": 2})
    pending = [server.send("PUT", f"/predictions/p{n}", {"input": {"n": n}}) for n in range(2)]
    for n in range(2):
        server.until_file(f"running-{n}")
    assert server.post("/trainings/p0/cancel").status == 200
    assert [one.answer().expect(200)["status"] for one in pending] == ["canceled", "succeeded"]


@pytest.mark.parametrize("model", ["BusyLoop", "AsyncForever"])
def test_case_44_client_hangs_up(serve: Serve, receiver: Receiver, model: str) -> None:
    server = serve(f"handlers.py:{model}")
    envelope = {"input": {}, "webhook": receiver.url(), "webhook_events_filter": ["completed"]}
    pending = server.send("POST", "/predictions", envelope)
    server.until_file("running")
    pending.hang_up()
    assert receiver.completed(10)["status"] == "canceled"
    server.until_status("READY", seconds=5)
    assert (server.directory / "canceled").exists()

"""The model's code inside the server's: nothing that its objects do ends a worker, takes a slot or harms another."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Serve
    from harness.receiver import Receiver
    from harness.server import Server

TWO = {"COG_MAX_CONCURRENCY": 2}
SIZES = [0, 1, 1000, 100_000, 0, 1000]


@pytest.mark.parametrize("model", ["Fails", "AsyncFails"])
@pytest.mark.parametrize("how", ["mute", "closed"])
def test_section_07_errors_that_cannot_be_told(shared: Serve, model: str, how: str) -> None:
    server = shared(f"foreign.py:{model}", env={"COG_MAX_CONCURRENCY": 1 if model == "Fails" else 2})
    error = server.failure(how=how)
    assert ("Mute" if how == "mute" else "ValueError: bad thing") in error
    server.until_status("READY", seconds=5)
    assert server.output(how="fine") == "fine"


def test_section_05_setup_with_a_loop_of_its_own(shared: Serve) -> None:
    assert shared("foreign.py:OwnLoop").output() == "loaded"


@pytest.mark.parametrize("model", ["Rewrites", "AsyncRewrites"])
def test_section_08_yielded_files_are_as_they_were_then(shared: Serve, model: str) -> None:
    output = shared(f"foreign.py:{model}").output()
    assert [len(base64.b64decode(url.partition(",")[2])) for url in output] == SIZES
    assert {url.partition(";")[0] for url in output} == {"data:text/plain"}


@pytest.mark.parametrize("model", ["Rewrites", "AsyncRewrites"])
def test_section_09_uploaded_files_are_as_they_were_then(
    serve: Serve, receive: Callable[..., Receiver], model: str
) -> None:
    from harness.receiver import Reply

    store = receive(lambda _: Reply(delay=0.1))
    server = serve(f"foreign.py:{model}", arguments=("--upload-url", store.url()))
    assert server.output() == [store.url("/out.txt")] * len(SIZES)
    assert sorted(len(request.body) for request in store.requests) == sorted(SIZES)


@pytest.mark.parametrize(("how", "code"), [("exit", 3), ("raise", 1), ("return", 0)])
def test_section_05_forked_child_that_leaves(shared: Serve, how: str, code: int) -> None:
    server = shared("foreign.py:Forks")
    assert [server.output(how=how) for _ in range(3)] == [code] * 3


@pytest.mark.parametrize(("how", "recorded"), [("nan", None), ("inner", [1.0, None])])
def test_section_15_metrics_that_are_no_json(shared: Serve, how: str, recorded: Any) -> None:
    prediction = shared("foreign.py:Metrics").predict(how=how)
    assert prediction["status"] == "succeeded"
    assert (prediction["metrics"].get("odd"), prediction["metrics"]["last"]) == (recorded, 1)


def test_section_15_metric_that_is_nested_deeply(shared: Serve) -> None:
    server = shared("foreign.py:Metrics")
    before = server.predict(how="nan")["status"], server.health()
    assert "Worker crashed" not in server.failure(how="deep")
    assert server.predict(how="nan")["status"] == before[0]
    assert server.health()["setup"]["started_at"] == before[1]["setup"]["started_at"], "the worker is the same"


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400])
def test_section_06_number_that_would_be_infinite(shared: Serve, number: str) -> None:
    server = shared("foreign.py:Echo")
    body = f'{{"input": {{"x": {number}}}}}'.encode()
    response = server.post("/predictions", body=body, headers={"Content-Type": "application/json"})
    assert response.status == 400
    assert "number out of range" in response.text
    assert server.output(x=1e300) == "1e+300"


def test_section_11_cancelation_that_a_loop_swallows(serve: Serve, receiver: Receiver) -> None:
    server = serve("foreign.py:InnerLoop")
    prediction = server.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    server.until_file("running")
    assert server.cancel(prediction).status == 200
    assert receiver.completed(15)["status"] == "canceled"
    server.until_status("READY", seconds=5)


def test_section_14_progress_without_a_line_end(shared: Serve) -> None:
    server = shared("foreign.py:Progress")
    started = time.monotonic()
    logs = server.predict(updates=40_000)["logs"]
    assert time.monotonic() - started < 5
    assert logs.count("\r") == 40_000


@pytest.mark.parametrize("where", ["stream", "child"])
def test_section_14_character_in_pieces(shared: Serve, where: str) -> None:
    server = shared("foreign.py:Pieces")
    logs = server.predict(where=where)["logs"]
    if where == "child" and not logs:
        eventually("it in the server's log", lambda: "é€" in str(server.log), 5)
    else:
        assert logs == "é€\n"


@pytest.mark.parametrize("how", ["exit", "stop"])
def test_section_07_background_task_that_leaves(serve: Serve, how: str) -> None:
    server = serve("foreign.py:LeavingTask", env=TWO)
    waiting = server.begin(how="wait")
    server.until_file("running")
    assert server.output(how=how) == "fine"
    assert waiting.answer().expect(200)["output"] == "fine"
    assert server.status() == "READY"


def test_section_04_healthcheck_that_leaves(start: Serve) -> None:
    server = start("foreign.py:LeavingCheck", env=TWO)
    error = server.until_status("UNHEALTHY")["user_healthcheck_error"]
    assert error == "Healthcheck failed: SystemExit: 3"
    waiting = server.begin(how="wait")
    server.until_file("running")
    assert server.status() == "UNHEALTHY"
    assert waiting.answer().expect(200)["output"] == "fine"


def test_section_13_child_that_is_no_daemon(serve: Serve) -> None:
    server = serve("foreign.py:Child")
    assert server.output() == "fine"
    started = time.monotonic()
    assert server.post("/shutdown").expect(200) == {}
    assert server.until_exit() == 0
    assert time.monotonic() - started < 5


def deaf(server: Server, name: str, seconds: float, **headers: str) -> Any:
    return server.send(
        "POST", "/predictions", {"id": name, "input": {"name": name, "seconds": seconds}}, headers=headers
    )


def test_own_limit_of_a_client_costs_no_other(serve: Serve) -> None:
    server = serve("foreign.py:Deaf", env=TWO)
    limited = deaf(server, "limited", 8, **{"Cog-Timeout": "0.2"})
    server.until_file("deaf-limited")
    other = deaf(server, "other", 8)
    assert other.answer().expect(200)["output"] == "other"
    assert limited.answer().expect(200)["error"] == "Prediction timed out after 0.2 s"


def test_canceled_prediction_that_goes_on_is_ended_when_it_is_alone(serve: Serve) -> None:
    server = serve("foreign.py:Deaf", env={**TWO, "COG_CANCEL_GRACE": 1})
    pending = deaf(server, "deaf", 3600)
    other = deaf(server, "other", 4)
    for name in ("deaf", "other"):
        server.until_file(f"running-{name}")
    server.cancel("deaf")
    assert other.answer().expect(200)["output"] == "other"
    assert pending.answer().expect(200)["status"] == "canceled"
    eventually("the reason in the log", lambda: "COG_CANCEL_GRACE" in str(server.log))
    server.until_ready()


def test_private_places(serve: Serve) -> None:
    server = serve("foreign.py:Places", wrapper=("sh", "-c", 'umask 000 && exec "$@"', "sh"))
    modes = server.output(file="data:text/plain,x", text="x" * 3_000_000)
    assert modes == {"input": "0o600", "directory": "0o700", "scratch": "0o700", "root": "0o700", "spill": "0o700"}


def test_section_14_child_that_prints_for_ever(serve: Serve) -> None:
    server = serve("foreign.py:Floods")
    assert server.output(how="flood") == "fine"
    for _ in range(3):
        asked = time.monotonic()
        assert server.status() == "READY"
        assert server.output() == "fine"
        assert time.monotonic() - asked < 10
    assert server.post("/shutdown").expect(200) == {}
    assert server.until_exit() == 0

"""Webhooks: cases 45-48 of the runtime specification."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from harness.receiver import TERMINAL, Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Serve
    from harness.server import Server


@pytest.fixture
def speaker(shared: Serve) -> Server:
    return shared("handlers.py:Speaks")


def report(server: Server, receiver: Receiver, events: list[str] | None, **inputs: Any) -> list[Any]:
    """The webhook bodies of a finished prediction."""
    envelope: dict[str, Any] = {"input": inputs, "webhook": receiver.url()}
    if events is not None:
        envelope["webhook_events_filter"] = events
    server.finish(envelope)
    return [request.json() for request in receiver.settled()]


def test_case_45_unreachable(serve: Serve) -> None:
    server = serve("echo.py:Runner")
    for _ in range(2):
        envelope = {"input": {"s": "x"}, "webhook": "http://127.0.0.1:1/hook"}
        assert server.finish(envelope)["output"] == "hello x"
        server.until_status("READY", seconds=2)
    assert server.output(s="y") == "hello y"


def test_case_46_retried(speaker: Server, receive: Callable[..., Receiver]) -> None:
    receiver = receive(lambda request: Reply(500 if request.number < 2 else 200))
    speaker.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    receiver.wait_for(3)
    first, second, third = receiver.settled(1)
    assert first.json() == second.json() == third.json()
    # 200 ms and 400 ms, less what a clock may be off.
    assert second.at - first.at >= 0.19
    assert third.at - second.at >= 0.38


def test_case_46_given_up(speaker: Server, receive: Callable[..., Receiver]) -> None:
    receiver = receive(lambda _: Reply(400))
    speaker.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    receiver.wait_for(1)
    assert len(receiver.settled(1)) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(429), Reply(502), Reply(503), Reply(504), Reply(hangs_up=True)],
    ids=["429", "502", "503", "504", "hangs up"],
)
def test_section_16_retried(speaker: Server, receive: Callable[..., Receiver], reply: Reply) -> None:
    receiver = receive(lambda request: Reply() if request.number else reply)
    speaker.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    receiver.wait_for(2, 5)
    assert len(receiver.settled()) == 2


@pytest.mark.parametrize("status", [401, 404, 501])
def test_section_16_given_up(speaker: Server, receive: Callable[..., Receiver], status: int) -> None:
    receiver = receive(lambda _: Reply(status))
    speaker.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    receiver.wait_for(1)
    assert len(receiver.settled(0.5)) == 1


def test_section_16_waits_longer_each_time(speaker: Server, receive: Callable[..., Receiver]) -> None:
    # The first six of thirteen attempts: to wait for all of them would take seven minutes.
    receiver = receive(lambda request: Reply(503 if request.number < 5 else 200))
    speaker.accept(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    times = [request.at for request in receiver.wait_for(6)]
    for retry in range(1, 6):
        waited = times[retry] - times[retry - 1]
        wanted = 0.1 * 2**retry
        # A clock may be off, a machine busy.
        assert 0.95 * wanted <= waited < wanted + 1, f"retry {retry} after {waited} s"


def test_section_16_others_are_not_retried(speaker: Server, receive: Callable[..., Receiver]) -> None:
    receiver = receive(lambda _: Reply(503))
    bodies = report(speaker, receiver, ["start", "output"], items=2)
    assert [len(body.get("output", [])) for body in bodies] == [0, 1, 2]


def test_case_47_only_completed(speaker: Server, receiver: Receiver) -> None:
    (only,) = report(speaker, receiver, ["completed"], lines=2, items=2)
    assert only["status"] == "succeeded"
    assert only["output"] == ["item 0", "item 1"]
    assert only["logs"] == "line 0\nline 1\n"
    assert "input" not in only


def test_case_47_without_completed(speaker: Server, receiver: Receiver) -> None:
    bodies = report(speaker, receiver, ["start", "output", "logs"], lines=2, items=2)
    assert bodies
    assert not [body for body in bodies if body["status"] in TERMINAL]


def test_case_47_nothing(speaker: Server, receiver: Receiver) -> None:
    assert report(speaker, receiver, [], lines=2, items=2) == []


def test_case_47_everything_by_default(speaker: Server, receiver: Receiver) -> None:
    bodies = report(speaker, receiver, None, items=1)
    assert [body["status"] for body in bodies] == ["processing", "processing", "succeeded"]
    assert "output" not in bodies[0]
    assert bodies[1]["output"] == ["item 0"]


def test_case_48_logs_are_throttled(speaker: Server, receiver: Receiver) -> None:
    bodies = report(speaker, receiver, ["logs", "completed"], lines=2)
    assert [body["status"] for body in bodies] == ["processing", "succeeded"]
    assert bodies[0]["logs"] == "line 0\n"
    assert bodies[1]["logs"] == "line 0\nline 1\n"


def test_case_48_outputs_are_not(speaker: Server, receiver: Receiver) -> None:
    bodies = report(speaker, receiver, ["output"], items=4)
    assert [body["output"] for body in bodies] == [[f"item {n}" for n in range(count)] for count in range(1, 5)]


def test_case_48_interval(serve: Serve, receiver: Receiver) -> None:
    server = serve("handlers.py:Speaks", env={"COG_THROTTLE_RESPONSE_INTERVAL": "0"})
    bodies = report(server, receiver, ["logs"], lines=3)
    assert [body["logs"].count("\n") for body in bodies] == [1, 2, 3]


def test_section_16_headers(serve: Serve, receiver: Receiver) -> None:
    server = serve("echo.py:Runner", env={"WEBHOOK_AUTH_TOKEN": "token"})
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    server.finish({"input": {"s": "x"}, "webhook": receiver.url("/hook?key=1")}, headers=trace)
    receiver.completed()
    for request in receiver.requests:
        assert (request.method, request.path) == ("POST", "/hook?key=1")
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["Authorization"] == "Bearer token"
        assert request.headers["User-Agent"]
        assert {name: request.headers[name] for name in trace} == trace


def test_section_16_in_order(speaker: Server, receive: Callable[..., Receiver]) -> None:
    # The first call takes long; the others may not overtake it.
    receiver = receive(lambda request: Reply(delay=0.3 if request.number == 0 else 0))
    bodies = report(speaker, receiver, None, items=3)
    counts = [len(body.get("output", [])) for body in bodies]
    assert counts == sorted(counts)
    assert bodies[-1]["status"] == "succeeded"


def test_wanted_slow_receiver(serve: Serve, receive: Callable[..., Receiver]) -> None:
    """The end is told in time, and before it only the newest."""
    receiver = receive(lambda _: Reply(delay=0.15))
    server = serve("handlers.py:Speaks")
    server.accept(input={"items": 60}, webhook=receiver.url())
    server.until_status("READY", seconds=20)
    ended = time.monotonic()
    last = receiver.completed()
    assert len(last["output"]) == 60
    assert time.monotonic() - ended < 1.5

"""Server-sent events: cases 52-58 of the runtime specification."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest
from harness.client import Events, Response
from harness.waiting import eventually

if TYPE_CHECKING:
    from conftest import Serve
    from harness.client import Event
    from harness.receiver import Receiver
    from harness.server import Server

EVENT_STREAM = {"Accept": "text/event-stream"}
# As many as may read one prediction.
READERS = 1024


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]


def test_case_52_outputs(shared: Serve) -> None:
    stream = shared("streams.py:Two").stream(id="mine")
    assert stream.status == 200
    assert stream.headers.get_content_type() == "text/event-stream"
    assert stream.headers["Cache-Control"] == "no-cache"
    events = list(stream)
    assert (events[0].name, events[0].data) == ("start", {"id": "mine", "status": "processing"})
    assert [event.data for event in named(events, "output")] == [
        {"chunk": "one", "index": 0},
        {"chunk": "two", "index": 1},
    ]
    assert [event.data for event in named(events, "log")] == [{"source": "stdout", "data": "working\n"}]
    completed = events[-1]
    assert completed.name == "completed"
    assert completed.data["id"] == "mine"
    assert completed.data["status"] == "succeeded"
    assert completed.data["output"] == ["one", "two"]
    assert completed.data["logs"] == "working\n"
    assert completed.data["metrics"]["predict_time"] >= 0


def test_case_52_accept(shared: Serve) -> None:
    server = shared("streams.py:Two")
    headers = {"Accept": "application/json, text/event-stream;q=0.5", "Prefer": "respond-async"}
    answer = server.post("/predictions", {"input": {}}, headers=headers)
    assert answer.headers.get_content_type() == "text/event-stream"


def test_case_52_json_is_still_there(shared: Serve) -> None:
    assert shared("streams.py:Two").output() == ["one", "two"]


def test_case_52_refusals_are_json(serve: Serve) -> None:
    server = serve("streams.py:Many")
    assert server.post("/predictions", {"input": {"count": "x"}}, headers=EVENT_STREAM).status == 422
    stream = server.stream(input={"count": 1})
    server.until_file("running")
    assert server.post("/predictions", {"input": {"count": 1}}, headers=EVENT_STREAM).status == 409
    server.touch("go")
    assert list(stream)[-1].data["status"] == "succeeded"


def test_case_53_metrics(shared: Serve) -> None:
    events = list(shared("streams.py:Metrics").stream())
    assert [event.data for event in named(events, "metric")] == [
        {"name": "confidence", "value": 0.7, "mode": "replace"},
        {"name": "tokens", "value": 2, "mode": "increment"},
        {"name": "tokens", "value": 2, "mode": "increment"},
    ]
    metrics = events[-1].data["metrics"]
    assert (metrics["confidence"], metrics["tokens"]) == (0.7, 4)


def test_case_54_model_that_has_not_opted_in(shared: Serve) -> None:
    server = shared("streams.py:Undecorated")
    message = "This model does not support streaming responses. Add @cog.streaming to predict() to enable SSE."
    for method, path in (("POST", "/predictions"), ("PUT", "/predictions/x")):
        refused = server.request(method, path, {"input": {}}, headers=EVENT_STREAM)
        assert refused.expect(406) == {"error": message}
    assert server.output() == ["one", "two"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/trainings"), ("PUT", "/trainings/x")])
def test_case_55_trainings(shared: Serve, method: str, path: str) -> None:
    refused = shared("streams.py:Two").request(method, path, {"input": {}}, headers=EVENT_STREAM)
    assert refused.expect(406) == {"error": "Training endpoints do not support streaming responses."}


def test_case_56_failed(shared: Serve) -> None:
    events = list(shared("streams.py:Fails").stream())
    assert [event.data["chunk"] for event in named(events, "output")] == ["one"]
    completed = events[-1]
    assert (completed.name, completed.data["status"]) == ("completed", "failed")
    assert "ValueError: bad thing" in completed.data["error"]
    assert completed.data["output"] == ["one"]


def test_case_56_canceled(serve: Serve) -> None:
    server = serve("streams.py:Gated")
    stream = server.stream(id="mine")
    server.until_file("running")
    assert server.cancel("mine").status == 200
    completed = list(stream)[-1]
    assert (completed.name, completed.data["status"]) == ("completed", "canceled")
    assert "error" not in completed.data
    server.until_ready()


def test_case_57_joins_with_replay(serve: Serve) -> None:
    server = serve("streams.py:Gated")
    server.accept(id="mine", input={})
    server.until_file("running")
    stream = server.stream("PUT", "/predictions/mine")
    assert stream.next().name == "start"
    assert [stream.next().data["chunk"] for _ in range(2)] == ["one", "two"]
    server.touch("go")
    rest = list(stream)
    assert [event.name for event in rest] == ["output", "completed"]
    assert rest[0].data == {"chunk": "three", "index": 2}
    assert rest[1].data["output"] == ["one", "two", "three"]


def run_until_waiting(server: Server, count: int) -> None:
    server.accept(id="mine", input={"count": count})
    server.until_file("running")

    def has_all_outputs() -> bool:
        snapshot = server.put("/predictions/mine", {"input": {"count": count}}).expect(202)
        return len(snapshot.get("output", [])) == count

    eventually("all outputs", has_all_outputs)


def test_case_58_truncated_replay(serve: Serve) -> None:
    server = serve("streams.py:Many")
    run_until_waiting(server, 1030)
    events = server.stream("PUT", "/predictions/mine", input={"count": 0}).until("error")
    assert events[-1].data == {
        "error": "SSE stream replay truncated; events were dropped",
        # The start event is one of the 1031.
        "skipped": 7,
    }
    server.touch("go")
    server.until_ready()


@pytest.mark.parametrize("capacity", ["5000", "nonsense"])
def test_case_58_capacity(serve: Serve, capacity: str) -> None:
    server = serve("streams.py:Many", env={"COG_STREAM_HISTORY_CAPACITY": capacity})
    run_until_waiting(server, 1030)
    stream = server.stream("PUT", "/predictions/mine", input={"count": 0})
    if capacity == "5000":
        assert [event.name for event in (stream.next() for _ in range(1031))] == ["start"] + ["output"] * 1030
        server.touch("go")
        assert stream.next().data["status"] == "succeeded"
    else:
        assert stream.until("error")[-1].data["skipped"] == 7


def test_case_58_no_history(serve: Serve) -> None:
    server = serve("streams.py:Many", env={"COG_STREAM_HISTORY_CAPACITY": 0})
    run_until_waiting(server, 10)
    stream = server.stream("PUT", "/predictions/mine", input={"count": 0})
    server.touch("go")
    (completed,) = list(stream)
    assert completed.data["output"] == [str(n) for n in range(10)]


def test_case_58_reader_that_lags(serve: Serve) -> None:
    server = serve("streams.py:Flood")
    # Large enough that the sockets' buffers are no help.
    server.accept(id="mine", input={"count": 1500, "kilobytes": 32})
    server.until_file("running")
    stream = server.stream("PUT", "/predictions/mine", input={"count": 0, "kilobytes": 0})
    assert stream.next().name == "start"
    server.touch("go")
    server.until_ready()
    time.sleep(0.2)
    last = list(stream)[-1]
    assert last.name == "error"
    assert last.data["error"] == "SSE stream lagged; events were dropped"
    assert last.data["skipped"] > 0


def test_section_10_too_many_readers(serve: Serve) -> None:
    allow_open_files(4 * READERS)
    server = serve("streams.py:Gated")
    server.accept(id="mine", input={})
    server.until_file("running")
    streams = [server.stream("PUT", "/predictions/mine") for _ in range(READERS)]
    assert {stream.next().name for stream in streams} == {"start"}
    refused = join(server)
    assert isinstance(refused, Response), "one more than may read"
    assert refused.expect(429) == {"error": "Too many stream subscribers"}
    # The others are none the worse for it, and a place that is left can be taken.
    streams.pop().close()

    def has_joined() -> bool:
        events = join(server)
        if isinstance(events, Events):
            streams.append(events)
        return len(streams) == READERS

    eventually("a free place", has_joined, 5)
    server.touch("go")
    assert {list(stream)[-1].data["status"] for stream in streams} == {"succeeded"}


def join(server: Server) -> Events | Response:
    return server.send("PUT", "/predictions/mine", {"input": {}}, headers=EVENT_STREAM).events()


def allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} open files, and the limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_section_10_last_reader_leaves(serve: Serve, receiver: Receiver) -> None:
    server = serve("streams.py:Gated")
    stream = server.stream(input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    assert stream.next().name == "start"
    server.until_file("running")
    stream.close()
    assert receiver.completed(10)["status"] == "canceled"
    server.until_ready()


def test_section_10_one_of_two_readers_leaves(serve: Serve) -> None:
    server = serve("streams.py:Gated")
    first = server.stream(id="mine")
    server.until_file("running")
    second = server.stream("PUT", "/predictions/mine")
    assert second.next().name == "start"
    first.close()
    time.sleep(0.3)
    server.touch("go")
    assert list(second)[-1].data["status"] == "succeeded"


def test_section_10_observer_leaves(serve: Serve, receiver: Receiver) -> None:
    server = serve("streams.py:Gated")
    server.accept(id="mine", input={}, webhook=receiver.url(), webhook_events_filter=["completed"])
    server.until_file("running")
    stream = server.stream("PUT", "/predictions/mine")
    assert stream.next().name == "start"
    stream.close()
    time.sleep(0.3)
    server.touch("go")
    assert receiver.completed(10)["status"] == "succeeded"

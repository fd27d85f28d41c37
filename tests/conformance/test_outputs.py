"""Failures, shapes of output, files and uploads: cases 25-35 of the runtime specification."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import pytest
from harness.receiver import Received, Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Serve
    from harness.server import Server
    from harness.target import Target


def data_url(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


FILES = [data_url("text/plain", b"file %d" % n) for n in range(3)]


@pytest.mark.parametrize("kind", ["ValueError", "RuntimeError", "Exception"])
def test_case_25_handler_raises(shared: Serve, receiver: Receiver, kind: str) -> None:
    server = shared("handlers.py:Raises")
    done = server.finish({"input": {"kind": kind}, "webhook": receiver.url()})
    for body in (done, receiver.completed()):
        assert body["status"] == "failed"
        assert f"{kind}: bad thing" in body["error"]
        assert isinstance(body["metrics"]["predict_time"], float)
        assert "output" not in body
    assert server.predict(kind=kind)["status"] == "failed"


def test_case_25_async_handler_raises(shared: Serve) -> None:
    assert "ValueError: bad thing" in shared("handlers.py:AsyncRaises").failure()


def test_section_07_failed_reply_has_its_logs(shared: Serve) -> None:
    logs = shared("handlers.py:Raises").predict()["logs"]
    # A traceback may follow.
    assert logs.startswith("about to fail\n")


def test_section_07_handler_exits(shared: Serve) -> None:
    server = shared("handlers.py:Raises")
    assert "SystemExit: 3" in server.failure(kind="exit")
    assert "bad thing" in server.failure()


def test_section_07_async_handler_exits(serve: Serve) -> None:
    server = serve("handlers.py:AsyncRaises")
    pending = server.begin(kind="exit")
    pending.connection.sock.settimeout(5)
    done = pending.answer().expect(200)
    assert done["status"] == "failed"
    assert "SystemExit: 3" in done["error"]
    assert server.output(kind="none") == "fine"


@pytest.mark.parametrize("model", ["Iterates", "Concatenates"])
@pytest.mark.parametrize("count", [3, 1, 0])
def test_case_26_sync_generator(shared: Serve, model: str, count: int) -> None:
    assert shared(f"handlers.py:{model}").output(count=count) == [f"item {n}" for n in range(count)]


def test_case_27_async_generator(shared: Serve) -> None:
    done = shared("handlers.py:AsyncIterates").predict()
    assert done["output"] == [f"item {n}" for n in range(5)]
    assert done["metrics"]["predict_time"] >= 0.5


def test_section_08_async_generator_is_delivered_live(serve: Serve, receiver: Receiver) -> None:
    server = serve("handlers.py:GatedAsyncIterates")
    server.accept(input={}, webhook=receiver.url(), webhook_events_filter=["output", "completed"])
    (first,) = receiver.wait_for(1, 5)
    assert first.json()["output"] == ["first"]
    server.touch("go")
    assert receiver.completed()["output"] == ["first", "second"]


def test_case_28_generator_fails_late(shared: Serve, receiver: Receiver) -> None:
    done = shared("handlers.py:FailsLate").finish({"input": {}, "webhook": receiver.url()})
    assert done["status"] == "failed"
    assert "RuntimeError: late" in done["error"]
    assert "output" not in done
    completed = receiver.completed()
    assert completed["status"] == "failed"
    assert "RuntimeError: late" in completed["error"]
    assert completed["output"] == ["one", "two", "three"]


def test_case_29_none(shared: Serve) -> None:
    done = shared("handlers.py:ReturnsNone").predict()
    assert (done["status"], done["output"]) == ("succeeded", None)


def test_case_30_objects(shared: Serve) -> None:
    server = shared("inputs.py:Objects")
    nested = {"a": {"b": [1, {"c": None}]}, "ü": "€"}
    given = {"value": nested, "typed": {"one": 1}, "several": [{"k": "v"}, {}], "point": {"x": 1, "y": 2}}
    assert server.output(**given) == given
    assert server.output(value={}) == {"value": {}, "typed": {}, "several": [], "point": None}


def test_case_31_model_output(shared: Serve) -> None:
    assert shared("outputs.py:Model").output() == {
        "title": "outer",
        "note": None,
        "numbers": [],
        "inner": {"model": {"title": "inner", "note": None, "numbers": [1, 2], "inner": None}},
    }


def test_case_31_pydantic_output(shared: Serve, target: Target) -> None:
    if not target.has_module("pydantic"):
        pytest.skip("pydantic is not installed where the model runs")
    assert shared("outputs.py:Values").output(kind="pydantic") == {"text": "hello", "note": None}


def test_case_32_numbers(shared: Serve) -> None:
    server = shared("inputs.py:Numbers")
    given: dict[str, Any] = {"flag": True, "numbers": [3, -1, 0], "i": -5, "f": -0.5}
    assert server.output(**given) == {**given, "types": ["bool", "int", "float"]}
    given = {"flag": False, "numbers": [], "i": 0, "f": 2}
    assert server.output(**given) == {**given, "types": ["bool", "int", "int"]}


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("out.png", "image/png"),
        ("out.txt", "text/plain"),
        ("out.unknown-extension", "application/octet-stream"),
        ("out", "application/octet-stream"),
    ],
)
def test_case_33_file_output(shared: Serve, name: str, mime: str) -> None:
    assert shared("outputs.py:OneFile").output(name=name) == data_url(mime, b"content")


@pytest.mark.parametrize("model", ["Files", "YieldedFiles"])
def test_case_33_several_file_outputs(shared: Serve, model: str) -> None:
    assert shared(f"outputs.py:{model}").output() == FILES


def test_section_08_missing_file_fails(shared: Serve) -> None:
    assert "nowhere.txt" in shared("outputs.py:MissingFile").failure()


def test_section_08_text_file(shared: Serve) -> None:
    output = shared("outputs.py:TextFile").output()
    assert output == data_url("application/octet-stream", "Grüße".encode())


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("enum", {"colour": "red"}),
        ("datetime", {"at": "2026-01-02T03:04:05"}),
        ("set", {"set": [1], "frozenset": [2]}),
        ("tuple", [1, 2]),
        ("dataclass", {"inner": {"n": 1}, "tags": ["a", "b"]}),
        ("generator", [0, 1, 2]),
        ("nested file", {"files": [data_url("text/plain", b"a")]}),
        ("open file", data_url("application/octet-stream", b"content")),
        ("secret", {"secret_value": "visible"}),
    ],
)
def test_sdk_case_32_values(shared: Serve, kind: str, output: Any) -> None:
    assert shared("outputs.py:Values").output(kind=kind) == output


def test_sdk_case_32_numpy(shared: Serve, target: Target) -> None:
    if not target.has_module("numpy"):
        pytest.skip("numpy is not installed where the model runs")
    output = shared("outputs.py:Values").output(kind="numpy")
    assert output == {"integer": 3, "floating": 0.5, "array": [[1, 2], [3, 4]]}


def test_sdk_case_32_model_with_file(shared: Serve) -> None:
    output = shared("outputs.py:ModelWithFile").output()
    assert output == {"file": data_url("text/plain", b"content"), "label": "text"}


@pytest.mark.parametrize("kind", ["bytes", "object"])
def test_sdk_case_32_no_json(shared: Serve, kind: str) -> None:
    assert f"Object of type {kind} is not JSON serializable" in shared("outputs.py:Values").failure(kind=kind)


def test_section_07_not_a_number(shared: Serve) -> None:
    server = shared("outputs.py:Values")
    server.failure(kind="nan")
    assert not math.isnan(server.predict(kind="nan")["metrics"]["predict_time"])


def test_section_06_large_output(shared: Serve) -> None:
    output = shared("outputs.py:LargeText").output(megabytes=20)
    assert len(output) == 20 << 20
    assert set(output) == {"x"}


# Uploads


def serve_uploading(serve: Serve, model: str, receiver: Receiver) -> Server:
    return serve(model, arguments=("--upload-url", receiver.url("/up")))


@pytest.mark.parametrize("model", ["Files", "YieldedFiles"])
def test_case_34_uploads(serve: Serve, receiver: Receiver, model: str) -> None:
    server = serve_uploading(serve, f"outputs.py:{model}", receiver)
    output = server.output()
    assert sorted(output) == [receiver.url(f"/up/{n}.txt") for n in range(3)]
    puts = sorted(receiver.requests, key=lambda put: put.path)
    assert [(put.method, put.path, put.body) for put in puts] == [
        ("PUT", f"/up/{n}.txt", b"file %d" % n) for n in range(3)
    ]
    assert all(put.headers["Content-Type"] == "text/plain" for put in puts)


def test_case_34_single_upload(serve: Serve, receiver: Receiver) -> None:
    server = serve_uploading(serve, "outputs.py:OneFile", receiver)
    done = server.finish({"id": "mine", "input": {}})
    assert done["output"] == receiver.url("/up/out.png")
    (put,) = receiver.requests
    assert put.headers["Content-Type"] == "image/png"
    assert put.headers["X-Prediction-Id"] == "mine"


def test_case_34_location_of_an_upload(serve: Serve, receive: Callable[..., Receiver]) -> None:
    receiver = receive(lambda _: Reply(201, {"Location": "http://files.test/stored/1.png?signature=abc"}))
    server = serve_uploading(serve, "outputs.py:OneFile", receiver)
    assert server.output() == "http://files.test/stored/1.png"


def test_section_09_uploads_keep_their_order(serve: Serve, receive: Callable[..., Receiver]) -> None:
    receiver = receive(lambda put: Reply(delay=0.3 if put.path.endswith("0.txt") else 0))
    server = serve_uploading(serve, "outputs.py:YieldedFiles", receiver)
    assert server.output() == [receiver.url(f"/up/{n}.txt") for n in range(3)]


def test_section_09_failed_upload_fails_the_prediction(serve: Serve, receive: Callable[..., Receiver]) -> None:
    receiver = receive(lambda _: Reply(403))
    server = serve_uploading(serve, "outputs.py:OneFile", receiver)
    assert "upload" in server.failure().lower()


def test_section_09_redirected_upload(serve: Serve, receive: Callable[..., Receiver]) -> None:
    def answer(put: Received) -> Reply:
        return Reply(307, {"Location": "/elsewhere?token=x"}) if put.path.startswith("/up") else Reply()

    receiver = receive(answer)
    server = serve_uploading(serve, "outputs.py:OneFile", receiver)
    assert server.output() == receiver.url("/elsewhere")
    assert receiver.requests[-1].body == b"content"


def test_section_09_other_outputs_are_not_uploaded(serve: Serve) -> None:
    server = serve("outputs.py:ModelWithFile", arguments=("--upload-url", "http://127.0.0.1:1/"))
    assert server.output()["file"] == data_url("text/plain", b"content")


def test_case_35_large_upload(serve: Serve, receiver: Receiver) -> None:
    server = serve_uploading(serve, "outputs.py:LargeFile", receiver)
    assert server.output(megabytes=50) == receiver.url("/up/large.bin")
    (put,) = receiver.requests
    assert put.body == b"".join(bytes([n]) * (1 << 20) for n in range(50))

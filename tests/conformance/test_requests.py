"""Discovery, envelopes and input validation: cases 8-10, 12-20, 69 of the runtime specification."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from harness.waiting import eventually

if TYPE_CHECKING:
    from conftest import Serve
    from harness.server import Server
    from harness.target import Target

EIGHT_KEYS = {
    "cog_version",
    "docs_url",
    "openapi_url",
    "shutdown_url",
    "healthcheck_url",
    "predictions_url",
    "predictions_idempotent_url",
    "predictions_cancel_url",
}


@pytest.fixture
def echo(shared: Serve) -> Server:
    return shared("echo.py:Runner")


def violations(server: Server, path: str = "/predictions", **inputs: Any) -> list[dict[str, Any]]:
    detail = server.post(path, {"input": inputs}).expect(422)["detail"]
    assert isinstance(detail, list)
    return detail


def violation(server: Server, **inputs: Any) -> dict[str, Any]:
    (only,) = violations(server, **inputs)
    return only


def test_case_08_index(echo: Server) -> None:
    index = echo.get("/").expect(200)
    assert set(index) == EIGHT_KEYS
    assert index["predictions_cancel_url"] == "/predictions/{prediction_id}/cancel"
    assert index["predictions_idempotent_url"] == "/predictions/{prediction_id}"
    assert index["docs_url"] == "/docs"


def test_case_08_index_with_trainings(shared: Serve) -> None:
    index = shared("pair.py:run", train="pair.py:train").get("/").expect(200)
    assert set(index) == EIGHT_KEYS | {"trainings_url", "trainings_idempotent_url", "trainings_cancel_url"}
    assert index["trainings_idempotent_url"] == "/trainings/{training_id}"


def test_case_08_versions(echo: Server, target: Target) -> None:
    version = target.sdk_version()
    assert echo.get("/").expect(200)["cog_version"] == version
    versions = echo.health()["version"]
    assert versions["python_sdk"] == version
    assert re.fullmatch(r"3\.\d+\.\d+", versions["python"])


def test_case_09_ids(echo: Server) -> None:
    envelope = {"input": {"s": "x"}}
    assert echo.finish({**envelope, "id": "mine"})["id"] == "mine"
    ids = {echo.finish(envelope)["id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(id.startswith("pred_") for id in ids)


@pytest.mark.parametrize("envelope", [None, {}, {"input": None}, {"input": {}}], ids=["no body", "empty", "null", "{}"])
def test_case_10_no_input(shared: Serve, envelope: Any) -> None:
    done = shared("echo.py:Defaults").finish(envelope)
    assert (done["status"], done["output"]) == ("succeeded", "hello world")


def test_case_12_missing_input(echo: Server) -> None:
    wanted = {"loc": ["body", "input", "s"], "msg": "Field required", "type": "value_error.missing"}
    assert violation(echo) == wanted
    assert violation(echo, extra=1) == wanted
    assert echo.post("/predictions").expect(422)["detail"] == [wanted]


def test_case_13_unknown_input(echo: Server) -> None:
    assert echo.output(s="x", extra={"deep": [1]}) == "hello x"


def test_case_14_wrong_type(shared: Serve) -> None:
    server = shared("inputs.py:Integer")
    found = violation(server, n="x")
    assert found == {"loc": ["body", "input", "n"], "msg": '"x" is not of type "integer"', "type": "value_error"}
    assert {tuple(one["loc"]) for one in violations(server, n="x", m=1.5)} == {
        ("body", "input", "n"),
        ("body", "input", "m"),
    }
    assert violation(server, n=None)["msg"] == 'null is not of type "integer"'
    assert server.output(n=-3) == "int:-3 int:0"
    assert server.output(n=1.0) == "float:1.0 int:0"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"n": 0}, "0 is less than the minimum of 1"),
        ({"n": 9}, "9 is greater than the maximum of 5"),
        ({"s": "a"}, '"a" is shorter than 2 characters'),
        ({"s": "aaaaaa"}, '"aaaaaa" is longer than 5 characters'),
        ({"s": "bb"}, '"bb" does not match "^a"'),
    ],
)
def test_case_14_constraints(shared: Serve, inputs: dict[str, Any], message: str) -> None:
    assert violation(shared("inputs.py:Bounds"), **inputs)["msg"] == message


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ({"value": "hello"}, "str:hello"),
        ({"value": 1.5}, "float:1.5"),
        ({"value": 1}, "int:1"),
        ({}, "None"),
    ],
)
def test_case_15_union(shared: Serve, inputs: dict[str, Any], output: str) -> None:
    assert shared("inputs.py:OptionalUnion").output(**inputs) == output


@pytest.mark.parametrize("value", [None, True, {"a": 1}])
def test_case_15_not_of_the_union(shared: Serve, value: Any) -> None:
    found = violation(shared("inputs.py:OptionalUnion"), value=value)
    assert found["loc"] == ["body", "input", "value"]


def test_case_16_optional_without_default(shared: Serve) -> None:
    server = shared("inputs.py:OptionalText")
    assert server.output() == "None"
    assert server.output(s="x") == "'x'"


def test_case_17_choices(shared: Serve) -> None:
    server = shared("inputs.py:Choices")
    assert server.output(colour="red", size=2) == "red 2"
    found = violation(server, colour="blue")
    assert found["loc"] == ["body", "input", "colour"]
    assert found["msg"] == '"blue" is not one of ["red","green"]'
    assert violation(server, colour="red", size=3)["loc"] == ["body", "input", "size"]


def test_case_18_respond_async(echo: Server) -> None:
    created = echo.post("/predictions", {"id": "later", "input": {"s": "x"}}, headers={"Prefer": "respond-async"})
    assert created.expect(202) == {"id": "later", "status": "starting"}


def test_case_18_header_names_have_no_case(echo: Server) -> None:
    echo.until_ready()
    created = echo.post("/predictions", {"input": {"s": "x"}}, headers={"PREFER": "respond-async"}).expect(202)
    assert created["id"].startswith("pred_")
    echo.until_ready()


def test_case_19_put(shared: Serve) -> None:
    server = shared("pair.py:run", train="pair.py:train")
    for path, what in (("/predictions", "prediction"), ("/trainings", "training")):
        done = server.finish({"input": {"s": "x"}}, "PUT", f"{path}/mine")
        assert (done["id"], done["status"]) == ("mine", "succeeded")
        (found,) = server.put(f"{path}/mine", {"id": "other", "input": {"s": "x"}}).expect(422)["detail"]
        assert found == {
            "loc": ["body", "id"],
            "msg": f"{what} ID must match the ID supplied in the URL",
            "type": "value_error",
        }
    assert server.finish({"id": "mine", "input": {"s": "y"}}, "PUT", "/predictions/mine")["output"] == "predicted y"


def test_case_20_put_again_while_in_flight(serve: Serve) -> None:
    server = serve("handlers.py:Gated")
    first = server.send("PUT", "/predictions/mine", {"input": {"s": "first", "extra": 1}})
    server.until_file("runs")

    def snapshot() -> Any:
        found = server.put("/predictions/mine", {"input": {"s": "second"}}).expect(202)
        return found if found["logs"] else None

    found = eventually("logs in the snapshot", snapshot)
    assert found["id"] == "mine"
    assert found["status"] == "processing"
    assert found["input"] == {"s": "first"}
    assert found["logs"] == "waiting first\n"
    assert found["metrics"] == {}
    assert "output" not in found
    server.touch("go")
    assert first.answer().expect(200)["output"] == "hello first"
    assert server.until_file("runs") == "first\n"
    # It is over: the same id is a new prediction.
    assert server.finish({"input": {"s": "third"}}, "PUT", "/predictions/mine")["output"] == "hello third"


@pytest.mark.parametrize("preference", ["respond-async, wait=5", "wait=5", "nonsense"])
def test_case_69_other_preferences_are_synchronous(echo: Server, preference: str) -> None:
    done = echo.finish({"input": {"s": "x"}}, headers={"Prefer": preference})
    assert done["output"] == "hello x"


def test_case_69_malformed_json(echo: Server) -> None:
    refused = echo.post("/predictions", body=b"{not json", headers={"Content-Type": "application/json"})
    assert refused.status == 400
    assert refused.text.startswith("Failed to parse the request body as JSON: ")


def test_case_69_other_content_types(echo: Server) -> None:
    refused = echo.post("/predictions", body=b'{"input": {"s": "x"}}', headers={"Content-Type": "text/plain"})
    assert refused.status == 415
    assert refused.text == "Expected request with `Content-Type: application/json`"


@pytest.mark.parametrize("path", ["/predictions", "/predictions/mine", "/trainings"])
def test_case_69_wrong_method(echo: Server, path: str) -> None:
    refused = echo.get(path)
    assert (refused.status, refused.body) == (405, b"")
    assert refused.headers["Allow"]


@pytest.mark.parametrize("path", ["/nowhere", "/predictions/x/stream"])
def test_section_03_unknown_path(echo: Server, path: str) -> None:
    refused = echo.get(path)
    assert (refused.status, refused.body) == (404, b"")


@pytest.mark.parametrize(
    "envelope",
    [
        {"input": {"s": "x"}, "context": {"k": 1}},
        {"input": {"s": "x"}, "context": None},
        {"input": {"s": "x"}, "webhook_events_filter": ["sometimes"]},
        {"input": {"s": "x"}, "webhook_events_filter": None},
        {"input": {"s": "x"}, "id": 7},
    ],
    ids=["context value", "context null", "unknown event", "filter null", "id"],
)
def test_section_06_envelope_of_wrong_types(echo: Server, envelope: Any) -> None:
    refused = echo.post("/predictions", envelope)
    assert refused.status == 422
    assert refused.text.startswith("Failed to deserialize the JSON body into the target type: ")


def test_section_06_unknown_fields_are_ignored(echo: Server) -> None:
    envelope = {"input": {"s": "x"}, "created_at": "now", "output_file_prefix": "http://127.0.0.1:1/"}
    assert echo.finish(envelope)["output"] == "hello x"


def test_section_06_input_that_is_no_object(echo: Server) -> None:
    (found,) = echo.post("/predictions", {"input": [1]}).expect(422)["detail"]
    assert found["loc"] == ["body", "input", "__root__"]


def test_section_06_large_input(shared: Serve) -> None:
    server = shared("inputs.py:Length")
    assert server.output(s="x" * (20 << 20)) == 20 << 20


def test_section_06_too_large_input(shared: Serve) -> None:
    server = shared("inputs.py:Length")
    refused = server.post("/predictions", body=b"x" * ((100 << 20) + 1), headers={"Content-Type": "application/json"})
    assert refused.status == 413


def test_section_06_422_takes_no_slot(shared: Serve) -> None:
    server = shared("inputs.py:Integer")
    for _ in range(3):
        violation(server, n="x")
    assert server.status() == "READY"
    assert server.output(n=1) == "int:1 int:0"


def test_wanted_page_of_the_document(echo: Server) -> None:
    # Where `GET /` says that it is.
    page = echo.get("/docs")
    assert page.status == 200
    assert page.headers.get_content_type() == "text/html"
    assert "<code>s</code>" in page.text


@pytest.mark.parametrize("body", [b"[]", b'[null, {"s": "x"}]'])
def test_wanted_list_is_no_envelope(echo: Server, body: bytes) -> None:
    refused = echo.post("/predictions", body=body, headers={"Content-Type": "application/json"})
    assert refused.status == 422
    assert refused.text.startswith("Failed to deserialize the JSON body into the target type: ")


@pytest.mark.parametrize("id", ["x" * 1025, "a\nb", "a\x7f"], ids=["long", "line break", "delete"])
def test_wanted_ids_have_limits(echo: Server, id: str) -> None:
    (found,) = echo.post("/predictions", {"id": id, "input": {"s": "x"}}).expect(422)["detail"]
    assert found["loc"] == ["body", "id"]


def test_wanted_findings_have_a_limit(shared: Serve) -> None:
    found = violations(shared("inputs.py:Numbers"), flag=True, numbers=["x"] * 300_000, i=1, f=1.0)
    assert len(found) <= 101
    assert "more problems" in found[-1]["msg"]


def test_wanted_put_twice_at_once_runs_once(serve: Serve) -> None:
    server = serve("handlers.py:Gated")
    large = {"input": {"s": "x" * (3 << 20)}}
    requests = [server.send("PUT", "/predictions/mine", large) for _ in range(4)]
    server.until_file("runs")
    assert server.put("/predictions/mine", {"input": {"s": "x"}}).status == 202
    server.touch("go")
    assert sorted(request.answer().status for request in requests) == [200, 202, 202, 202]
    assert server.until_file("runs").count("\n") == 1


def test_wanted_refused_while_sending(serve: Serve) -> None:
    server = serve("echo.py:Runner", env={"COG_AUTH_TOKEN": "token"})
    body = b"x" * (50 << 20)
    assert server.post("/predictions", body=body, headers={"Content-Type": "application/json"}).status == 401

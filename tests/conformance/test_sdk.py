"""What models import: the cases of the SDK specification that `test_models.py` and others leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Serve
    from harness.server import Server
    from harness.target import Target

OBJECT = {"type": "object"}
OBJECTS = {"type": "array", "items": OBJECT}


@pytest.fixture
def worker(shared: Serve) -> Server:
    return shared("sdk.py:Checks")


def check(worker: Server, name: str) -> None:
    """One of the functions of `models/sdk.py`."""
    assert worker.output(check=name) == name


def test_sdk_case_01_exports(worker: Server) -> None:
    check(worker, "exports")


def test_sdk_case_02_run_and_predict(worker: Server) -> None:
    check(worker, "run_and_predict")


def test_sdk_case_04_nothing_implemented(worker: Server) -> None:
    check(worker, "nothing_implemented")


def test_sdk_case_05_setup(worker: Server) -> None:
    check(worker, "setup")


def test_sdk_case_07_references_without_a_name(worker: Server) -> None:
    check(worker, "references_without_a_name")


def test_sdk_case_07_server(serve: Serve) -> None:
    assert serve("echo.py", has_schema=False).output(s="x") == "hello x"


def test_sdk_case_08_run_and_predict_at_once(worker: Server) -> None:
    check(worker, "run_and_predict_at_once")


def test_sdk_case_09_inherited_handlers(worker: Server) -> None:
    check(worker, "inherited_handlers")


def test_sdk_case_10_runner_that_is_no_model(worker: Server) -> None:
    check(worker, "runner_that_is_no_model")


def test_sdk_case_11_concurrent(worker: Server) -> None:
    check(worker, "concurrent")


def test_sdk_case_12_streaming(worker: Server) -> None:
    check(worker, "streaming")


def test_sdk_case_13_fields(worker: Server) -> None:
    check(worker, "fields")


def test_sdk_case_15_secrets(worker: Server) -> None:
    check(worker, "secrets")


def test_sdk_case_16_files(worker: Server) -> None:
    check(worker, "files")


def test_sdk_case_17_files_behind_urls(worker: Server) -> None:
    check(worker, "files_behind_urls")


def test_sdk_case_18_paths(worker: Server) -> None:
    check(worker, "paths")


def test_sdk_case_19_models(worker: Server) -> None:
    check(worker, "models")


def test_sdk_case_20_models_that_are_refused(worker: Server) -> None:
    check(worker, "models_that_are_refused")


def test_sdk_case_21_opaque_marker(worker: Server) -> None:
    check(worker, "opaque_marker")


def component(server: Server, name: str) -> Any:
    return server.get("/openapi.json").expect(200)["components"]["schemas"][name]


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    """What says which values are taken."""
    return {key: value for key, value in schema.items() if key in ("type", "items", "anyOf", "nullable")}


def test_sdk_case_21_opaque_types(shared: Serve) -> None:
    server = shared("shapes.py:Opaques")
    shapes = {name: shape(schema) for name, schema in component(server, "Input")["properties"].items()}
    assert shapes == {
        "simple": OBJECT,
        "many": OBJECTS,
        "bare": OBJECTS,
        "inside": OBJECTS,
        "maybe": {**OBJECT, "nullable": True},
        "maybe_many": {**OBJECTS, "nullable": True},
    }
    point = {"x": 1, "deep": {"y": [1.5, None]}}
    given = {"simple": point, "many": [point], "bare": [point], "inside": [point, {}]}
    assert server.output(**given) == {**given, "maybe": None, "maybe_many": None}
    assert server.output(**given, maybe=point, maybe_many=[])["maybe"] == point


def test_sdk_case_23_unions(shared: Serve) -> None:
    server = shared("shapes.py:Unions")
    properties = component(server, "Input")["properties"]
    assert properties["ordered"]["nullable"] is True
    assert [member["type"] for member in properties["ordered"]["anyOf"]] == ["string", "number"]
    assert shape(properties["other"]) == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert server.output(number=1, numbers=[1], ordered="a", other="b") == "int:1 list:[1] str:a str:b"
    assert server.output(number=1.5, numbers=[1.5], ordered=1.5) == "float:1.5 list:[1.5] float:1.5 int:0"


def test_sdk_case_24_values_of_no_member(shared: Serve) -> None:
    server = shared("shapes.py:StrictUnions")
    assert server.output(flag=True, record={"a": 1}) == "bool:True dict:{'a': 1} NoneType:None"
    for wrong in ({"flag": 1}, {"flag": None}, {"flag": "", "record": 123}):
        assert server.post("/predictions", {"input": wrong}).status == 422, wrong


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Neither", "run or predict method not found: Neither"),
        ("Both", "Both must define either run() or predict(), not both"),
    ],
)
def test_sdk_case_25_class_that_is_no_model(start: Serve, model: str, message: str) -> None:
    server = start(f"classes.py:{model}", has_schema=False)
    assert message in server.until_status("SETUP_FAILED")["setup"]["logs"]


def test_sdk_case_26_objects(shared: Serve) -> None:
    server = shared("shapes.py:Results")
    output = component(server, "Output")
    assert output["required"] == ["name"]
    optional = {name: output["properties"][name] for name in ("maybe", "maybe_values")}
    assert {name: (schema["title"], schema["nullable"]) for name, schema in optional.items()} == {
        "maybe": ("Maybe", True),
        "maybe_values": ("Maybe Values", True),
    }
    assert server.output() == {"name": "n", "maybe": 1, "maybe_values": None}


def test_sdk_case_26_nothing_required(shared: Serve) -> None:
    assert "required" not in component(shared("shapes.py:Nothings"), "Output")


def test_sdk_case_27_quoted_annotation(shared: Serve) -> None:
    server = shared("shapes.py:Quoteds")
    assert shape(component(server, "Output")["properties"]["points"]) == OBJECTS
    assert server.output() == {"points": [{"x": 1}]}


def test_sdk_case_28_postponed_setup(shared: Serve) -> None:
    assert shared("postponed.py:SetUp").output() == "set up"


def test_sdk_case_29_deprecated_names(worker: Server) -> None:
    check(worker, "deprecated_names")


def test_sdk_case_31_import_without_pydantic(worker: Server) -> None:
    check(worker, "import_without_pydantic")


def test_sdk_case_31_import_with_pydantic(worker: Server, target: Target) -> None:
    if not target.has_module("pydantic"):
        pytest.skip("the model's interpreter has no pydantic")
    check(worker, "import_with_pydantic")


def test_sdk_case_33_cancelation(worker: Server) -> None:
    check(worker, "cancelation")


def test_sdk_case_33_cancelation_module(worker: Server) -> None:
    check(worker, "cancelation_module")

"""What is read from the signatures of models, and what values fit them."""

from __future__ import annotations

import re
import sys
import types
import warnings
from enum import Enum
from typing import Any

import cog
import pytest
from cog.introspection import ModelSignature, check_input, input_field, input_type, inspect_model, normalized

HEADER = """
from typing import *
import pathlib
import cog
from cog import *

class Thing: ...
class Point(TypedDict):
    x: int
class SubDict(dict): ...
"""


def module(source: str) -> Any:
    made = types.ModuleType("inspected_model")
    # Where the annotations of its classes are looked up.
    sys.modules[made.__name__] = made
    # Without the postponed annotations of this file.
    exec(compile(HEADER + source, made.__name__, "exec", dont_inherit=True), vars(made))
    return made


def module_of_strings(methods: str) -> Any:
    """A module with postponed annotations."""
    made = module("")
    exec(f"from __future__ import annotations\nclass Runner(BaseRunner):\n {methods}", vars(made))
    return made


def annotation(text: str) -> Any:
    return eval(text, vars(module("")))


def runner(*lines: str) -> ModelSignature:
    return inspect_model(module("\n ".join(["class Runner(BaseRunner):", *lines])).Runner)


def refused(text: str, *lines: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        runner(*lines)


@pytest.mark.parametrize(
    ("text", "shown", "schema"),
    [
        ("str", "str", {"type": "string"}),
        ("Optional[str]", "Optional[str]", {"type": "string", "nullable": True}),
        ("str | None", "Optional[str]", {"type": "string", "nullable": True}),
        ("list[int]", "List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("Optional[List[bool]]", "Optional[List[bool]]", None),
        ("str | float", "str | float", {"anyOf": [{"type": "string"}, {"type": "number"}]}),
        (
            "float | str | None",
            "float | str | None",
            {
                "anyOf": [{"type": "number", "nullable": True}, {"type": "string", "nullable": True}],
                "nullable": True,
            },
        ),
        ("list[int] | list[float]", "List[int] | List[float]", None),
        ("Path", "Path", {"type": "string", "format": "uri"}),
        ("pathlib.PurePosixPath", "Path", None),
        ("Annotated[str, 'a note']", "str", None),
        ("Any", "Any", None),
        ("list", "List[Any]", None),
        ("dict", "dict", {"type": "object"}),
        ("Dict[str, Any]", "dict", {"type": "object"}),
        ("dict[str, int]", "dict", {"type": "object"}),
        ("Point", "dict", {"type": "object"}),
        ("list[Point]", "List[dict]", {"type": "array", "items": {"type": "object"}}),
        ("Optional[list[dict]]", "Optional[List[dict]]", None),
        ("Annotated[Thing, Opaque]", "dict", {"type": "object"}),
        ("Annotated[List[Thing], Opaque]", "List[dict]", None),
        ("Annotated[list, Opaque]", "List[dict]", None),
        ("List[Annotated[Thing, Opaque]]", "List[dict]", None),
        ("Annotated[Thing, Opaque] | None", "Optional[dict]", None),
        ("Annotated[List[Thing], Opaque] | None", "Optional[List[dict]]", None),
    ],
)
def test_annotations(text: str, shown: str, schema: dict[str, Any] | None) -> None:
    found = input_type(annotation(text))
    assert str(found) == shown
    if schema is not None:
        assert found.schema() == schema


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Thing", "invalid input field x: unsupported Cog type Thing"),
        ("SubDict", "unsupported Cog type SubDict"),
        ("list[list[int]]", "List cannot have nested type list[int]"),
        ("list[Optional[int]]", "List cannot have nested type "),
        ("Optional[Iterator[str]]", "Optional cannot have nested type "),
        ("str | Path", "unsupported union member Path in union "),
        ("str | Secret", "unsupported union member Secret in union "),
    ],
)
def test_annotations_that_are_no_inputs(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        input_field("x", annotation(text))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("x: str = Input(ge=1)", "incompatible input type for ge/le: x: str"),
        ("x: Optional[str] = Input(le=1)", "incompatible input type for ge/le: x: Optional[str]"),
        ("x: int = Input(1, ge=2)", "invalid default for x: int: must be at minimum 2"),
        ("x: int = Input(3, le=2)", "invalid default for x: int: must be at maximum 2"),
        ("x: int = Input(min_length=1)", "incompatible input type for min_length/max_length: x: int"),
        ("x: str = Input('a', min_length=2)", "default conflicts with min_length=2 for input: x: str"),
        ("x: str = Input('abc', max_length=2)", "default conflicts with max_length=2 for input: x: str"),
        ("x: int = Input(regex='a')", "incompatible input type for regex: x: int"),
        ("x: str = Input('b', regex='^a')", "default not a regex match for input: x: str"),
        ("x: float = Input(choices=[1.0, 2.0])", "incompatible input type for choices: x: float"),
        ("x: str = Input(choices=['a'])", "choices=['a'] must have >= 2 elements: x: str"),
        ("x: int = Input(choices=[1, 2], ge=1)", "choices and ge/le are mutually exclusive: x: int"),
        (
            "x: str = Input(choices=['a', 'b'], max_length=1)",
            "choices and min_length/max_length are mutually exclusive: x: str",
        ),
        ("x: str = Input(choices=['a', 1])", "not all choices have the same type as input: x: str"),
        ("x", "missing type annotation for input: x"),
        ("*x: int", "run() must not have *args"),
        ("**x: int", "run() must not have **kwargs"),
        ("*, x: int", "run() must not have keyword-only args"),
    ],
)
def test_parameters_that_are_no_inputs(parameter: str, message: str) -> None:
    refused(message, f"def run(self, {parameter}) -> str: ...")


def test_parameters_that_are() -> None:
    inputs = runner(
        "def run(self, a: str, b: str = Input(), c: Optional[int] = None, d: int = Input(3, ge=1),"
        " e: Secret = Input(None), f: str = Input('x', choices=['x', 'y'])) -> str: ..."
    ).inputs
    assert [name for name, field in inputs.items() if field.is_required] == ["a", "b", "e"]
    assert (inputs["d"].default, inputs["d"].info.ge) == (3, 1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["def run() -> str: ..."], "run() must have 'self' as first argument"),
        (["def run(self): ..."], "run() must have a return type annotation"),
        (["def run(self) -> None: ..."], "run() must have a return type annotation"),
        (["def run(self) -> 'None': ..."], "run() must have a return type annotation"),
        (["def run(self) -> str: ...", "def predict(self) -> str: ..."], "must define either run() or predict()"),
        (["pass"], "run or predict method not found: Runner"),
        (["def setup(): ...", "def run(self) -> str: ..."], "setup() must have 'self' as first argument"),
        (["setup = str.upper", "def run(self) -> str: ..."], "setup() must have 'self' as first argument"),
        (["def setup(self, *a): ...", "def run(self) -> str: ..."], "setup() must not have *args"),
        (["def setup(self, a, weights, b=1): ...", "def run(self) -> str: ..."], "unexpected setup() arguments: a"),
        (["def setup(self) -> int: ...", "def run(self) -> str: ..."], "setup() must return None"),
    ],
)
def test_methods_that_no_server_could_call(lines: list[str], message: str) -> None:
    refused(message, *lines)


def test_methods_that_servers_call() -> None:
    runner("def setup(self, weights, size=1) -> 'None': ...", "async def run(self) -> str: ...")
    postponed = "def setup(self) -> None: ...\n def run(self, s: str | None) -> list[Point]: ..."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signature = inspect_model(module_of_strings(postponed).Runner)
    assert (str(signature.inputs["s"].type), str(signature.output.value)) == ("Optional[str]", "List[dict]")
    with pytest.warns(DeprecationWarning, match=r"Runner.predict\(\) is deprecated"):
        runner("def predict(self, s: str) -> str: ...")
    assert list(inspect_model(module("def run(s: str) -> str: ...").run).inputs) == ["s"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Optional[str]", "output must not be Optional"),
        ("Optional[BaseModel]", "output must not be Optional"),
        ("Annotated[Optional[str], 'a note']", "output must not be Optional"),
        ("Iterator", "iterator type must have a type argument"),
        ("Iterator[Optional[str]]", "iterator element type must not be Optional or List"),
        ("Iterator[list[str]]", "iterator element type must not be Optional or List"),
        ("ConcatenateIterator[int]", "ConcatenateIterator must have str element"),
        ("Thing", "unsupported Cog type Thing"),
    ],
)
def test_outputs_that_are_none(text: str, message: str) -> None:
    refused(message, f"def run(self) -> {text}: ...")


def test_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    def schema(text: str) -> dict[str, Any]:
        return runner(f"def run(self) -> {text}: ...").output.schema()

    assert schema("list[Path]") == {"type": "array", "items": {"type": "string", "format": "uri"}}
    pieces = {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"}
    assert schema("AsyncIterator[str]") == pieces
    assert schema("ConcatenateIterator[str]") == {**pieces, "x-cog-array-display": "concatenate"}
    assert schema("Annotated[Thing, Opaque]") == {"type": "object"}
    assert capsys.readouterr().err == ""
    assert schema("Any") == {"type": "object"}
    assert "WARNING the output type Any" in capsys.readouterr().err


def test_objects_as_output() -> None:
    fields = "\n ".join(["class Out(BaseModel):", "name: str", "maybe: Optional[str] = None", "maybe_values: %s"])
    run = "\nclass Runner(BaseRunner):\n def run(self) -> Out: ..."
    source = fields % "'Optional[Annotated[List[Thing], Opaque]]' = None"
    schema = inspect_model(module(source + run).Runner).output.schema()
    assert schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name"},
            "maybe": {"type": "string", "nullable": True, "title": "Maybe"},
            "maybe_values": {
                "type": "array",
                "items": {"type": "object"},
                "nullable": True,
                "title": "Maybe Values",
            },
        },
        "required": ["name"],
    }
    optional = "class Out(BaseModel):\n a: Optional[str] = None"
    assert "required" not in inspect_model(module(optional + run).Runner).output.schema()


def test_objects_of_pydantic() -> None:
    pytest.importorskip("pydantic")
    source = "import pydantic\nclass Out(pydantic.BaseModel):\n a_b: int\ndef run() -> Out: ..."
    properties = inspect_model(module(source).run).output.schema()["properties"]
    assert properties == {"a_b": {"type": "integer", "title": "A B"}}


class Text(str, Enum):
    A = "a"


class Odd(Enum):
    A = "a"


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("int", "3", 3),
        ("float", "1.5", 1.5),
        ("float", 2, 2.0),
        ("int", 2.0, 2),
        ("list[int]", ["1", 2], [1, 2]),
        ("Optional[int]", None, None),
        ("str", Text.A, "a"),
        ("Path", "/a/b", cog.Path("/a/b")),
        ("Secret", "k", cog.Secret("k")),
        ("dict", {"a": 1}, {"a": 1}),
        ("int | float", 1, 1),
        ("float | int", 1, 1),
        ("str | float", 1, 1.0),
        ("list[float] | list[int]", [1], [1]),
        ("list[int] | list[float]", [1.5], [1.5]),
        ("str | list[str]", ["a"], ["a"]),
        ("bool | int", True, True),
        ("str | dict | None", None, None),
    ],
)
def test_values_become_what_their_type_wants(text: str, value: Any, expected: Any) -> None:
    found = normalized(input_type(annotation(text)), value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("int", 1.5, "failed to normalize value as int"),
        ("int", "x", "failed to normalize value as int"),
        ("int", True, "failed to normalize value as int"),
        ("str", 1, "failed to normalize value as str"),
        ("str", None, "failed to normalize value as str"),
        ("str", Odd.A, "enum Odd is used as str but does not extend it"),
        ("list[int]", 1, r"failed to normalize value as List\[int\]"),
        ("str | bool", 1, "failed to normalize value as"),
        ("int | float", True, "failed to normalize value as"),
        ("str | dict", 123, "failed to normalize value as"),
        ("str | float", None, "failed to normalize value as"),
        ("list[int] | list[str]", [1, "a"], "failed to normalize value as"),
    ],
)
def test_values_that_do_not_fit(text: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalized(input_type(annotation(text)), value)


def test_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    signature = runner("def run(self, n: int, s: str = 'x', o: Optional[int] = None) -> str: ...")
    assert check_input(signature.inputs, {"n": "3", "odd": 1}) == {"n": 3, "s": "x", "o": None}
    assert capsys.readouterr().err == "WARNING unknown input field ignored: odd\n"


@pytest.mark.parametrize(
    ("parameter", "values", "message"),
    [
        ("x: int", {}, "x: Field required"),
        ("x: int", {"x": "a"}, "x: Invalid value for type int"),
        ("x: int = Input(ge=1)", {"x": 0}, "x fails constraint >= 1"),
        ("x: int = Input(le=1)", {"x": 2}, "x fails constraint <= 1"),
        ("x: list[int] = Input(le=1)", {"x": [1, 2]}, "x fails constraint <= 1"),
        ("x: str = Input(min_length=2)", {"x": "a"}, "x fails constraint len() >= 2"),
        ("x: str = Input(max_length=2)", {"x": "abc"}, "x fails constraint len() <= 2"),
        ("x: str = Input(regex='^a')", {"x": "b"}, "x does not match regex '^a'"),
        ("x: str = Input(choices=['a', 'b'])", {"x": "c"}, "x does not match choices ['a', 'b']"),
    ],
)
def test_arguments_that_do_not_fit(parameter: str, values: dict[str, Any], message: str) -> None:
    signature = runner(f"def run(self, {parameter}) -> str: ...")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_input(signature.inputs, values)


CODER = """
class Money:
    def __init__(self, cents): self.cents = cents
class MoneyCoder(cog.coder.Coder):
    @staticmethod
    def factory(tpe): return MoneyCoder() if tpe is Money else None
    def encode(self, x): return {"cents": x.cents}
    def decode(self, x): return Money(x["cents"])
def run(price: Money) -> str: ...
"""


def test_coders_of_the_model_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cog.Coder, "_registered", set())
    inputs = inspect_model(module(CODER).run).inputs
    assert inputs["price"].type.schema() == {"type": "object"}
    assert check_input(inputs, {"price": {"cents": 5}})["price"].cents == 5

"""Outputs as JSON text."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cog._worker.encode import OutputError, encode


class Color(str, enum.Enum):
    RED = "red"


class Plain(enum.Enum):
    ONE = 1


@dataclasses.dataclass
class Point:
    x: int
    color: Color = Color.RED


class Dumped:
    def __init__(self, content: Any) -> None:
        self.content = content

    def model_dump(self) -> dict[str, Any]:
        return {"content": self.content}


def numbers() -> Iterator[int]:
    yield from (1, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("é\n", "é\n"),
        (Color.RED, "red"),
        (Plain.ONE, 1),
        ({1: (1, 2)}, {"1": [1, 2]}),
        ({"a": {3}}, {"a": [3]}),
        ([Point(1)], [{"x": 1, "color": "red"}]),
        (Dumped([Dumped(Plain.ONE), numbers()]), {"content": [{"content": 1}, [1, 2]]}),
        ({"at": datetime.datetime(2024, 1, 2)}, {"at": "2024-01-02T00:00:00"}),
        ({"file": io.BytesIO(b"Hello")}, {"file": "data:application/octet-stream;base64,SGVsbG8="}),
        ({"text": io.StringIO("Hello")}, {"text": "data:application/octet-stream;base64,SGVsbG8="}),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    encoded = encode(value, None)
    assert (json.loads(encoded.text), encoded.files) == (expected, False)


def test_files_are_named_for_the_server(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("Hello")
    encoded = encode([file, "x", io.BytesIO(b"y" * 3_000_000)], str(tmp_path))
    assert encoded.files == [0, 2]
    markers = json.loads(encoded.text)
    assert markers[0]["__cog_file__"] == {"path": str(file), "name": "a.txt", "mime": "text/plain", "delete": False}
    assert Path(markers[2]["__cog_file__"]["path"]).read_bytes() == b"y" * 3_000_000


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        encode(Broken(), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"bytes", "Failed to serialize output: TypeError: Object of type bytes is not JSON serializable"),
        ({"a": [object()]}, "Failed to serialize output: TypeError: Object of type object is not JSON serializable"),
        ([float("nan")], "Failed to parse output JSON: "),
    ],
)
def test_what_cannot_be_sent_is_named(value: Any, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        encode(value, None)


def test_values_that_contain_themselves_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(OutputError, match="nested too deeply"):
        encode(endless, None)


def test_errors_of_the_model_stay_its_own() -> None:
    def late() -> Iterator[int]:
        yield 1
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        encode({"a": late()}, None)

"""Outputs as JSON text."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cog._worker.encode import OutputError, encode, encode_item


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
    expected = {"path": os.path.realpath(file), "name": "a.txt", "mime": "text/plain", "delete": False}
    assert markers[0]["__cog_file__"] == expected
    assert Path(markers[2]["__cog_file__"]["path"]).read_bytes() == b"y" * 3_000_000


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="there is no /proc")
def test_a_link_that_is_no_path_is_copied(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("right")
    with open(tmp_path / "x.txt") as file:
        os.unlink(file.name)
        (tmp_path / "x.txt (deleted)").write_text("wrong")
        encoded = encode(Path(f"/proc/self/fd/{file.fileno()}"), str(tmp_path))
    marker = json.loads(encoded.text)["__cog_file__"]
    assert (Path(marker["path"]).read_text(), marker["delete"]) == ("right", True)


def test_a_link_is_announced_by_what_it_leads_to(tmp_path: Path) -> None:
    blob = tmp_path.resolve() / "blob"
    blob.write_bytes(b"x")
    link = tmp_path / "a.txt"
    link.symlink_to(blob)
    marker = json.loads(encode(link, None).text)["__cog_file__"]
    assert marker == {"path": str(blob), "name": "a.txt", "mime": "text/plain", "delete": False}


class Bytes(os.PathLike[bytes]):
    def __init__(self, path: bytes) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return self.path


@pytest.mark.parametrize("encoder", [encode, encode_item])
def test_names_that_are_no_text_are_made_readable(tmp_path: Path, encoder: Any) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    with open(name, "wb") as file:
        file.write(b"x")
    spill = tmp_path / "spill"
    spill.mkdir()
    opened = io.BytesIO(b"x")
    opened.name = os.fsdecode(name)  # type: ignore[attr-defined]
    for value in (Path(os.fsdecode(name)), Bytes(name), opened):
        marker = json.loads(encoder(value, str(spill)).text.encode())["__cog_file__"]
        assert (marker["name"], marker["mime"]) == ("\ufffd.png", "image/png")
        assert Path(marker["path"]).read_bytes() == b"x"
    assert json.loads(encode({"a": Bytes(name)}, None).text) == {"a": "data:image/png;base64,eA=="}


@pytest.mark.parametrize("wrap", [lambda path: path, lambda path: [path], lambda path: {"a": path}])
def test_what_is_no_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Any) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    os.mkfifo("pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    for name, what in [
        ("folder", "the output `folder` is a directory: return its files, or an archive of them"),
        ("pipe", "the output `pipe` is a FIFO, not a file with content"),
        ("socket", "the output `socket` is a socket, not a file with content"),
        ("/dev/null", "the output `/dev/null` is a device, not a file with content"),
        ("gone", "the output file `gone` does not exist"),
        ("folder/\0", "the output file `folder/\0` does not exist"),
        ("x" * 300, f"the output file `{'x' * 300}` can't be read: File name too long"),
        ("\udcff", "the output file `\ufffd` does not exist"),
    ]:
        for encoder in (encode, encode_item):
            with pytest.raises(OutputError) as raised:
                encoder(wrap(Path(name)), None)
            assert str(raised.value) == what
    listener.close()


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

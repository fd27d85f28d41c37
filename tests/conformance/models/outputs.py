"""Outputs of every kind."""

import dataclasses
import datetime
import enum
import importlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from cog import BaseModel, BaseRunner, Opaque, Path, Secret


def written(name: str, content: bytes) -> Path:
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(content)
    return path


class OneFile(BaseRunner):
    def run(self, name: str = "out.png") -> Path:
        return written(name, b"content")


class Files(BaseRunner):
    def run(self) -> list[Path]:
        return [written(f"{n}.txt", b"file %d" % n) for n in range(3)]


class YieldedFiles(BaseRunner):
    def run(self) -> Iterator[Path]:
        for n in range(3):
            yield written(f"{n}.txt", b"file %d" % n)


class LargeFile(BaseRunner):
    def run(self, megabytes: int) -> Path:
        path = written("large.bin", b"")
        with path.open("wb") as file:
            for n in range(megabytes):
                file.write(bytes([n]) * (1 << 20))
        return path


class LargeText(BaseRunner):
    def run(self, megabytes: int) -> str:
        return "x" * (megabytes << 20)


class MissingFile(BaseRunner):
    def run(self) -> Path:
        return Path("nowhere.txt")


class TextFile(BaseRunner):
    def run(self) -> Path:
        return io.StringIO("Grüße")  # type: ignore[return-value]


class Details(BaseModel):
    title: str
    numbers: list[int]
    note: str | None = None
    inner: dict | None = None


class Model(BaseRunner):
    def run(self) -> Details:
        return Details(title="outer", numbers=[], inner={"model": Details(title="inner", numbers=[1, 2])})


class WithFile(BaseModel):
    file: Path
    label: str


class ModelWithFile(BaseRunner):
    def run(self) -> WithFile:
        return WithFile(file=written("out.txt", b"content"), label="text")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Inner:
    n: int


@dataclasses.dataclass
class Outer:
    inner: Inner
    tags: tuple[str, ...]


class Values(BaseRunner):
    """Values that JSON does not have."""

    def run(self, kind: str) -> Any:
        match kind:
            case "pydantic":
                pydantic = importlib.import_module("pydantic")
                return pydantic.create_model("Answer", text=(str, ...), note=(str | None, None))(text="hello")
            case "numpy":
                numpy = importlib.import_module("numpy")
                return {
                    "integer": numpy.int64(3),
                    "floating": numpy.float32(0.5),
                    "array": numpy.array([[1, 2], [3, 4]]),
                }
            case "enum":
                return {"colour": Colour.RED}
            case "datetime":
                return {"at": datetime.datetime(2026, 1, 2, 3, 4, 5)}
            case "set":
                return {"set": {1}, "frozenset": frozenset([2])}
            case "tuple":
                return (1, 2)
            case "dataclass":
                return Outer(Inner(1), ("a", "b"))
            case "generator":
                return (n for n in range(3))
            case "nested file":
                return {"files": [written("a.txt", b"a")]}
            case "open file":
                return io.BytesIO(b"content")
            case "secret":
                return Secret("visible")
            case "bytes":
                return b"bytes"
            case "object":
                return object()
            case "nan":
                return float("nan")
        raise ValueError(kind)


class OpaqueOutput(BaseRunner):
    def run(self, value: dict) -> dict:
        assert repr(Opaque) == "cog.Opaque"
        return value


class WorkingDirectory(BaseRunner):
    def run(self) -> str:
        return os.getcwd()

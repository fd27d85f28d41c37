"""Inputs of every kind. Most models return what arrived, as text that shows its type."""

import os
from typing import Any, Optional, TypedDict

from cog import BaseRunner, File, Input, Path, Secret


def shown(value: Any) -> str:
    return f"{type(value).__name__}:{value}"


class Defaults(BaseRunner):
    def run(self, n: int = Input(default=10), s: str = "text") -> str:
        return f"{shown(n)} {shown(s)}"


class Integer(BaseRunner):
    def run(self, n: int, m: int = 0) -> str:
        return f"{shown(n)} {shown(m)}"


class Bounds(BaseRunner):
    def run(
        self,
        n: int = Input(ge=1, le=5, default=1),
        s: str = Input(min_length=2, max_length=5, regex="^a", default="aa"),
    ) -> str:
        return f"{n} {s}"


class OptionalUnion(BaseRunner):
    def run(self, value: str | float | None = None) -> str:
        return "None" if value is None else shown(value)


class OptionalText(BaseRunner):
    def run(self, s: Optional[str]) -> str:  # noqa: UP045
        return repr(s)


class Choices(BaseRunner):
    def run(self, colour: str = Input(choices=["red", "green"]), size: int = Input(choices=[1, 2], default=1)) -> str:
        return f"{colour} {size}"


class OneFile(BaseRunner):
    def run(self, path: Path) -> str:
        return f"{type(path).__name__} {path.name} {path.read_text()}"


class FileName(BaseRunner):
    def run(self, path: Path) -> str:
        return str(path)


class OptionalFile(BaseRunner):
    def run(self, path: Path | None = None) -> str:
        return "None" if path is None else path.read_text()


class Files(BaseRunner):
    def run(self, paths: list[Path]) -> list[str]:
        return [path.read_text() for path in paths]


class MixedFiles(BaseRunner):
    """A list of which only some elements are URLs."""

    def run(self, paths: list[Path]) -> list[str]:
        return [f"file:{open(path).read()}" if os.path.exists(path) else str(path) for path in paths]


class LegacyFile(BaseRunner):
    def run(self, file: File | None = None) -> str:
        return "None" if file is None else repr(file.read())


class Text(BaseRunner):
    def run(self, s: str, several: list[str] = Input(default=[])) -> str:
        return " ".join([shown(s), *map(shown, several)])


class Secrets(BaseRunner):
    def run(self, key: Secret, plain: str, other: Secret | None = None) -> str:
        opened = None if other is None else other.get_secret_value()
        return f"{type(key).__name__} {key} {key.get_secret_value()} {type(plain).__name__} {opened}"


class Point(TypedDict):
    x: int
    y: int


class Objects(BaseRunner):
    def run(
        self,
        value: dict,
        typed: dict[str, int] = Input(default={}),
        several: list[dict] = Input(default=[]),
        point: Point | None = None,
    ) -> dict:
        return {"value": value, "typed": typed, "several": several, "point": point}


class Anything(BaseRunner):
    def run(self, value: Any) -> Any:
        return value


class Numbers(BaseRunner):
    def run(self, flag: bool, numbers: list[int], i: int, f: float) -> dict:
        return {"flag": flag, "numbers": numbers, "i": i, "f": f, "types": [type(v).__name__ for v in (flag, i, f)]}


class Length(BaseRunner):
    def run(self, s: str) -> int:
        return len(s)


class Required(BaseRunner):
    def run(self, s: str = Input(description="no default"), n: int = 1) -> str:
        return f"{s} {n}"

"""Opaque types, unions and objects as output."""

from typing import Annotated, Any, List, Optional  # noqa: UP035

from cog import BaseModel, BaseRunner, Opaque


class Point:
    """A class that nothing is known about."""


class Opaques(BaseRunner):
    def run(
        self,
        simple: Annotated[Point, Opaque],
        many: Annotated[List[Point], Opaque],  # noqa: UP006
        bare: Annotated[list, Opaque],
        inside: List[Annotated[Point, Opaque]],  # noqa: UP006
        maybe: Annotated[Point, Opaque] | None = None,
        maybe_many: Annotated[List[Point], Opaque] | None = None,  # noqa: UP006
    ) -> dict:
        given = {"simple": simple, "many": many, "bare": bare, "inside": inside}
        return {**given, "maybe": maybe, "maybe_many": maybe_many}


def shown(*values: Any) -> str:
    return " ".join(f"{type(value).__name__}:{value}" for value in values)


class Unions(BaseRunner):
    def run(
        self,
        number: int | float = 0,
        numbers: list[int] | list[float] = [],  # noqa: B006
        ordered: str | float | None = None,
        other: int | str = 0,
    ) -> str:
        return shown(number, numbers, ordered, other)


class StrictUnions(BaseRunner):
    def run(self, flag: str | bool, record: str | dict = "", maybe: str | int | None = None) -> str:
        return shown(flag, record, maybe)


class Result(BaseModel):
    name: str
    maybe: Optional[int] = None  # noqa: UP045
    maybe_values: Optional[List[int]] = None  # noqa: UP006, UP045


class Results(BaseRunner):
    def run(self) -> Result:
        return Result(name="n", maybe=1)


class Nothing(BaseModel):
    maybe: Optional[int] = None  # noqa: UP045


class Nothings(BaseRunner):
    def run(self) -> Nothing:
        return Nothing()


class Quoted(BaseModel):
    points: "Annotated[list[Point], Opaque]"


class Quoteds(BaseRunner):
    def run(self) -> Quoted:
        return Quoted(points=[{"x": 1}])

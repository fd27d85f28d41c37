"""What a parameter of a model accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldInfo:
    """Metadata of one parameter, made by :func:`Input`. Its ``default`` is what the model gets when none is sent."""

    default: Any = None
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    regex: str | None = None
    choices: Sequence[str | int] | None = None
    deprecated: bool | None = None
    accept: str | None = None


def Input(
    default: Any = None,
    *,
    default_factory: Any = None,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    regex: str | None = None,
    choices: Sequence[str | int] | None = None,
    deprecated: bool | None = None,
    accept: str | None = None,
) -> Any:
    """Describes a parameter. Bounds are inclusive, lengths count characters, ``accept`` is as in HTML's file inputs."""
    if default_factory is not None:
        raise TypeError(
            "default_factory is not supported in Input(). Give the default itself; a mutable one is not shared."
        )
    return FieldInfo(
        default=default,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        regex=regex,
        choices=choices,
        deprecated=deprecated,
        accept=accept,
    )

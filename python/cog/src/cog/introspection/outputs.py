"""What a handler returns, read from its return annotation."""

from __future__ import annotations

import collections.abc
import sys
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from ..model import BaseModel
from ..types import AsyncConcatenateIterator, ConcatenateIterator
from .annotations import UNIONS, InputType, input_type

_CONCATENATED = (ConcatenateIterator, AsyncConcatenateIterator)
_ITERATORS = (collections.abc.Iterator, collections.abc.AsyncIterator, *_CONCATENATED)


@dataclass(frozen=True)
class OutputType:
    """A value, an iterator of values, or an object with fields."""

    value: InputType | None = None
    """The type of the value or of each item; none of an object."""
    display: str | None = None
    """Of iterators: ``iterator``, or ``concatenate`` if clients are to show the items joined."""
    fields: tuple[tuple[str, InputType], ...] = ()

    def schema(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        if self.value is None:
            return _object(self.fields)
        if self.display is None:
            return self.value.schema()
        return {
            "type": "array",
            "items": self.value.schema(),
            "x-cog-array-type": "iterator",
            **({"x-cog-array-display": "concatenate"} if self.display == "concatenate" else {}),
        }


def output_type(annotation: Any) -> OutputType:
    """The output that a return annotation stands for; ValueError if there is no such output."""
    if typing.get_origin(annotation) is Annotated and _is_model(typing.get_args(annotation)[0]):
        # An opaque model is an object of which nothing more is known, any other the model itself.
        opaque = input_type(annotation) if _is_supported(annotation) else None
        return OutputType(opaque) if opaque else output_type(typing.get_args(annotation)[0])
    if annotation in _ITERATORS or typing.get_origin(annotation) in _ITERATORS:
        return _iterator(annotation)
    if _is_model(annotation):
        hints = typing.get_type_hints(annotation, include_extras=True)
        return OutputType(fields=tuple((name, input_type(hints[name])) for name in _field_names(annotation)))
    if typing.get_origin(annotation) in UNIONS and type(None) in typing.get_args(annotation):
        raise ValueError("output must not be Optional")
    found = input_type(annotation)
    if found.optional:
        raise ValueError("output must not be Optional")
    if annotation is Any:
        print("WARNING the output type Any tells clients nothing: name the type that is returned", file=sys.stderr)
    return OutputType(found)


def _iterator(annotation: Any) -> OutputType:
    arguments = typing.get_args(annotation)
    if len(arguments) != 1 or isinstance(arguments[0], typing.TypeVar):
        raise ValueError("iterator type must have a type argument")
    item = input_type(arguments[0])
    if item.optional or any(element.many for element in item.elements):
        raise ValueError("iterator element type must not be Optional or List")
    if typing.get_origin(annotation) not in _CONCATENATED:
        return OutputType(item, "iterator")
    if item.kinds != {"str"}:
        raise ValueError(f"{typing.get_origin(annotation).__name__} must have str element")
    return OutputType(item, "concatenate")


def _is_supported(annotation: Any) -> bool:
    try:
        input_type(annotation)
    except ValueError:
        return False
    return True


def _is_model(annotation: Any) -> bool:
    """A model of ours, or of any version of pydantic."""
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, BaseModel) or _pydantic_fields(annotation) is not None


def _field_names(model: type) -> list[str]:
    return list(_pydantic_fields(model) or getattr(model, "__dataclass_fields__", None) or model.__annotations__)


def _pydantic_fields(model: type) -> dict[str, Any] | None:
    if not any(base.__module__.partition(".")[0] == "pydantic" for base in model.__mro__):
        return None
    fields: dict[str, Any] = getattr(model, "model_fields", None) or vars(model).get("__fields__", {})
    return fields


def _object(fields: tuple[tuple[str, InputType], ...]) -> dict[str, Any]:
    properties = {name: {**kind.schema(), "title": name.replace("_", " ").title()} for name, kind in fields}
    required = [name for name, kind in fields if not kind.optional]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}

"""The types that values may have, read from annotations."""

from __future__ import annotations

import os
import types
import typing
from dataclasses import dataclass, replace
from typing import Annotated, Any

from ..coder import Coder
from ..types import File, Opaque, Secret

UNIONS = (typing.Union, types.UnionType)
UNION_KINDS = ("bool", "int", "float", "str", "dict", "Any")
_NAMED: dict[Any, str] = {
    Any: "Any",
    bool: "bool",
    dict: "dict",
    File: "File",
    float: "float",
    int: "int",
    Secret: "Secret",
    str: "str",
}
_URI = {"type": "string", "format": "uri"}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "int": {"type": "integer"},
    "str": {"type": "string"},
    "File": _URI,
    "Path": _URI,
    "Secret": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
}


@dataclass(frozen=True)
class Element:
    """One member of a type: a value of some kind, or a list of such values."""

    kind: str
    """``bool``, ``int``, ``float``, ``str``, ``Path``, ``File``, ``Secret``, ``dict``, ``Any``, or a coder's class."""
    many: bool = False
    coder: Coder | None = None

    def __str__(self) -> str:
        return f"List[{self.kind}]" if self.many else self.kind

    def schema(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        one = dict(_SCHEMAS.get(self.kind, {"type": "object"}))
        return {"type": "array", "items": one} if self.many else one


@dataclass(frozen=True)
class InputType:
    """An element, or a union of several in the order of the annotation."""

    elements: tuple[Element, ...]
    optional: bool = False

    @property
    def kinds(self) -> set[str]:
        """The kinds of all elements."""
        return {element.kind for element in self.elements}

    def __str__(self) -> str:
        text = " | ".join(map(str, self.elements))
        if not self.optional:
            return text
        return f"Optional[{text}]" if len(self.elements) == 1 else f"{text} | None"

    def schema(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        nullable = {"nullable": True} if self.optional else {}
        schemas = [{**element.schema(), **nullable} for element in self.elements]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas, **nullable}


def input_type(annotation: Any, *, opaque: bool = False) -> InputType:
    """The type that an annotation stands for; ValueError if there is no such type of inputs."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = typing.get_args(annotation)
        return input_type(inner, opaque=opaque or any(item is Opaque for item in metadata))
    if origin in UNIONS:
        return _union(annotation, opaque)
    return InputType((_element(annotation, opaque),))


def shown(annotation: Any) -> str:
    """An annotation in a message."""
    plain = isinstance(annotation, type) and not typing.get_args(annotation)
    return annotation.__name__ if plain else str(annotation)


def _union(annotation: Any, opaque: bool) -> InputType:
    arguments = typing.get_args(annotation)
    members = [member for member in arguments if member is not type(None)]
    optional = len(members) < len(arguments)
    if len(members) == 1:
        if typing.get_origin(members[0]) not in (None, Annotated, list, dict):
            raise ValueError(f"Optional cannot have nested type {shown(members[0])}")
        return replace(input_type(members[0], opaque=opaque), optional=True)
    return InputType(tuple(_member(member, annotation, opaque) for member in members), optional)


def _member(annotation: Any, union: Any, opaque: bool) -> Element:
    try:
        found = input_type(annotation, opaque=opaque)
    except ValueError:
        found = None
    if found is None or found.optional or len(found.elements) > 1 or found.elements[0].kind not in UNION_KINDS:
        raise ValueError(f"unsupported union member {shown(annotation)} in union {shown(union)}")
    return found.elements[0]


def _element(annotation: Any, opaque: bool) -> Element:
    origin = typing.get_origin(annotation)
    if annotation is list or annotation is typing.List:  # noqa: UP006
        return Element("dict" if opaque else "Any", many=True)
    if origin is list:
        (argument,) = typing.get_args(annotation)
        inner = input_type(argument, opaque=opaque)
        if inner.optional or len(inner.elements) > 1 or inner.elements[0].many:
            raise ValueError(f"List cannot have nested type {shown(argument)}")
        return replace(inner.elements[0], many=True)
    if opaque or origin is dict or annotation is typing.Dict or _is_typed_dict(annotation):  # noqa: UP006
        return Element("dict")
    if annotation in _NAMED:
        return Element(_NAMED[annotation])
    if isinstance(annotation, type):
        if issubclass(annotation, os.PathLike):
            return Element("Path")
        if coder := Coder.lookup(annotation):
            return Element(annotation.__name__, coder=coder)
    raise ValueError(f"unsupported Cog type {shown(annotation)}")


def _is_typed_dict(annotation: Any) -> bool:
    """Of `typing` or of `typing_extensions`, which `typing.is_typeddict` does not know."""
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")

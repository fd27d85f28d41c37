"""Values as the types of a model want them. A server does none of this: models get what was sent."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..types import File, Path, Secret
from .annotations import UNION_KINDS, Element, InputType

if TYPE_CHECKING:
    from .inputs import InputField

_CLASSES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str, "dict": dict}


def check_input(fields: Mapping[str, InputField], values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for a handler with these parameters; ValueError for the first that does not fit."""
    for name in values:
        if name not in fields:
            print(f"WARNING unknown input field ignored: {name}", file=sys.stderr)
    return {name: _argument(field, values) for name, field in fields.items()}


def normalized(wanted: InputType, value: Any) -> Any:
    """The value as this type; ValueError if it is none and can't be made one without loss."""
    if value is None:
        if wanted.optional:
            return None
    elif len(wanted.elements) == 1:
        return _of_element(wanted.elements[0], value)
    else:
        for element in _by_precedence(wanted):
            if _is_exactly(element, value):
                return value
        for element in wanted.elements:
            if element.kind == "float" and _is_numeric(element, value):
                return _of_element(element, value)
    raise _failure(wanted)


def plain(value: Any) -> Any:
    """What an enumeration's member stands for."""
    return value.value if isinstance(value, Enum) else value


def _argument(field: InputField, values: Mapping[str, Any]) -> Any:
    if field.name not in values:
        if field.is_required:
            raise ValueError(f"{field.name}: Field required")
        return field.default
    try:
        value = normalized(field.type, values[field.name])
    except ValueError as error:
        raise ValueError(f"{field.name}: Invalid value for type {field.type}") from error
    for item in value if isinstance(value, list) else [value]:
        for problem in _broken_constraints(field, item):
            raise ValueError(f"{field.name} {problem}")
    return value


def _broken_constraints(field: InputField, value: Any) -> Iterator[str]:
    info = field.info
    if value is None:
        return
    if info.ge is not None and value < info.ge:
        yield f"fails constraint >= {info.ge}"
    if info.le is not None and value > info.le:
        yield f"fails constraint <= {info.le}"
    if info.min_length is not None and len(value) < info.min_length:
        yield f"fails constraint len() >= {info.min_length}"
    if info.max_length is not None and len(value) > info.max_length:
        yield f"fails constraint len() <= {info.max_length}"
    if info.regex is not None and not re.search(info.regex, value):
        yield f"does not match regex {info.regex!r}"
    if info.choices is not None and value not in (choices := [plain(choice) for choice in info.choices]):
        yield f"does not match choices {choices}"


def _of_element(element: Element, value: Any) -> Any:
    if not element.many:
        return _scalar(element, value)
    if not isinstance(value, list):
        raise _failure(element)
    return [_scalar(element, item) for item in value]


def _scalar(element: Element, value: Any) -> Any:
    kind = element.kind
    if isinstance(value, Enum) and kind in _CLASSES:
        if not isinstance(value, _CLASSES[kind]):
            raise ValueError(f"enum {type(value).__name__} is used as {kind} but does not extend it")
        value = value.value
    if element.coder is not None:
        return element.coder.decode(value) if isinstance(value, dict) else value
    if kind == "Any" or (kind in _CLASSES and type(value) is _CLASSES[kind]):
        return value
    if kind in ("int", "float") and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return _number(kind, value)
    if kind == "Path" and isinstance(value, (str, os.PathLike)):
        return Path.validate(value)
    if kind == "File":
        return File.validate(value)
    if kind == "Secret" and isinstance(value, (str, Secret)):
        return value if isinstance(value, Secret) else Secret(value)
    if kind in ("str", "dict") and isinstance(value, _CLASSES[kind]):
        return value
    raise _failure(element)


def _number(kind: str, value: float | str) -> float:
    try:
        number = _CLASSES[kind](value)
    except (ValueError, OverflowError):
        raise ValueError(f"failed to normalize value as {kind}") from None
    if not isinstance(value, str) and number != value:
        raise ValueError(f"failed to normalize value as {kind}")
    return number  # type: ignore[no-any-return]


def _by_precedence(wanted: InputType) -> list[Element]:
    """Lists after all others, as a list never is one of them."""
    return sorted(wanted.elements, key=lambda element: (element.many, UNION_KINDS.index(element.kind)))


def _is_exactly(element: Element, value: Any) -> bool:
    if element.many:
        return isinstance(value, list) and all(_is_of_kind(element.kind, item) for item in value)
    return _is_of_kind(element.kind, value)


def _is_of_kind(kind: str, value: Any) -> bool:
    return kind == "Any" or type(plain(value)) is _CLASSES[kind]


def _is_numeric(element: Element, value: Any) -> bool:
    values = value if element.many else [value]
    return isinstance(values, list) and all(type(item) in (int, float) for item in values)


def _failure(wanted: InputType | Element) -> ValueError:
    return ValueError(f"failed to normalize value as {wanted}")

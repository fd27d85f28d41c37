"""One parameter of a handler, and whether its ``Input(...)`` fits its type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..input import FieldInfo
from .annotations import InputType, input_type
from .values import normalized, plain


@dataclass(frozen=True)
class InputField:
    """A parameter: its type, what it is if it is omitted, and its constraints."""

    name: str
    type: InputType
    default: Any
    info: FieldInfo

    @property
    def is_required(self) -> bool:
        """Whether it may not be omitted."""
        return self.default is None and not self.type.optional


def input_field(name: str, annotation: Any, default: Any = None) -> InputField:
    """The parameter with this annotation and default, a value or an ``Input(...)``; ValueError if they don't fit."""
    try:
        wanted = input_type(annotation)
    except ValueError as error:
        raise ValueError(f"invalid input field {name}: {error}") from error
    info = default if isinstance(default, FieldInfo) else FieldInfo(default=default)
    value = None if info.default is None else normalized(wanted, info.default)
    field = InputField(name, wanted, value, info)
    for check in (_check_choices, _check_bounds, _check_lengths, _check_regex):
        check(field, f"{name}: {wanted}")
    return field


def _check_choices(field: InputField, where: str) -> None:
    info = field.info
    if info.choices is None:
        return
    choices = [plain(choice) for choice in info.choices]
    if len(field.type.elements) > 1 or not field.type.kinds <= {"str", "int"}:
        raise ValueError(f"incompatible input type for choices: {where}")
    if len(choices) < 2:
        raise ValueError(f"choices={choices} must have >= 2 elements: {where}")
    if {type(choice).__name__ for choice in choices} != field.type.kinds:
        raise ValueError(f"not all choices have the same type as input: {where}")
    if info.ge is not None or info.le is not None:
        raise ValueError(f"choices and ge/le are mutually exclusive: {where}")
    if info.min_length is not None or info.max_length is not None:
        raise ValueError(f"choices and min_length/max_length are mutually exclusive: {where}")


def _check_bounds(field: InputField, where: str) -> None:
    ge, le = field.info.ge, field.info.le
    if ge is None and le is None:
        return
    if not field.type.kinds <= {"int", "float"}:
        raise ValueError(f"incompatible input type for ge/le: {where}")
    if ge is not None and _any_default(field, lambda value: value < ge):
        raise ValueError(f"invalid default for {where}: must be at minimum {ge}")
    if le is not None and _any_default(field, lambda value: value > le):
        raise ValueError(f"invalid default for {where}: must be at maximum {le}")


def _check_lengths(field: InputField, where: str) -> None:
    low, high = field.info.min_length, field.info.max_length
    if low is None and high is None:
        return
    if field.type.kinds != {"str"}:
        raise ValueError(f"incompatible input type for min_length/max_length: {where}")
    if low is not None and _any_default(field, lambda value: len(value) < low):
        raise ValueError(f"default conflicts with min_length={low} for input: {where}")
    if high is not None and _any_default(field, lambda value: len(value) > high):
        raise ValueError(f"default conflicts with max_length={high} for input: {where}")


def _check_regex(field: InputField, where: str) -> None:
    pattern = field.info.regex
    if pattern is None:
        return
    if field.type.kinds != {"str"}:
        raise ValueError(f"incompatible input type for regex: {where}")
    if _any_default(field, lambda value: not re.search(pattern, value)):
        raise ValueError(f"default not a regex match for input: {where}")


def _any_default(field: InputField, is_bad: Callable[[Any], bool]) -> bool:
    if field.default is None:
        return False
    values = field.default if isinstance(field.default, list) else [field.default]
    return any(is_bad(value.value if isinstance(value, Enum) else value) for value in values)

"""Which parameters of a model take something else than plain JSON, read from its annotations once."""

from __future__ import annotations

import sys

from .._decorators import unwrapped
from ..input import FieldInfo

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LISTS = {"path": "path_list", "file": "file_list"}
#: What no handler can change.
_IMMUTABLE = (str, int, float, bytes, type(None))


def parameter_kinds(handler: Callable[..., Any]) -> dict[str, str]:
    """``path``, ``file``, ``path_list``, ``file_list`` or ``secret`` for the parameters that are one."""
    function = unwrapped(handler)
    kinds = {}
    for name, annotation in _annotations(function).items():
        kind = _kind(annotation)
        if kind is not None and name != "return":
            kinds[name] = kind
    return kinds


def _annotations(function: Any) -> dict[str, Any]:
    annotations = getattr(function, "__annotations__", {})
    if all(_is_plain(annotation) for annotation in annotations.values()):
        return dict(annotations)
    import typing

    try:
        return typing.get_type_hints(function)
    except Exception:
        return {}


def _is_plain(annotation: Any) -> bool:
    """A class that needs no resolving: the usual case, which spares the import of half of `typing`."""
    return isinstance(annotation, type) and not hasattr(annotation, "__origin__")


def _kind(annotation: Any) -> str | None:
    if _is_plain(annotation):
        return _class_kind(annotation)
    import types
    import typing

    origin = typing.get_origin(annotation)
    if origin is getattr(typing, "Annotated", None):
        return _kind(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is getattr(types, "UnionType", None):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return _kind(members[0]) if len(members) == 1 else None
    if origin is list:
        return _LISTS.get(_kind(typing.get_args(annotation)[0]) or "")
    return None


def _class_kind(cls: type) -> str | None:
    # A parameter can have one of our types only if that module is loaded.
    ours = sys.modules.get("cog.types")
    if ours is None:
        return None
    kinds = {ours.Path: "path", ours.File: "file", ours.Secret: "secret"}
    return kinds.get(cls)


def defaults(handler: Callable[..., Any]) -> dict[str, Any]:
    """What parameters get when they are omitted, where that is not left to Python.

    It does not know what an ``Input(...)`` means, and would give the same list to every prediction.
    """
    function = unwrapped(handler)
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    values = function.__defaults__ or ()
    pairs = dict(zip(positional[len(positional) - len(values) :], values, strict=True))
    pairs.update(function.__kwdefaults__ or {})
    plain = {name: value.default if isinstance(value, FieldInfo) else value for name, value in pairs.items()}
    return {name: plain[name] for name, value in pairs.items() if isinstance(value, FieldInfo) or _is_mutable(value)}


def _is_mutable(value: Any) -> bool:
    return isinstance(value, (list, dict, set, bytearray))


class Inputs:
    """Makes the handler's keyword arguments of what the server sends."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        self.kinds = parameter_kinds(handler)
        self._defaults = defaults(handler)
        self._changeable = {name for name, value in self._defaults.items() if not isinstance(value, _IMMUTABLE)}

    def arguments(self, message: dict[str, Any], opened: list[Any]) -> dict[str, Any]:
        """Files that are opened for the handler are added to ``opened``; the caller closes them."""
        values: dict[str, Any] = message.get("input") or {}
        files = message.get("files") or {}
        for name, kind in self.kinds.items():
            if name in values:
                values[name] = _converted(kind, values[name], files.get(name), opened)
        for name, default in self._defaults.items():
            if name not in values:
                values[name] = _copy(default) if name in self._changeable else default
        return values


def _copy(default: Any) -> Any:
    """For one prediction alone: what it does to it reaches no other one."""
    import copy

    return copy.deepcopy(default)


def _converted(kind: str, value: Any, local: Any, opened: list[Any]) -> Any:
    if kind == "secret":
        from ..types import Secret

        return Secret(value) if isinstance(value, str) else value
    if kind in ("path_list", "file_list"):
        if not isinstance(value, list):
            return value
        places = local if isinstance(local, list) else [None] * len(value)
        return [_file(kind, item, place, opened) for item, place in zip(value, places, strict=False)]
    return _file(kind, value, local, opened)


def _file(kind: str, value: Any, local: str | None, opened: list[Any]) -> Any:
    from ..types import File, Path

    if kind.startswith("path"):
        return value if local is None else Path(local)
    if local is not None:
        file = open(local, "rb")  # noqa: SIM115 - closed when the prediction ends
        opened.append(file)
        return file
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return File.validate(value)
    return value

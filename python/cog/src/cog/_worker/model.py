"""The model as the worker sees it: what to call, and how."""

from __future__ import annotations

import os

from .._decorators import unwrapped
from ..predictor import (
    extract_setup_weights,
    handler_name,
    has_setup_weights,
    load_predictor_from_ref,
)
from .foreign import leave_if_forked
from .signature import Inputs

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_COROUTINE, _ASYNC_GENERATOR = 0x80, 0x200
_SCRATCH = os.environ.get("COG_SCRATCH_DIR")


class Model:
    """A loaded model."""

    def __init__(self, reference: str, mode: str, slots: int) -> None:
        self.instance = load_predictor_from_ref(reference)
        leave_if_forked()
        self.handler = _handler(self.instance, mode == "train")
        flags = _flags(self.handler)
        self.is_async = bool(flags & (_COROUTINE | _ASYNC_GENERATOR))
        self.inputs = Inputs(self.handler)
        #: Its ``setup`` and ``healthcheck``, if it is an object that has them.
        self.setup = self._method("setup")
        self.healthcheck = self._method("healthcheck")
        # Several threads may call it at the same time, as its author says.
        is_thread_safe = hasattr(unwrapped(self.handler), "__cog_concurrent_threads__")
        if slots > 1 and not self.is_async and not is_thread_safe:
            raise ConcurrencyError("COG_MAX_CONCURRENCY > 1 requires an async run() or predict() method")

    def _method(self, name: str) -> Callable[..., Any] | None:
        method = getattr(self.instance, name, None)
        return method if callable(method) and not _is_function(self.instance) else None

    def call_setup(self) -> Any:
        """Runs ``setup``; gives a coroutine if that is async."""
        setup = self.setup
        if setup is None:
            return None
        waiting = setup(extract_setup_weights(self.instance)) if has_setup_weights(self.instance) else setup()
        leave_if_forked()
        return waiting


class ConcurrencyError(Exception):
    """More than one slot for a model that can run one prediction at a time."""


def _handler(instance: Any, train: bool) -> Callable[..., Any]:
    if _is_function(instance):
        handler: Callable[..., Any] = instance
        return handler
    if not train:
        handler = getattr(instance, handler_name(type(instance)))
        return handler
    handler = getattr(instance, "train", None)  # type: ignore[assignment]
    if not callable(handler):
        raise TypeError("Training not supported by this predictor")
    return handler


def _is_function(instance: Any) -> bool:
    return hasattr(instance, "__code__") or not hasattr(type(instance), "__mro__")


def _flags(function: Any) -> int:
    code = getattr(unwrapped(function), "__code__", None)
    return int(code.co_flags) if code else 0


def python_version() -> str:
    """Such as ``3.11.2``."""
    import sys

    return ".".join(map(str, sys.version_info[:3]))


def scratch_directory(prediction: str) -> str | None:
    """Where a prediction may have a directory of its own; ids of the server are safe as names."""
    return f"{_SCRATCH}/{prediction}" if _SCRATCH else None


def spill_directory() -> str | None:
    """Where large values and copies of files go; the server removes it."""
    return os.environ.get("COG_WORKER_SPILL_DIR")

"""What models import. Importing it starts nothing, needs no server and no other package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._decorators import concurrent, streaming
from ._scope import current_scope
from ._version import __version__
from .coder import Coder
from .exceptions import CancelationException
from .input import FieldInfo, Input
from .model import BaseModel
from .predictor import BasePredictor, BaseRunner
from .types import (
    AsyncConcatenateIterator,
    ConcatenateIterator,
    File,
    Opaque,
    Path,
    Secret,
    URLFile,
    URLPath,
)

if TYPE_CHECKING:
    from ._deprecated import ExperimentalFeatureWarning, emit_metric

__all__ = [
    "AsyncConcatenateIterator",
    "BaseModel",
    "BasePredictor",
    "BaseRunner",
    "CancelationException",
    "Coder",
    "ConcatenateIterator",
    "ExperimentalFeatureWarning",
    "FieldInfo",
    "File",
    "Input",
    "Opaque",
    "Path",
    "Secret",
    "URLFile",
    "URLPath",
    "__version__",
    "concurrent",
    "current_scope",
    "emit_metric",
    "streaming",
]


def __getattr__(name: str) -> Any:
    if name in ("ExperimentalFeatureWarning", "emit_metric"):
        from . import _deprecated

        return _deprecated.provide(name)
    raise AttributeError(f"module 'cog' has no attribute '{name}'")

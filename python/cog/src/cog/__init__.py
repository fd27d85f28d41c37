"""What models import. Importing it starts nothing, needs no server and no other package."""

from __future__ import annotations

from ._decorators import concurrent, streaming
from ._scope import current_scope
from ._version import __version__
from .coder import Coder
from .exceptions import CancelationException
from .input import FieldInfo, Input
from .model import BaseModel
from .predictor import BasePredictor, BaseRunner

TYPE_CHECKING = False  # what only some models need is imported when they name it
if TYPE_CHECKING:
    from typing import Any

    from ._deprecated import ExperimentalFeatureWarning, emit_metric
    from .batching import batch
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
    "batch",
    "concurrent",
    "current_scope",
    "emit_metric",
    "streaming",
]


_TYPES = frozenset(
    {
        "AsyncConcatenateIterator",
        "ConcatenateIterator",
        "File",
        "Opaque",
        "Path",
        "Secret",
        "URLFile",
        "URLPath",
    }
)


def __getattr__(name: str) -> Any:
    if name in _TYPES or name == "types":
        import importlib

        types = importlib.import_module(".types", __name__)
        globals().update({known: getattr(types, known) for known in _TYPES})
        return types if name == "types" else globals()[name]
    if name == "batch":
        from . import batching

        globals()["batch"] = batching.batch
        return batching.batch
    if name in ("ExperimentalFeatureWarning", "emit_metric"):
        from . import _deprecated

        return _deprecated.provide(name)
    raise AttributeError(f"module 'cog' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

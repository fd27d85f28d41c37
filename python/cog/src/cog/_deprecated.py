"""Names that old models import. The notice goes to stderr once, where no warning filter can hide it."""

from __future__ import annotations

import sys

from ._scope import current_scope

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

_NOTICES = {
    "ExperimentalFeatureWarning": "cog: ExperimentalFeatureWarning is deprecated and is never emitted; remove it.",
    "emit_metric": "cog: emit_metric() is deprecated; use current_scope().record_metric() instead.",
}
_noticed: set[str] = set()


class ExperimentalFeatureWarning(FutureWarning):
    """Never emitted; kept so that warning filters naming it work."""


def emit_metric(name: str, value: Any) -> None:
    """Records a metric of the running prediction."""
    current_scope().record_metric(name, value)


def provide(name: str) -> Any:
    """The object called ``name``, with its notice at the first request."""
    if name not in _noticed:
        _noticed.add(name)
        print(_NOTICES[name], file=sys.stderr)
    return globals()[name]

"""Cancelations that are raised in a thread: as `CancelationException`, which Python or the model can swallow."""

from __future__ import annotations

from ..exceptions import CancelationException

#: A cancelation that has got lost is raised again after so long.
AGAIN_SECONDS = 1.0


def is_handled(error: BaseException | None) -> bool:
    """Whether a cancelation, or what was raised because of one, is being handled."""
    for _ in range(100):
        if error is None:
            return False
        if issubclass(type(error), CancelationException):
            return True
        error = _context_of(error)
    return True


_context_of = BaseException.__dict__["__context__"].__get__

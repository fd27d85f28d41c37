"""The running prediction as the model sees it: context and metrics."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from contextvars import ContextVar

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .types import Path

    #: Sends name, value and wire mode of one recorded metric.
    Sink = Callable[[str, Any, str], None]

NAME_LIMIT = 128
SEGMENT_LIMIT = 4
#: Of lists and objects in a metric. The server, and many a client, reads no deeper ones.
DEPTH_LIMIT = 100
_MODES = {"replace": "replace", "incr": "increment", "increment": "increment", "append": "append"}
_INTEGER_LIMITS = (-(2**63), 2**64 - 1)


class MetricRecorder:
    """Metrics of one prediction. Inactive outside of one: takes everything, keeps nothing."""

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink
        self._types: dict[str, str] = {}
        self._missing: set[str] = set()
        # A signal handler or a finalizer may record, too, between two steps of ours.
        self._lock = threading.RLock()

    def record(self, key: str, value: Any, mode: str | None = None) -> None:
        """Records a value: ``replace`` (default), ``incr`` adds a number, ``append`` adds to a list. None deletes."""
        wire_mode = _wire_mode(mode)
        sink = self._sink
        if sink is None:
            return
        if value is None:
            self.delete(key)
            return
        check_name(key)
        checked = _checked(value)
        kind = type(value).__name__
        if wire_mode == "increment" and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise TypeError(f"Increment mode requires int or float, got {kind}")
        if checked is None:
            self._tell_missing(key, value)
            return
        with self._lock:
            known = self._types.setdefault(key, kind)
            if known != kind:
                raise TypeError(f"Metric '{key}' has type {known}, cannot set to {kind} without deleting first")
            sink(key, checked, wire_mode)

    def delete(self, key: str) -> None:
        """Forgets a metric, and its type."""
        sink = self._sink
        if sink is None:
            return
        check_form(key)
        with self._lock:
            self._types.pop(key, None)
            sink(key, None, "replace")

    def _tell_missing(self, key: str, value: Any) -> None:
        """Once for each name: JSON has no such number."""
        if key in self._missing:
            return
        self._missing.add(key)
        with contextlib.suppress(Exception):  # the stream is the model's, and this only a hint
            print(f"metric '{key}' is {_number(value)}, which is no JSON: it is left out", file=sys.stderr)

    def __setitem__(self, key: str, value: Any) -> None:
        self.record(key, value)

    def __delitem__(self, key: str) -> None:
        self.delete(key)

    def close(self) -> None:
        """Makes it inactive: its prediction has ended."""
        self._sink = None

    def __repr__(self) -> str:
        if self._sink is None:
            return "MetricRecorder(inactive)"
        return f"MetricRecorder(keys={len(self._types)})"


class Scope:
    """One prediction: its ``context`` (text to text), ``metrics`` and ``scratch_dir``."""

    def __init__(
        self, context: dict[str, str] | None = None, sink: Sink | None = None, scratch: str | None = None
    ) -> None:
        self.context: dict[str, str] = context or {}
        #: The model may put something else in its place.
        self.metrics = self._recorder = MetricRecorder(sink)
        self._scratch = scratch
        self._scratch_made = False

    @property
    def scratch_dir(self) -> Path:
        """A directory for files of this prediction, made at first use.

        It is removed when the prediction has ended and what it returned has been delivered, also if it failed, was
        canceled or killed the process. RuntimeError outside of a prediction.
        """
        if self._scratch is None:
            raise RuntimeError("scratch_dir is there while a prediction runs, in a server that can write to disk")
        from .types import Path

        self._scratch_made = True
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        return Path(self._scratch)

    def close(self) -> bool:
        """Makes it inactive: its prediction has ended. Returns whether there is a scratch directory to remove."""
        self._recorder.close()
        self._scratch = None
        return self._scratch_made

    def record_metric(self, key: str, value: Any, mode: str | None = None) -> None:
        """Same as ``metrics.record``."""
        self.metrics.record(key, value, mode)

    def __repr__(self) -> str:
        return f"Scope({self.metrics!r})"


#: Told the size of each batch that is made; only in a server's worker.
batch_sink: Callable[[int], None] | None = None

_INACTIVE = Scope()
_current: ContextVar[Scope | None] = ContextVar("cog_scope", default=None)
#: Of a synchronous model: it runs one prediction at a time, in whichever of its threads.
_process_wide: Scope | None = None


def current_scope() -> Scope:
    """The running prediction, or an inactive scope."""
    return _current.get() or _process_wide or _INACTIVE


def enter(scope: Scope) -> None:
    """Makes it the scope of this asyncio task and those it makes."""
    _current.set(scope)


def enter_process(scope: Scope | None) -> None:
    """Makes it the scope of all threads, or of none."""
    global _process_wide
    _process_wide = scope


def check_name(name: str) -> None:
    """Raises ValueError for a name that a metric can't have."""
    if name == "predict_time":
        raise ValueError("'predict_time' is reserved by the runtime")
    if name.startswith("cog."):
        raise ValueError("the 'cog.' prefix is reserved for system metrics")
    check_form(name)


def check_form(name: str) -> None:
    """The rules that hold for deletion too."""
    if not name:
        raise ValueError("metric name must not be empty")
    if len(name) > NAME_LIMIT:
        raise ValueError(f"metric name must be {NAME_LIMIT} characters or fewer (got {len(name)} characters)")
    segments = name.split(".")
    if len(segments) > SEGMENT_LIMIT:
        raise ValueError(f"metric name must have at most {SEGMENT_LIMIT} dot-separated segments (got {len(segments)})")
    if name.startswith("."):
        raise ValueError("metric name must not start with a dot")
    if name.endswith("."):
        raise ValueError("metric name must not end with a dot")
    if ".." in name:
        raise ValueError("metric name must not contain empty segments (consecutive dots)")
    for segment in segments:
        _check_segment(segment)


def _check_segment(segment: str) -> None:
    what = f"metric name segment '{segment}'"
    if not re.match(r"[a-zA-Z]", segment):
        raise ValueError(f"{what} must start with a letter")
    if "__" in segment:
        raise ValueError(f"{what} must not contain consecutive underscores")
    odd = re.search(r"[^a-zA-Z0-9_]", segment)
    if odd:
        raise ValueError(f"{what} contains invalid character '{odd.group()}'")
    if segment.endswith("_"):
        raise ValueError(f"{what} must end with a letter or digit")


def _wire_mode(mode: str | None) -> str:
    try:
        return _MODES[mode or "replace"]
    except (KeyError, TypeError):
        raise TypeError(f"Invalid metric mode: {mode!r}. Expected 'replace', 'incr', or 'append'.") from None


def _checked(value: Any, depth: int = 0) -> Any:
    """The value as JSON takes it: integers that do not fit 64 bits become floats, what is not finite becomes null."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, int):
        return value if _INTEGER_LIMITS[0] <= value <= _INTEGER_LIMITS[1] else _checked(_float(value))
    if depth >= DEPTH_LIMIT:
        raise ValueError(f"metric value must be nested at most {DEPTH_LIMIT} levels deep")
    if isinstance(value, list):
        return [item if item is None else _checked(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): item if item is None else _checked(item, depth + 1) for key, item in value.items()}
    raise TypeError(
        f"Unsupported metric value type: {type(value).__name__}. Expected bool, int, float, str, list, or dict."
    )


def _number(value: Any) -> str:
    return float.__repr__(value) if isinstance(value, float) else "an integer too large for a float"


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")

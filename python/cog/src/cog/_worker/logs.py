"""Standard output and error of the model: whole lines, each sent with the prediction that printed it.

Replaces ``sys.stdout`` and ``sys.stderr``. What does not pass through them (C code, child processes) goes to the real
descriptors, which the server reads too.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from contextvars import ContextVar
from typing import Any

from .channel import Channel

ITEM_LIMIT_BYTES = 4 * 1024 * 1024
TRUNCATED = "[**** LOG LINE TRUNCATED AT 4 MiB ****]\n"

#: The prediction of this asyncio task and those it makes.
task_prediction: ContextVar[str | None] = ContextVar("cog_prediction", default=None)


class Attribution:
    """Which prediction a line belongs to: the task's, else that of the whole process."""

    def __init__(self) -> None:
        self.process: str | None = None
        #: Predictions of an event loop that have not ended. A task that outlives its own prints for nobody.
        self.live: set[str] = set()

    def current(self) -> str | None:
        """The prediction of what is printed here and now."""
        task = task_prediction.get()
        if task is not None:
            return task if task in self.live else None
        return self.process


class LogStream(io.TextIOBase):
    """A text stream whose lines become log frames."""

    def __init__(self, channel: Channel, attribution: Attribution, source: str, original: Any) -> None:
        self._channel = channel
        self._attribution = attribution
        self._source = source
        self._original = original
        self._pending: dict[str | None, str] = {}
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        if os.getpid() != self._channel.owner:
            return self._forked(text)
        prediction = self._attribution.current()
        channel = self._channel
        channel.enter()
        try:
            with self._lock:
                pending = self._pending
                text_with_rest = pending.pop(prediction, "") + text
                end = text_with_rest.rfind("\n") + 1
                if end < len(text_with_rest):
                    pending[prediction] = text_with_rest[end:]
                if end:
                    self._send(prediction, text_with_rest[:end])
        finally:
            channel.leave()
        return len(text)

    def flush_prediction(self, prediction: str | None) -> None:
        """Sends what the prediction printed without a line end."""
        with self._lock:
            rest = self._pending.pop(prediction, "")
            if rest:
                self._send(prediction, rest)

    def _send(self, prediction: str | None, data: str) -> None:
        if len(data) > ITEM_LIMIT_BYTES // 4:
            encoded = data.encode("utf-8", "surrogatepass")
            if len(encoded) > ITEM_LIMIT_BYTES:
                data = encoded[:ITEM_LIMIT_BYTES].decode("utf-8", "ignore") + TRUNCATED
        frame = {"type": "log", "id": prediction, "source": self._source, "data": data}
        try:
            self._channel.send(frame)
        except UnicodeEncodeError:
            frame["data"] = data.encode("utf-8", "replace").decode()
            self._channel.send(frame)

    def _forked(self, text: str) -> int:
        written: int = self._original.write(text)
        # Line by line, so that processes which print at the same time do not mix within lines.
        if "\n" in text:
            self._original.flush()
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Lines are sent when they are complete; only a forked child has something to flush."""
        if os.getpid() != self._channel.owner:
            self._original.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        descriptor: int = self._original.fileno()
        return descriptor

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return "replace"

    @property
    def buffer(self) -> _Bytes:
        return _Bytes(self)

    @property
    def name(self) -> str:
        return f"<{self._source}>"

    @property
    def mode(self) -> str:
        return "w"

    def reconfigure(self, **_options: Any) -> None:
        """Encoding and buffering are the server's business."""


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``: bytes of UTF-8 text."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._stream.write(content.decode("utf-8", "replace"))
        return len(content)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


class Logs:
    """Both streams."""

    def __init__(self, channel: Channel) -> None:
        self.attribution = Attribution()
        self._streams = [
            LogStream(channel, self.attribution, "stdout", sys.stdout),
            LogStream(channel, self.attribution, "stderr", sys.stderr),
        ]

    def install(self) -> None:
        """Replaces the process's streams."""
        sys.stdout, sys.stderr = self._streams

    def flush(self, prediction: str | None) -> None:
        """Sends what a prediction printed without a line end."""
        for stream in self._streams:
            stream.flush_prediction(prediction)

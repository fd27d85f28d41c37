"""Standard output and error of the model: whole lines, each sent with the prediction that printed it.

Replaces ``sys.stdout`` and ``sys.stderr``. What does not pass through them (C code, child processes) goes to the real
descriptors, which the server reads too.

A line is sent at once, so that it is not lost with a process that dies. Only in a flood of lines, which would cost more
than the model's work, some are held back for a moment and sent together.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from contextvars import ContextVar

from .channel import Channel

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

ITEM_LIMIT_BYTES = 4 * 1024 * 1024
TRUNCATED = "[**** LOG LINE TRUNCATED AT 4 MiB ****]\n"

#: More writes than this within the time are a flood.
FLOOD_WRITES = 200
FLOOD_SECONDS = 0.02
#: Held text is sent in pieces of about this size.
PIECE_CHARACTERS = 256 * 1024

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
        if task is None:
            return self.process
        return task if task in self.live else None


class Flood:
    """Notices when lines come too fast to be sent one by one, and then holds them back."""

    def __init__(self, channel: Channel) -> None:
        #: Prediction, stream and text of each write, oldest first.
        self.held = channel.held_logs
        #: Until when writes are held; 0 when they are not.
        self.until = 0.0
        self._channel = channel
        self._lock = threading.RLock()
        self._count = 0
        self._since = 0.0
        channel.release_logs = self.release

    def count(self) -> None:
        """A line was sent."""
        self._count += 1
        if self._count < FLOOD_WRITES:
            return
        now = time.monotonic()
        if now - self._since < FLOOD_SECONDS:
            self.until = now + FLOOD_SECONDS
            # For the last lines of the flood, which no write follows.
            timer = threading.Timer(FLOOD_SECONDS, self.release)
            timer.daemon = True
            timer.start()
        self._count, self._since = 0, now

    def release(self) -> None:
        """Sends what is held."""
        self._channel.enter()
        try:
            with self._lock:
                self.until = 0.0
                key: tuple[str | None, LogStream] | None = None
                parts: list[str] = []
                size = 0
                while self.held:
                    prediction, stream, text = self.held.popleft()
                    if parts and (key != (prediction, stream) or size > PIECE_CHARACTERS):
                        _take(key, parts)
                        parts, size = [], 0
                    key = (prediction, stream)
                    parts.append(text)
                    size += len(text)
                if parts:
                    _take(key, parts)
        finally:
            self._channel.leave()


def _take(key: tuple[str | None, LogStream] | None, parts: list[str]) -> None:
    if key is not None:
        key[1].take(key[0], "".join(parts))


class LogStream(io.TextIOBase):
    """A text stream whose lines become log frames."""

    def __init__(self, channel: Channel, attribution: Attribution, flood: Flood, source: str, original: Any) -> None:
        self._channel = channel
        self._attribution = attribution
        self._flood = flood
        self._hold = flood.held.append
        self._source = source
        self._original = original
        self._pending: dict[str | None, str] = {}
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        # In a flood this is most of what printing costs.
        flood = self._flood
        if flood.until and not self._channel.is_forked:
            self._hold((self._attribution.current(), self, text))
            if text[-1:] == "\n" and time.monotonic() > flood.until:
                flood.release()
            return len(text)
        if os.getpid() != self._channel.owner:
            return self._forked(text)
        prediction = self._attribution.current()
        if flood.held:
            flood.release()
        self._channel.enter()
        try:
            if self.take(prediction, text):
                flood.count()
        finally:
            self._channel.leave()
        return len(text)

    def take(self, prediction: str | None, text: str) -> bool:
        """Sends the lines that are complete now, if any."""
        with self._lock:
            pending = self._pending
            text_with_rest = pending.pop(prediction, "") + text
            end = text_with_rest.rfind("\n") + 1
            if end < len(text_with_rest):
                pending[prediction] = text_with_rest[end:]
            if end:
                self._send(prediction, text_with_rest[:end])
            return end > 0

    def flush_prediction(self, prediction: str | None) -> None:
        """Sends what the prediction printed without a line end."""
        if self._flood.held:
            self._flood.release()
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
        flood = Flood(channel)
        self._streams = [
            LogStream(channel, self.attribution, flood, "stdout", sys.stdout),
            LogStream(channel, self.attribution, flood, "stderr", sys.stderr),
        ]

    def install(self) -> None:
        """Replaces the process's streams."""
        sys.stdout, sys.stderr = self._streams

    def flush(self, prediction: str | None) -> None:
        """Sends what a prediction printed without a line end."""
        for stream in self._streams:
            stream.flush_prediction(prediction)

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
from codecs import utf_8_decode
from contextvars import ContextVar

from . import errors
from .channel import Channel
from .foreign import quietly

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

ITEM_LIMIT_BYTES = 4 * 1024 * 1024
TRUNCATED = "[**** LOG LINE TRUNCATED AT 4 MiB ****]\n"

#: More lines than this within the time are a flood, in which lines are held for as long; and again for as long if
#: meanwhile came more text than this.
FLOOD_LINES = 200
FLOOD_SECONDS = 0.02
FLOOD_CHARACTERS = 4 * 1024
#: Of one prediction, no more text than about this is held.
HELD_CHARACTERS = 256 * 1024

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
    """Notices when lines come too fast to be sent one by one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        #: The stream that holds its lines back. One at a time, so that the streams keep their order.
        self._stream: LogStream | None = None
        #: Whoever wants lines to be sent before something else waits until they are. Not taken with a stream's lock
        #: held: releasing takes them the other way round.
        self._lock = threading.RLock()
        #: How many times lines were held back.
        self._holds = 0
        self._count = 0
        self._since = 0.0

    def count(self, stream: LogStream) -> None:
        """Lines of the stream were sent."""
        self._count += 1
        if self._count < FLOOD_LINES:
            return
        now = time.monotonic()
        is_flood = now - self._since < FLOOD_SECONDS
        self._count, self._since = 0, now
        if is_flood and self._stream is None:
            self._stream = stream
            self._channel.release_logs = self.release
            stream.hold()
            self._holds += 1
            self._look_later(self._holds)

    def _look_later(self, hold: int) -> None:
        timer = threading.Timer(FLOOD_SECONDS, self._look, (hold,))
        timer.daemon = True
        timer.start()

    def _look(self, hold: int) -> None:
        """Sends what is held, and goes on holding as long as the flood goes on."""
        self._channel.enter()
        try:
            with self._lock:
                stream = self._stream
                if stream is None or hold != self._holds:
                    return
                if stream.pass_on() > FLOOD_CHARACTERS:
                    self._look_later(hold)
                else:
                    self.release()
        finally:
            self._channel.leave()

    def release_other(self, stream: LogStream) -> None:
        """Sends what was printed before, if it was to the other stream."""
        held = self._stream
        if held is not None and held is not stream:
            self.release()

    def release(self) -> None:
        """Sends what is held."""
        self._channel.enter()
        try:
            with self._lock:
                stream, self._stream = self._stream, None
                self._channel.release_logs = None
                if stream is not None:
                    stream.release()
        finally:
            self._channel.leave()


class Sink(io.RawIOBase):
    """What is under a stream: makes frames of whole lines."""

    def __init__(self, channel: Channel, attribution: Attribution, flood: Flood, source: str, original: Any) -> None:
        self.name = f"<{source}>"
        self.mode = "wb"
        self.channel = channel
        self.attribution = attribution
        self.flood = flood
        self.stream: LogStream
        self._source = source
        self._original = original
        #: Characters that have come so far.
        self.passed = 0
        #: What predictions have printed of a line that has no end yet.
        self._unfinished: dict[str | None, io.StringIO] = {}
        #: What they have written of a character that has no end yet.
        self._undecoded: dict[str | None, bytes] = {}
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()

    def write(self, data: Any) -> int:
        content = bytes(data)
        length = len(content)
        prediction = self.attribution.current()
        with self._lock:
            if self._undecoded:
                content = self._undecoded.pop(prediction, b"") + content
            text, decoded = utf_8_decode(content, "replace")
            if decoded < len(content):
                self._undecoded[prediction] = content[decoded:]
        self.put(prediction, text)
        return length

    def put(self, prediction: str | None, text: str) -> None:
        """Sends the lines that are complete now."""
        if os.getpid() != self.channel.owner:
            self._put_forked(text)
            return
        self.flood.release_other(self.stream)
        self.passed += len(text)
        self.channel.enter()
        try:
            end = text.rfind("\n") + 1
            with self._lock:
                if end:
                    begun = self._unfinished.pop(prediction, None) if self._unfinished else None
                    whole = text if end == len(text) else text[:end]
                    self._send(prediction, whole if begun is None else begun.getvalue() + whole)
                if end < len(text):
                    self._keep(prediction, text[end:])
            if end:
                self.flood.count(self.stream)
        finally:
            self.channel.leave()

    def _keep(self, prediction: str | None, text: str) -> None:
        """Puts off a line's text, of which no more is needed than can be sent."""
        begun = self._unfinished.get(prediction)
        if begun is None:
            begun = self._unfinished[prediction] = io.StringIO(newline="\n")
        room = ITEM_LIMIT_BYTES + 1 - begun.tell()
        if room > 0:
            begun.write(text[:room])

    def finish(self, prediction: str | None) -> None:
        """Sends what the prediction has printed without a line end."""
        if self._unfinished or self._undecoded:
            with self._lock:
                if self._undecoded.pop(prediction, None):
                    self._keep(prediction, "\ufffd")
                begun = self._unfinished.pop(prediction, None)
                if begun is not None:
                    self._send(prediction, begun.getvalue())

    def _send(self, prediction: str | None, data: str) -> None:
        if len(data) > ITEM_LIMIT_BYTES // 4:
            encoded = data.encode("utf-8", "surrogatepass")
            if len(encoded) > ITEM_LIMIT_BYTES:
                data = encoded[:ITEM_LIMIT_BYTES].decode("utf-8", "ignore") + TRUNCATED
        self.channel.send_log(prediction, self._source, data)

    def _put_forked(self, text: str) -> None:
        self._original.write(text)
        # Line by line, so that processes which print at the same time do not mix within lines.
        if "\n" in text:
            self._original.flush()

    def flush(self) -> None:
        """Lines are sent when they are complete; only a forked child has something to flush."""
        if os.getpid() != self.channel.owner:
            self._original.flush()

    def close(self) -> None:
        """A model may close its streams; what libraries print later is not lost by that."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        descriptor: int = self._original.fileno()
        return descriptor


class LogStream(io.TextIOWrapper):
    """A text stream whose lines become log frames.

    Python's own, because then printing costs little. It puts the pieces of a line together whoever prints them: where
    several predictions run at once, each piece has to be attributed by itself, with `attribute_pieces`.
    """

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink, encoding="utf-8", errors="replace", newline="\n", line_buffering=True)
        self.mode = "w"  # type: ignore[misc] # as that of Python's own
        sink.stream = self
        self._sink = sink
        self._flood = sink.flood
        self._attributes_pieces = False
        #: The pieces of predictions while they are held back.
        self._held: dict[str | None, list[str]] | None = None
        self._held_characters = 0
        #: What the sink had passed when that was looked at last.
        self._passed = 0
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    def attribute_pieces(self) -> None:
        """From now on."""
        self._attributes_pieces = True
        self.write = self._write_piece  # type: ignore[method-assign]

    def _write_piece(self, text: str) -> int:
        if type(text) is not str:
            if not isinstance(text, str):
                raise TypeError(f"write() argument must be str, not {type(text).__name__}")
            text = str.__str__(text)
        prediction = self._sink.attribution.current()
        with self._lock:
            held = self._held
            if held is not None:
                held.setdefault(prediction, []).append(text)
                self._held_characters += len(text)
        if held is None:
            self._sink.put(prediction, text)
        elif self._held_characters > HELD_CHARACTERS:
            self._flood.release()
        return len(text)

    def hold(self) -> None:
        """Holds lines back."""
        self._passed = self._sink.passed
        if self._attributes_pieces:
            with self._lock:
                self._held = {}
        else:
            super().reconfigure(line_buffering=False)

    def pass_on(self) -> int:
        """Sends what is held. Characters that have come since the last time."""
        if self._attributes_pieces:
            self._send_held({})
        else:
            self.flush()
        before, self._passed = self._passed, self._sink.passed
        return self._passed - before

    def release(self) -> None:
        """Sends what is held, and what comes at once."""
        if self._attributes_pieces:
            self._send_held(None)
        else:
            super().reconfigure(line_buffering=True)
            # What another thread has written in between.
            self.flush()

    def _send_held(self, next_held: dict[str | None, list[str]] | None) -> None:
        with self._lock:
            held, self._held = self._held, next_held
            self._held_characters = 0
            for prediction, pieces in (held or {}).items():
                self._sink.put(prediction, "".join(pieces))

    def finish(self, prediction: str | None) -> None:
        """Sends what the prediction has printed."""
        self.flush()
        self._sink.finish(prediction)

    def finish_line(self, prediction: str | None) -> None:
        """The same, of what has arrived below."""
        self._sink.finish(prediction)

    def reconfigure(self, **_options: Any) -> None:
        """Encoding and buffering are the server's business."""

    def detach(self) -> Any:
        """Not possible, as for other streams that have nothing below."""
        raise io.UnsupportedOperation("detach")

    def close(self) -> None:
        """As for the sink."""
        self.flush()


class Logs:
    """Both streams."""

    def __init__(self, channel: Channel) -> None:
        self.attribution = Attribution()
        self._flood = Flood(channel)
        self._streams = [
            LogStream(Sink(channel, self.attribution, self._flood, "stdout", sys.stdout)),
            LogStream(Sink(channel, self.attribution, self._flood, "stderr", sys.stderr)),
        ]
        # A child must not print once more what its parent has not sent yet.
        os.register_at_fork(before=self._push_down)

    def install(self) -> None:
        """Replaces the process's streams."""
        sys.stdout, sys.stderr = self._streams
        errors.last_resort = sys.stderr

    def attribute_pieces(self) -> None:
        """Several predictions run at once, each in a context of its own."""
        for stream in self._streams:
            stream.attribute_pieces()

    def flush(self, prediction: str | None) -> None:
        """Sends what a prediction has printed, the last line also without its end."""
        self._flood.release()
        for stream in self._streams:
            try:
                stream.finish(prediction)
            except BaseException:
                # The model has taken it apart. What got through is sent all the same.
                quietly(stream.finish_line, prediction)

    def _push_down(self) -> None:
        self._flood.release()
        for stream in self._streams:
            stream.flush()

"""Frames to and from the server: a 32-bit little-endian length and that many bytes of JSON.

A frame is never torn: a cancelation that arrives while one is written is raised afterwards, and what a signal handler
or a finalizer of the model sends meanwhile waits. A process that the model forks has no channel.
"""

from __future__ import annotations

import json
import os
import struct
import threading

from .unsent import discard, reserve

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Values whose JSON is larger travel as files.
SPILL_BYTES = 1024 * 1024
#: Read at once: more would be memory that the system has to give and take for each frame.
READ_BYTES = 64 * 1024
_LENGTH = struct.Struct("<I")
_decode = json.JSONDecoder().raw_decode
_quote = json.encoder.encode_basestring
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class NoRoom(Exception):
    """A large value could not be stored; the text is for the client."""


class Protection:
    """Of a thread, while it does what neither a cancelation nor a signal handler of the model must interrupt."""

    __slots__ = ("after", "depth", "inside")

    def __init__(self) -> None:
        self.depth = 0
        #: The model's code has called what is done here: what was held back is raised there.
        self.inside = True
        #: Called when it has left.
        self.after: Callable[[], None] | None = None


class Channel:
    """The pipes from and to the server. Writing is safe from any thread; reading is one thread's."""

    def __init__(self, incoming: int, outgoing: int, spill_directory: str | None) -> None:
        os.set_inheritable(incoming, False)
        os.set_inheritable(outgoing, False)
        self._incoming = incoming
        self._outgoing = outgoing
        self._spill_directory = spill_directory
        self._spilled = 0
        self._lock = threading.RLock()
        #: Frames that came while their thread was writing another one.
        self._waiting: list[bytes] = []
        self._buffer = bytearray()
        self.owner = os.getpid()
        #: Of the threads that a cancelation can interrupt.
        self._protections: dict[int, Protection] = {}
        #: Sends log text that is held back and has to go before any other frame.
        self.release_logs: Callable[[], None] | None = None
        os.register_at_fork(after_in_child=self._disown)

    def _disown(self) -> None:
        """In a forked process: the pipes are its parent's."""
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        os.close(self._incoming)
        os.close(self._outgoing)
        self._incoming = self._outgoing = -1

    # Writing

    def send(self, message: dict[str, Any], limit: int | None = None) -> None:
        """Writes one frame. In a forked child nothing is written: the pipe is not the child's.

        ValueError if it is larger than the limit; that of the server is 64 MiB.
        """
        if self.release_logs is not None:
            self.release_logs()
        body = _encode(message).encode("utf-8", "surrogatepass")
        if limit is not None and len(body) > limit:
            raise ValueError(f"a {message['type']} of {len(body)} bytes is larger than {limit}")
        self._write(_frame(body))

    def send_log(self, prediction: str | None, source: str, text: str) -> None:
        """Writes a frame with log text: there are many of these."""
        of = "null" if prediction is None else f'"{prediction}"'
        frame = f'{{"type":"log","id":{of},"source":"{source}","data":{_quote(text)}}}'
        self._write(_frame(frame.encode("utf-8", "surrogatepass")))

    def send_value(self, message: dict[str, Any], key: str, text: str) -> None:
        """Writes a frame with JSON ``text`` as its last member, or as a file if it is large.

        Strings in ``message`` are words that JSON need not escape.
        """
        if self.release_logs is not None:
            self.release_logs()
        # A character is four bytes at most.
        if len(text) > SPILL_BYTES // 4 and self._spill_directory:
            data = text.encode("utf-8", "surrogatepass")
            if len(data) > SPILL_BYTES:
                self.send({**message, f"{key}_file": self._spill(data)})
                return
        head = ",".join(
            [
                f'"{name}":"{word}"' if type(word) is str else f'"{name}":{_encode(word)}'
                for name, word in message.items()
            ]
        )
        self._write(_frame(f'{{{head},"{key}":{text}}}'.encode("utf-8", "surrogatepass")))

    def send_raw(self, message: dict[str, Any], key: str, text: str) -> None:
        """Writes a frame with a large string as its last member."""
        path = self._spill(text.encode("utf-8", "surrogatepass"))
        self.send({**message, f"{key}_file": path, "raw": True})

    def _spill(self, data: bytes) -> str:
        with self._lock:
            self._spilled += 1
            name = f"worker-{os.getpid()}-{self._spilled}.json"
        path = reserve(os.path.join(self._spill_directory or "/tmp", name))
        try:
            with open(path, "wb", opener=_private) as file:
                file.write(data)
        except OSError as error:
            discard()
            raise NoRoom(f"a large output could not be stored: {error}") from None
        return path

    def _write(self, frame: bytes) -> None:
        if os.getpid() != self.owner:
            return
        self.enter()
        try:
            if self._lock._is_owned():  # type: ignore[attr-defined]
                # By a signal handler or a finalizer, while this thread writes.
                self._waiting.append(frame)
                return
            with self._lock:
                while True:
                    written = os.write(self._outgoing, frame)
                    while written < len(frame):  # a signal came between
                        written += os.write(self._outgoing, frame[written:])
                    if not self._waiting:
                        break
                    frame = self._waiting.pop(0)
        except OSError:
            os._exit(1)  # the server is gone, or the model has closed the pipe: nobody is left to tell
        finally:
            self.leave()

    def protect(self) -> Protection:
        """From now on, this thread's sections between `enter` and `leave` are known."""
        return self._protections.setdefault(threading.get_ident(), Protection())

    def enter(self) -> None:
        """Begins a section that a cancelation waits for."""
        protection = self._protections.get(threading.get_ident())
        if protection is not None:
            protection.depth += 1

    def leave(self) -> None:
        """Ends it; the last one lets a waiting cancelation through."""
        protection = self._protections.get(threading.get_ident())
        if protection is None:
            return
        protection.depth -= 1
        if not protection.depth and protection.after is not None:
            waiting, protection.after = protection.after, None
            waiting()

    # Reading

    def receive(self) -> dict[str, Any] | None:
        """The next frame, None when the server has closed the pipe."""
        while True:
            frame = self.buffered()
            if frame is not None:
                return frame
            data = os.read(self._incoming, READ_BYTES)
            if not data:
                return None
            self._buffer += data

    def feed(self) -> bool:
        """For event loops, when there is something to read. False when the server has closed the pipe."""
        data = os.read(self._incoming, READ_BYTES)
        self._buffer += data
        return bool(data)

    def buffered(self) -> dict[str, Any] | None:
        """The next frame if it has been read whole."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        end = 4 + _LENGTH.unpack_from(buffer)[0]
        if len(buffer) < end:
            return None
        message: dict[str, Any] = _decode(buffer[4:end].decode())[0]
        del buffer[:end]
        path = message.pop("input_file", None)
        if path is not None:
            with open(path, "rb") as file:
                message["input"] = json.load(file)
            os.unlink(path)
        return message

    def fileno(self) -> int:
        """For event loops: where frames arrive."""
        return self._incoming


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body

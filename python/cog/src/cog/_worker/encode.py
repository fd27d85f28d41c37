"""Outputs as JSON text. Files at the top, or in a top-level list, are named for the server to read."""

from __future__ import annotations

import io
import json
import os
import stat
import sys

from . import copies
from .channel import SPILL_BYTES
from .unsent import discard

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: What tells the server of a file.
    Marker = Callable[[Any, str | None], dict[str, Any]]

#: Files, and what may hold some where the server looks for them.
_MAYBE_FILES = (list, tuple, set, frozenset, os.PathLike, io.IOBase)

#: The common case: already JSON, no walk needed.
_PLAIN = (str, int, float, bool, type(None))


class OutputError(Exception):
    """Why an output can't be sent; the text is for the client."""


class Encoded:
    """An output: its JSON text, and where in it the server finds files (True: all of it; else indexes).

    If it is raw, the text is the output itself: a string so large that the server writes it as JSON.
    """

    __slots__ = ("files", "raw", "text")

    def __init__(self, text: str, files: bool | list[int] = False, raw: bool = False) -> None:
        self.text = text
        self.files = files
        self.raw = raw


def encode(value: Any, spill_directory: str | None) -> Encoded:
    """What the model has returned. Its files are read when it is told: it has nothing left to do with them."""
    return _encoded(value, spill_directory, _file_marker)


def encode_item(value: Any, spill_directory: str | None) -> Encoded:
    """One item of a stream. Its files are copied now: the generator may change them as soon as it goes on."""
    return _encoded(value, spill_directory, _copied_marker)


def _encoded(value: Any, spill_directory: str | None, marker: Marker) -> Encoded:
    if type(value) is str and len(value) > SPILL_BYTES and spill_directory:
        return Encoded(value, raw=True)
    if type(value) in _PLAIN:
        return Encoded(_json(value))
    if not isinstance(value, _MAYBE_FILES) and not is_generator(value):
        return Encoded(_json(value))
    try:
        return _with_files(value, spill_directory, marker)
    except BaseException:
        discard()
        raise


def _with_files(value: Any, spill_directory: str | None, marker: Marker) -> Encoded:
    if is_file(value):
        return Encoded(_json(marker(value, spill_directory)), True)
    files: list[int] = []
    items = []
    for index, item in enumerate(value):
        if is_file(item):
            files.append(index)
            items.append(marker(item, spill_directory))
        else:
            items.append(item)
    return Encoded(_json(items), files or False)


def is_file(value: Any) -> bool:
    """Whether it is sent as a file."""
    return isinstance(value, (os.PathLike, io.IOBase))


def is_generator(value: Any) -> bool:
    """Whether it is the object that a generator function gives."""
    return type(value).__name__ == "generator" and hasattr(value, "gi_frame")


def _json(value: Any) -> str:
    try:
        return _encode(value)
    except _Raised as raised:
        raise raised.error from None
    except TypeError as error:
        raise OutputError(f"Failed to serialize output: TypeError: {error}") from None
    except ValueError as error:
        raise OutputError(f"Failed to parse output JSON: {error}") from None
    except RecursionError:
        raise OutputError("Failed to serialize output: it is nested too deeply") from None


class _Raised(Exception):
    """User code raised while its value was encoded: an error of the model, not of its output's type."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _default(value: Any) -> Any:
    """Called by the encoder for what it can't encode by itself."""
    try:
        plain = _plain(value)
    except RecursionError:
        raise
    except Exception as error:
        raise _Raised(error) from None
    if plain is value:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return plain


#: Most outputs are plain already: then all of it happens in C, without a walk of ours. Values that contain themselves
#: end in a `RecursionError`.
_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False, default=_default
).encode


def _plain(value: Any) -> Any:
    """The value in types that JSON has, as far as its outermost layer goes; itself if it has none."""
    for method in ("model_dump", "dict"):
        dump = getattr(value, method, None)
        if callable(dump) and not isinstance(value, type):
            return dump()
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, (set, frozenset)) or is_generator(value):
        return list(value)
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if is_file(value):
        return data_url(value)
    # A value of these types exists only if its module is loaded.
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return value.value
    datetime = sys.modules.get("datetime")
    if datetime is not None and isinstance(value, datetime.datetime):
        return value.isoformat()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.generic):
            return value.item()
        if isinstance(value, numpy.ndarray):
            return value.tolist()
    return value


def _file_marker(value: Any, spill_directory: str | None) -> dict[str, Any]:
    """What tells the server to read the file. An open file is copied first: only this process can read it."""
    if isinstance(value, os.PathLike):
        path = _existing(value)
        real = os.path.realpath(path)  # the server follows no link
        if _readable(real) != real or not _is_same(path, real):
            return _copied_marker(value, spill_directory)  # the server could not be told of such a path
        return _marker(real, _readable(os.path.basename(path)), delete=False)
    return _marker(copies.of_open_file(value, spill_directory), _name_of(value), delete=True)


def _is_same(path: str, real: str) -> bool:
    """Not so where a link is no path, as those to open files in ``/proc``."""
    try:
        return path == real or os.path.samefile(path, real)
    except OSError:
        return False


def _copied_marker(value: Any, spill_directory: str | None) -> dict[str, Any]:
    """The same, with a copy of any file."""
    if isinstance(value, os.PathLike):
        path = _existing(value)
        return _marker(copies.of_file(path, spill_directory), _readable(os.path.basename(path)), delete=True)
    return _file_marker(value, spill_directory)


def _existing(value: os.PathLike[Any]) -> str:
    name = os.fsdecode(value)
    path: str = os.path.abspath(name)
    shown = _readable(name)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for what can't be a path
        raise OutputError(f"the output file `{shown}` does not exist") from None
    except OSError as error:
        raise OutputError(f"the output file `{shown}` can't be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"the output `{shown}` is a directory: return its files, or an archive of them")
    if not stat.S_ISREG(mode):
        raise OutputError(f"the output `{shown}` is {_kind(mode)}, not a file with content")
    return path


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _readable(name: str) -> str:
    """A name with a mark for each byte that is no text."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in name)


def _marker(path: str, name: str | None, *, delete: bool) -> dict[str, Any]:
    return {"__cog_file__": {"path": path, "name": name, "mime": mime_of(name), "delete": delete}}


def data_url(value: Any) -> str:
    """The file within the JSON text."""
    import base64

    if isinstance(value, os.PathLike):
        path = _existing(value)
        name: str | None = os.path.basename(path)
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            shown = _readable(os.fsdecode(value))
            raise OutputError(f"the output file `{shown}` can't be read: {error.strerror}") from None
    else:
        name, content = _name_of(value), _content_of(value)
    return f"data:{mime_of(name)};base64,{base64.b64encode(content).decode()}"


def _name_of(file: Any) -> str | None:
    name = getattr(file, "name", None)
    return _readable(os.path.basename(name)) if isinstance(name, str) else None


def _content_of(file: Any) -> bytes:
    content = io.BytesIO()
    copies.read_into(content, file)
    return content.getvalue()


def mime_of(name: str | None) -> str:
    """By the extension."""
    import mimetypes

    guessed = mimetypes.guess_type(name)[0] if name else None
    return guessed or "application/octet-stream"

"""Values that inputs and outputs are made of."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

FILENAME_LIMIT_BYTES = 200
FETCH_TIMEOUT_SECONDS = 10

T_co = TypeVar("T_co", covariant=True)


class Path(pathlib.PosixPath):
    """A file; an ordinary path in every other way."""

    @classmethod
    def validate(cls, value: Any) -> pathlib.Path:
        """A path as it is, a URL as a :class:`URLPath`, any other text as a path."""
        if isinstance(value, pathlib.Path):
            return value
        text = str(value)
        if text.startswith(("data:", "http:", "https:")):
            return URLPath(source=text, filename=filename_of(text), fileobj=File.validate(text))
        return cls(text)


class URLPath(pathlib.PosixPath):
    """A file that is not here yet: ``str()`` gives its URL, :meth:`convert` fetches it."""

    source: str
    filename: str
    fileobj: io.IOBase
    _path: Path | None

    def __new__(cls, *, source: str, filename: str, fileobj: io.IOBase) -> URLPath:
        self = super().__new__(cls, source)
        return self

    def __init__(self, *, source: str, filename: str, fileobj: io.IOBase) -> None:
        try:
            super().__init__(source)  # type: ignore[call-arg]
        except TypeError:  # before Python 3.12 `object.__init__` takes nothing
            super().__init__()
        self.source = source
        self.filename = shortened(filename)
        self.fileobj = fileobj
        self._path = None

    def convert(self) -> Path:
        """The file itself, copied to a temporary one at the first call. The caller removes it."""
        if self._path is None:
            import shutil
            import tempfile

            with tempfile.NamedTemporaryFile(suffix=self.filename, delete=False) as target:
                shutil.copyfileobj(self.fileobj, target)
            self._path = Path(target.name)
        return self._path

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the temporary file, if there is one."""
        if self._path is not None:
            self._path.unlink(missing_ok=missing_ok)

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"URLPath({self.source!r})"


class File(io.IOBase):
    """An open file as input (deprecated: use :class:`Path`)."""

    @classmethod
    def validate(cls, value: Any) -> io.IOBase:
        """An open file as it is, a data URL in memory, an http(s) URL fetched when read."""
        if isinstance(value, io.IOBase):
            return value
        scheme = str(value).partition(":")[0]
        if scheme == "data":
            return io.BytesIO(data_of(str(value)))
        if scheme in ("http", "https"):
            return URLFile(str(value))
        raise ValueError(f"'{scheme}' is not a valid URL scheme. 'data', 'http', or 'https' is supported.")


class URLFile(io.IOBase):
    """A file behind a URL, fetched when it is first used."""

    def __init__(self, url: str, filename: str | None = None) -> None:
        if url.partition(":")[0] not in ("http", "https"):
            raise ValueError("URLFile requires URL to conform to HTTP or HTTPS protocol")
        self.name = filename or filename_of(url)
        self.__url__ = url
        self.__target__: Any = None

    def _opened(self) -> Any:
        if self.__target__ is None:
            self.__target__ = _fetch(self.__url__)
        return self.__target__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self._opened(), name)

    # What every file has already, so that it is not looked for in the other one.

    def read(self, *size: int) -> bytes:
        content: bytes = self._opened().read(*size)
        return content

    def readline(self, *size: int) -> bytes:  # type: ignore[override]
        line: bytes = self._opened().readline(*size)
        return line

    def readlines(self, *hint: int) -> list[bytes]:
        lines: list[bytes] = self._opened().readlines(*hint)
        return lines

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        is_seekable: bool = self._opened().seekable()
        return is_seekable

    def seek(self, *place: int) -> int:
        position: int = self._opened().seek(*place)
        return position

    def tell(self) -> int:
        position: int = self._opened().tell()
        return position

    def fileno(self) -> int:
        descriptor: int = self._opened().fileno()
        return descriptor

    def close(self) -> None:
        """Closes it if it was opened. Nothing is fetched for that."""
        if self.__dict__.get("__target__") is not None:
            self.__target__.close()

    @property
    def closed(self) -> bool:
        target = self.__dict__.get("__target__")
        return target is not None and bool(target.closed)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._opened())

    def __next__(self) -> bytes:
        line: bytes = next(self._opened())
        return line

    def __enter__(self) -> Any:
        return self._opened().__enter__()

    def __exit__(self, *exception: object) -> None:
        self._opened().__exit__(*exception)

    def __reduce__(self) -> tuple[type[URLFile], tuple[str, str]]:
        return URLFile, (self.__url__, self.name)

    def __repr__(self) -> str:
        shown = self.__url__ if self.__target__ is None else self.__target__
        return f"<URLFile {shown!r}>"


def _fetch(url: str) -> Any:
    import gzip
    import urllib.request

    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    agent = os.environ.get("COG_USER_AGENT")
    if agent:
        request.add_header("User-Agent", agent)
    response = urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_SECONDS)
    if response.headers.get("Content-Encoding") == "gzip":
        return gzip.GzipFile(fileobj=response)
    return response


def data_of(url: str) -> bytes:
    """The bytes that a data URL holds."""
    import urllib.request

    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
        return content


def filename_of(url: str) -> str:
    """The name of the file behind a URL, safe to use as one."""
    import mimetypes
    import urllib.parse

    if url.startswith("data:"):
        kind = url[len("data:") :].partition(",")[0].partition(";")[0]
        return "file" + (mimetypes.guess_extension(kind) or "")
    segment = urllib.parse.urlparse(url).path.rpartition("/")[2]
    return shortened(urllib.parse.unquote_plus(segment))


def shortened(filename: str) -> str:
    """At most 200 bytes with the extension kept, and no character that ends a name."""
    filename = filename.replace("\0", "_").replace("/", "_")
    if len(filename.encode()) <= FILENAME_LIMIT_BYTES:
        return filename
    stem, extension = os.path.splitext(filename)
    room = FILENAME_LIMIT_BYTES - len(extension.encode()) - 1
    return stem.encode()[:room].decode(errors="ignore") + "~" + extension


@dataclass(frozen=True)
class Secret:
    """Text that is not shown when it is printed."""

    secret_value: str | None = None

    def get_secret_value(self) -> str | None:
        """The text."""
        return self.secret_value

    def __str__(self) -> str:
        return "" if self.secret_value is None else "*" * 10

    def __repr__(self) -> str:
        return f"Secret({self})"


class ConcatenateIterator(Iterator[T_co], Generic[T_co]):
    """Return annotation: text in pieces that clients show joined."""


class AsyncConcatenateIterator(AsyncIterator[T_co], Generic[T_co]):
    """Return annotation: text in pieces from an async generator, that clients show joined."""


class _Opaque:
    """``Annotated[T, Opaque]``: treat T as a JSON object without looking into it."""

    def __repr__(self) -> str:
        return "cog.Opaque"


Opaque = _Opaque()

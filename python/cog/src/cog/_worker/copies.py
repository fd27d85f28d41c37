"""Copies of the model's files, which the server reads and removes."""

from __future__ import annotations

import os
import threading

from .channel import NoRoom
from .unsent import reserve

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any

#: Larger ones go to disk, where there is one, instead of to memory.
IN_MEMORY_BYTES = 16 * 1024 * 1024
#: Copied at once.
PIECE_BYTES = 1024 * 1024
#: Of Linux: a file shares the blocks of another one until either is written.
_FICLONE = 0x40049409

_made = 0


def of_file(path: str, spill_directory: str | None) -> str:
    """What is in the file now. Costs nothing where the file system can share blocks, else is done in the kernel."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy = _reserve(_place(os.fstat(source).st_size, spill_directory))
        target = _create(copy)
        try:
            _clone(target, source)
        except OSError as error:
            raise NoRoom(f"the output file `{path}` could not be copied: {error.strerror}") from None
        finally:
            os.close(target)
    finally:
        os.close(source)
    return copy


def of_open_file(file: Any, spill_directory: str | None) -> str:
    """All of a file that only this process can read."""
    # How much there is of one that cannot be rewound shows only at its end.
    size = file.seek(0, os.SEEK_END) if file.seekable() else None
    copy = _reserve(_place(size if isinstance(size, int) else IN_MEMORY_BYTES + 1, spill_directory))
    with open(_create(copy), "wb") as target:
        read_into(target, file)
    return copy


def read_into(target: Any, file: Any) -> None:
    """All of an open file, piece by piece: it may be larger than memory."""
    if file.seekable():
        file.seek(0)
    while piece := file.read(PIECE_BYTES):
        target.write(piece.encode() if isinstance(piece, str) else piece)


def _reserve(directory: str) -> str:
    global _made
    thread = threading.get_ident()
    _made += 1
    return reserve(os.path.join(directory, f"file-{os.getpid()}-{thread}-{_made}"))


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _place(size: int, spill_directory: str | None) -> str:
    on_disk = os.environ.get("COG_SCRATCH_DIR")
    if size > IN_MEMORY_BYTES and on_disk and os.path.isdir(on_disk):
        return on_disk
    return spill_directory or "/tmp"


def _clone(target: int, source: int) -> None:
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        while os.sendfile(target, source, None, PIECE_BYTES):
            pass

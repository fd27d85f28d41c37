"""What `scripts/wheel` and `scripts/release` share: the version, the programs, dates, and what programs need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python/cog/src/cog"
PROGRAMS = ("cog", "coglet")
# Zip archives know no earlier time.
EPOCH = 315532800
# The C library of the oldest distributions that are still looked after.
OLDEST_GLIBC = (2, 28)
# Parts of it, and the loaders of the machines that there are programs for.
PARTS_OF_GLIBC = re.compile(r"(lib(c|m|dl|rt|pthread|resolv)|ld-linux-(x86-64|aarch64))\.so\.\d+")


def version() -> str:
    names: dict[str, str] = {}
    exec((PACKAGE / "_version.py").read_text(), names)
    return names["__version__"]


def date() -> int:
    """The date of everything that is packed, so that equal files are equal archives."""
    return max(int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH)), EPOCH)


def arguments(usage: str, count: int) -> list[str]:
    """The first arguments, and the folder to write to, which may be left out."""
    given = sys.argv[1:]
    if not count <= len(given) <= count + 1:
        sys.exit(f"usage: {usage}")
    return given if len(given) > count else [*given, str(ROOT / "dist")]


def programs(profile: str) -> dict[str, Path]:
    """The built programs of a cargo profile, or of a folder."""
    found = {name: ROOT / "dist" / profile / name for name in PROGRAMS}
    for path in found.values():
        if not path.is_file():
            sys.exit(f"{path} is not there: build the programs first (`make build`)")
        if why := unfit(path):
            sys.exit(f"{path} would not run everywhere: {why}")
    return found


def other_servers(profile: str) -> dict[str, Path]:
    """`coglet` for other platforms than this machine's, where `scripts/cross` has made it."""
    folder = ROOT / "dist" / profile
    found = {path.name: path for path in sorted(folder.glob("coglet-linux-*")) if path.is_file()}
    for path in found.values():
        if why := unfit(path):
            sys.exit(f"{path} would not run everywhere: {why}")
    return found


def unfit(program: Path) -> str | None:
    """What a program needs that not every Linux has: anything but a glibc as old as the oldest."""
    command = ["readelf", "--wide", "--dynamic", "--version-info", str(program)]
    try:
        read = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        sys.exit("`readelf` is not installed: it belongs to binutils, as the linker does")
    except subprocess.CalledProcessError as error:
        return error.stderr.strip()
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", read.stdout)
    if others := [library for library in needed if not PARTS_OF_GLIBC.fullmatch(library)]:
        return f"it needs {', '.join(others)}"
    versions = [tuple(map(int, found.split("."))) for found in re.findall(r"\bGLIBC_(\d[\d.]*)", read.stdout)]
    newest = max(versions, default=(0,))
    if newest > OLDEST_GLIBC:
        return f"it needs glibc {'.'.join(map(str, newest))}; {'.'.join(map(str, OLDEST_GLIBC))} is the newest allowed"
    return None

"""Builds of Python as uv downloads them, made of an interpreter of this machine, and a mirror that has them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

# Debian releases have these: uv's are for the others.
OF_DEBIAN = (11, 13)
# What no test needs, and what is large.
LEFT_OUT = re.compile(r"/(__pycache__|tests?|idlelib|turtledemo|tkinter|lib2to3|site-packages/.*|config-3[^/]*)$|\.a$")
TRIAL = "import ctypes, hashlib, json, ssl, sys, zlib; print(sys.prefix)"


@dataclass
class Interpreter:
    """An installed Python: `prefix/bin/python3.N`."""

    prefix: Path
    version: tuple[int, int, int]

    @property
    def name(self) -> str:
        return f"python3.{self.version[1]}"

    @property
    def program(self) -> Path:
        return self.prefix / "bin" / self.name

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def interpreters() -> list[Interpreter]:
    """Those that pyenv and uv installed here for this user, which are whole and in folders of their own."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = []
    for prefix in sorted([*pyenv.glob("versions/*"), *Path.home().glob(".local/share/uv/python/*")]):
        numbers = re.search(r"3\.(\d+)\.(\d+)", prefix.name)
        if numbers and not prefix.is_symlink():
            found.append(Interpreter(prefix, (3, int(numbers[1]), int(numbers[2]))))
    return [one for one in found if one.program.exists() and one.version[1] >= 10]


@dataclass
class Build:
    """An archive in the layout of the builds that uv downloads."""

    archive: Path
    version: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])

    def write_list(self, url: str) -> None:
        """What uv is told of the builds there are, beside the archive that is at the URL."""
        numbers = self.version.split(".")
        digest = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        machine = platform.machine()
        entry = {
            "name": "cpython",
            "arch": {"family": machine, "variant": None},
            "os": "linux",
            "libc": "gnu",
            **dict(zip(("major", "minor", "patch"), map(int, numbers), strict=True)),
            "prerelease": "",
            "url": url,
            "sha256": digest,
            "variant": None,
            "build": "20240107",
        }
        listed = {f"cpython-{self.version}-linux-{machine}-gnu": entry}
        (self.archive.parent / "downloads.json").write_text(json.dumps(listed))


def build(folder: Path) -> Build | str:
    """A build of a Python that Debian lacks; or why there is none here."""
    candidates = [one for one in interpreters() if one.version[1] not in OF_DEBIAN]
    reasons = ["no interpreter of pyenv or uv with a version that Debian lacks"]
    for interpreter in reversed(candidates):
        tree = folder / "tree" / "python"
        copy(interpreter, tree)
        if reason := not_relocatable(interpreter, tree):
            reasons.append(f"{interpreter.prefix}: {reason}")
            shutil.rmtree(tree)
            continue
        archive = folder / f"cpython-{interpreter}.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.add(tree, "python")
        shutil.rmtree(tree)
        return Build(archive, str(interpreter))
    return "; ".join(reasons)


def copy(interpreter: Interpreter, tree: Path) -> None:
    """Copies what belongs to it, such that it runs from anywhere and says that it is `/install`, as those builds do."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if LEFT_OUT.search(f"{folder}/{name}")]

    for part in ("bin", "lib", "include"):
        shutil.copytree(interpreter.prefix / part, tree / part, symlinks=True, ignore=ignored)
    old = f"{interpreter.prefix}".encode()
    for program in [tree / "bin" / interpreter.name, *tree.glob("lib/libpython*.so*")]:
        if not program.is_symlink():
            run_path(program, old + b"/lib")
    for path in [*tree.glob("lib/python*/_sysconfigdata*.py"), *tree.glob("lib/pkgconfig/*.pc")]:
        if not path.is_symlink():
            path.write_bytes(path.read_bytes().replace(old, b"/install"))


def run_path(program: Path, old: bytes) -> None:
    """Has the loader look for libraries beside the program in place of the folder, which has a longer name."""
    new = b"$ORIGIN/../lib"
    if len(new) <= len(old):
        content = program.read_bytes()
        program.write_bytes(content.replace(old + b"\0", new.ljust(len(old) + 1, b"\0")))


def not_relocatable(interpreter: Interpreter, tree: Path) -> str | None:
    """Why the copy is none that can be anywhere."""
    program = tree / "bin" / interpreter.name
    done = subprocess.run([program, "-I", "-c", TRIAL], capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.strip() != str(tree):
        return f"a copy of it does not run: {done.stdout}{done.stderr}"
    loaded = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return f"a copy of it needs the original: {loaded}" if f"{interpreter.prefix}/" in loaded else None

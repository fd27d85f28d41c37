"""The server under test: how it is started, and which of the known servers it is."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
OURS, PUBLISHED = "ours", "published"


@dataclass(frozen=True)
class Target:
    """A server command with the environment it needs."""

    command: tuple[str, ...]
    name: str
    environment: dict[str, str]

    @classmethod
    def from_command_line(cls, command: str | None) -> Target:
        """Without a command: the build of this repository with the SDK of this repository."""
        if command is None:
            return cls.of_this_repository()
        words = tuple(shlex.split(command))
        # The worker is started with the `python` of PATH: the one that the server's packages belong to.
        path = os.pathsep.join([str(Path(words[0]).absolute().parent), os.environ["PATH"]])
        target = cls(words, OURS, {"PATH": path})
        return replace(target, name=PUBLISHED) if "(Rust)" in target.version() else target

    @classmethod
    def of_this_repository(cls) -> Target:
        program = Path(os.environ.get("COGLET", REPOSITORY / "dist/debug/coglet")).absolute()
        if not program.exists():
            raise FileNotFoundError(f"{program}: run `make conformance`, or name the program in COGLET")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        sdk = os.environ.get("COG_TEST_SDK", str(REPOSITORY / "python/cog/src"))
        return cls((str(program),), OURS, {"PATH": path, "PYTHONPATH": sdk})

    def version(self) -> str:
        """The line of `--version`: it tells the servers apart."""
        return self._output([*self.command, "--version"])

    def sdk_version(self) -> str:
        """What `cog.__version__` is in the model's interpreter."""
        return self._output(["python", "-c", "import cog; print(cog.__version__)"])

    def has_module(self, name: str) -> bool:
        """Whether the model's interpreter could import this module."""
        code = f"import importlib.util as u; print(u.find_spec({name!r}) is not None)"
        return self._output(["python", "-c", code]) == "True"

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

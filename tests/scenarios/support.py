"""Running `cog` from tests that a scenario file cannot say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COG = Path(os.environ.get("COG", REPOSITORY / "dist/debug/cog"))
STORE = Path(os.environ.get("COG_TEST_CACHE_DIR", REPOSITORY / ".cache/tests"))
TIME_LIMIT_SECONDS = 600
TRACES = ("Traceback (most recent", "panicked at", "RUST_BACKTRACE")


@dataclass
class Done:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    def fails_with(self, *texts: str) -> Done:
        """It failed as bad input should: status 1, these texts, and no trace of the program's own insides."""
        assert self.status == 1, self
        for text in texts:
            assert text in self.stderr, self
        for trace in TRACES:
            assert trace not in self.stderr, self
        return self

    def works(self) -> Done:
        assert self.status == 0, self
        return self


class Project:
    """A folder with a project, and the store that commands in it use."""

    def __init__(self, directory: Path, store: Path = STORE) -> None:
        self.directory = directory
        self.store = store

    def write(self, **files: str) -> Project:
        """Writes files; `__` in a name stands for its dot."""
        for name, content in files.items():
            (self.directory / name.replace("__", ".")).write_text(content)
        return self

    def environment(self, **env: str) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{COG.parent}{os.pathsep}{os.environ['PATH']}",
            "COG_CACHE_DIR": str(self.store),
            "COG_ENGINE": "embedded",
            # Whatever daemon runs on this machine is left alone.
            "COG_LOAD": "none",
            "DOCKER_HOST": "unix:///nowhere",
            "CONTAINER_HOST": "unix:///nowhere",
            "COG_BASE": "debian",
            "NO_COLOR": "1",
            **env,
        }

    def cog(self, *arguments: object, before: tuple[str, ...] = (), **env: str) -> Done:
        """Runs `cog`; `before` is a command that runs it, such as `unshare`."""
        command = [*before, str(COG), *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def has_image(self, name: str) -> bool:
        """Whether `cog images` works and lists the name, which may have a tag."""
        images = json.loads(self.cog("images", "--json").works().stdout)
        return any(image["name"] in (name, f"{name}:latest") for image in images)


def hello(directory: Path, store: Path = STORE) -> Project:
    """A copy of the smallest example."""
    shutil.copytree(REPOSITORY / "examples/hello-world", directory, ignore=shutil.ignore_patterns(".cog"))
    return Project(directory, store)


def debian_hosts() -> list[str]:
    """Where Debian packages may come from here."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    texts = [path.read_text() for path in sources if path.is_file()]
    texts.append(os.environ.get("COG_DEBIAN_MIRROR", ""))
    hosts = {host for text in texts for host in re.findall(r"https?://([^/\s:]+)", text)}
    return sorted(hosts | {"deb.debian.org", "security.debian.org"})


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def processes_with(text: str) -> list[str]:
    """Command lines of processes whose command line or environment has the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if text.encode() in command + environment:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found

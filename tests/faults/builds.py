"""Builds and pushes are killed with SIGKILL at random moments. The next one works, with the right digest."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server import ROOT, Failure, Skip, check

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of these, every second one is a push, where there is a registry.
KILLS, QUICK_KILLS = 200, 10
TIME_LIMIT_SECONDS = 600
#: For children of one that was killed to notice.
LEFTOVER_LIMIT_SECONDS = 20
MODEL = """
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self) -> int:
        return {number}
"""
CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
#: Makes files in a container.
COMMAND = '  run: ["mkdir -p /made/{number} && head -c 3000000 /dev/zero > /made/{number}/zeros"]\nrun: "run.py'
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


async def run(quick: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="cog-faults-") as folder, registry(Path(folder)) as host:
        return Trial(Path(folder), host).run(QUICK_KILLS if quick else KILLS)


def cog_binary() -> Path:
    """`$COG`, else the one that was put into dist/."""
    named = os.environ.get("COG")
    candidates = [Path(named)] if named else [ROOT / "dist" / profile / "cog" for profile in ("release", "debug")]
    for candidate in candidates:
        if candidate.exists():
            return candidate.resolve()
    raise Skip(f"no cog: {candidates[0]} does not exist")


@contextmanager
def registry(folder: Path) -> Iterator[str | None]:
    """Debian's `docker-registry`, where it is installed: it takes no manifest whose layers it lacks."""
    program = shutil.which("docker-registry")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(folder / "registry")}}
    config = {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": host}}
    # JSON is YAML.
    (folder / "registry.yml").write_text(json.dumps(config))
    log = (folder / "registry.log").open("wb")
    process = subprocess.Popen([program, "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + LEFTOVER_LIMIT_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=5):
                break
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait()
        log.close()


@dataclass
class Trial:
    """A project that changes, a store in which builds of it are killed, and one in which none is."""

    folder: Path
    host: str | None
    cog: Path = field(default_factory=cog_binary)
    #: How long an undisturbed command took lately, by its name.
    took: dict[str, float] = field(default_factory=dict)
    too_late: int = 0

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def untouched(self) -> Path:
        return self.folder / "untouched"

    def run(self, kills: int) -> str:
        seed = random.randrange(1 << 32)
        random.seed(seed)
        self.project.mkdir()
        self.change(0)
        first = self.command("build", "-t", "killed", store=self.store)
        if first.returncode != 0:
            raise Skip(f"nothing can be built here: {first.stderr[-300:]}")
        shutil.copytree(self.store, self.untouched, symlinks=True)
        pushes = 0
        try:
            for number in range(1, kills + 1):
                is_push = self.host is not None and number % 2 == 0
                pushes += is_push
                self.round(number, is_push)
                if number % 10 == 0 or number == kills:
                    self.examine_store()
                if sys.stderr.isatty():
                    print(f"\r{number} of {kills}", end="", file=sys.stderr)
        except Failure as failure:
            raise Failure(f"{failure} (seed {seed})") from None
        note = f"{pushes} of them pushes" if self.host else "no docker-registry here, so no pushes"
        return f"{kills} kills ({note}; {self.too_late} came too late), each next one right, no process or file left"

    def round(self, number: int, is_push: bool) -> None:
        self.change(number)
        arguments = ["push", f"{self.host}/team/killed:v1"] if is_push else ["build", "-t", "killed"]
        # A push has to send something: what is large there is new.
        self.kill_some_time(arguments)
        self.expect_no_process()
        began = time.monotonic()
        done = self.command(*arguments, store=self.store)
        check(done.returncode == 0, f"after kill {number}, `cog {arguments[0]}` fails: {done.stderr[-1000:]}")
        self.took[arguments[0]] = time.monotonic() - began
        expected = self.layers(self.untouched, self.built(self.untouched))
        if is_push:
            manifest = self.pushed("team/killed", "v1")
            found = [layer["digest"] for layer in manifest["layers"]]
            # Each push has an id of its own in the configuration.
            check(found == expected, f"kill {number}: pushed layers are {found}, not {expected}")
            return
        [digest] = [image["digest"] for image in self.images(self.store) if image["name"] == "killed:latest"]
        [right] = [image["digest"] for image in self.images(self.untouched) if image["name"] == "killed:latest"]
        found = self.layers(self.store)
        check(digest == right, f"kill {number}: the digest is {digest}, not {right}; layers {found}, not {expected}")

    def change(self, number: int) -> None:
        """A new state of the project: code, a large file, and sometimes a command."""
        config = CONFIG
        if number % 3 == 1:
            config = CONFIG.replace('run: "run.py', COMMAND.format(number=number))
        (self.project / "cog.yaml").write_text(config)
        (self.project / "run.py").write_text(MODEL.format(number=number))
        (self.project / "weights.bin").write_bytes(random.Random(number).randbytes(10 << 20))

    def kill_some_time(self, arguments: list[str]) -> None:
        process = subprocess.Popen(
            [self.cog, *arguments],
            cwd=self.project,
            env=self.environment(self.store),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(random.uniform(0, self.took.get(arguments[0], 2.0)))
        self.too_late += process.poll() is not None
        # It alone: what it has started has to notice.
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()

    def expect_no_process(self) -> None:
        deadline = time.monotonic() + LEFTOVER_LIMIT_SECONDS
        while left := processes_of(self.store):
            check(time.monotonic() < deadline, f"still there: {left}")
            time.sleep(0.05)

    def built(self, store: Path) -> str:
        done = self.command("build", "-t", "killed", store=store)
        check(done.returncode == 0, f"an undisturbed build fails: {done.stderr[-1000:]}")
        return "killed"

    def layers(self, store: Path, name: str = "killed") -> list[str]:
        inspected = json.loads(self.succeeds("inspect", "--json", name, store=store))
        return [layer["digest"] for layer in inspected["layers"]]

    def images(self, store: Path) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = json.loads(self.succeeds("images", "--json", store=store))
        return images

    def pushed(self, repository: str, tag: str) -> dict[str, Any]:
        url = f"http://{self.host}/v2/{repository}/manifests/{tag}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": MANIFEST})) as answer:
            manifest: dict[str, Any] = json.load(answer)
        return manifest

    def examine_store(self) -> None:
        """Blobs are what their names say, and nothing is left of those that were killed."""
        for blob in (self.store / "blobs/sha256").iterdir():
            with blob.open("rb") as content:
                actual = hashlib.file_digest(content, "sha256").hexdigest()
            check(actual == blob.name, f"blob {blob.name} is {actual}")
        self.succeeds("prune", store=self.store)
        for name in ("tmp", "partial"):
            left = [str(path) for path in (self.store / name).iterdir()] if (self.store / name).exists() else []
            check(not left, f"left behind: {left}")

    def succeeds(self, *arguments: str, store: Path) -> str:
        done = self.command(*arguments, store=store)
        check(done.returncode == 0, f"`cog {' '.join(arguments)}` fails: {done.stderr[-1000:]}")
        return done.stdout

    def command(self, *arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.cog, *arguments],
            cwd=self.project,
            env=self.environment(store),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )

    def environment(self, store: Path) -> dict[str, str]:
        return {
            **os.environ,
            "COG_CACHE_DIR": str(store),
            "COG_ENGINE": "embedded",
            "COG_BASE": "debian",
            "COG_LOAD": "none",
            "NO_COLOR": "1",
            # Several pieces for the large file.
            "COG_PUSH_MULTIPART_THRESHOLD": "1000000",
            "COG_PUSH_DEFAULT_CHUNK_SIZE": "2000000",
        }


def processes_of(store: Path) -> list[str]:
    """Command lines of processes that know of the store."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if str(store).encode() in text:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found

"""Models whose objects misbehave where a server handles them."""

import asyncio
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path as File

import cog
from cog import BaseRunner, Path, current_scope


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def fail(how: str) -> str:
    if how == "mute":
        raise Mute
    if how == "closed":
        sys.stderr = io.StringIO()
        sys.stderr.close()
        raise ValueError("bad thing")
    return "fine"


class Fails(BaseRunner):
    def run(self, how: str) -> str:
        return fail(how)


class AsyncFails(BaseRunner):
    async def run(self, how: str) -> str:
        return fail(how)


class OwnLoop(BaseRunner):
    """Runs an event loop in a setup that is not async."""

    def setup(self) -> None:
        self.loaded = asyncio.run(self.load())

    async def load(self) -> str:
        await asyncio.sleep(0)
        return "loaded"

    async def run(self) -> str:
        await asyncio.sleep(0)
        return self.loaded


SIZES = (0, 1, 1000, 100_000, 0, 1000)


class Rewrites(BaseRunner):
    """Yields one path again and again, with another content each time, and removes it in the end."""

    def run(self) -> Iterator[Path]:
        file = File("out.txt")
        for size in SIZES:
            file.write_bytes(b"x" * size)
            yield Path(file)
        file.unlink()


class AsyncRewrites(BaseRunner):
    async def run(self) -> AsyncIterator[Path]:
        file = File("out.txt")
        for size in SIZES:
            file.write_bytes(b"x" * size)
            yield Path(file)
        file.unlink()


class Forks(BaseRunner):
    def run(self, how: str) -> int:
        child = os.fork()
        if child == 0:
            if how == "exit":
                sys.exit(3)
            if how == "raise":
                raise ValueError("in the child")
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Metrics(BaseRunner):
    def run(self, how: str) -> str:
        value: object = {"nan": float("nan"), "inner": [1.0, float("inf")]}.get(how)
        if how == "deep":
            value = 1
            for _ in range(150):
                value = [value]
        current_scope().record_metric("odd", value)
        current_scope().record_metric("last", 1)
        return "fine"


class Echo(BaseRunner):
    def run(self, x: float) -> str:
        return repr(x)


def slow() -> None:
    time.sleep(0.5)


async def busy() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(3):
        loop.call_soon(slow)
        await asyncio.sleep(0.01)
    await asyncio.sleep(3600)


class InnerLoop(BaseRunner):
    """Its event loop swallows what is raised in its callbacks."""

    def run(self) -> str:
        File("running").touch()
        asyncio.run(busy())
        return "never"


class Progress(BaseRunner):
    def run(self, updates: int) -> str:
        for number in range(updates):
            print(f"\r{number:60}", end="")
        return "done"


class Pieces(BaseRunner):
    def run(self, where: str) -> str:
        for byte in "é€\n".encode():
            if where == "child":
                os.write(1, bytes([byte]))
            else:
                sys.stdout.buffer.write(bytes([byte]))
                sys.stdout.flush()
            time.sleep(0.01)
        return "done"


class LeavingTask(BaseRunner):
    """What happens in a background task is no matter of the predictions."""

    async def run(self, how: str = "") -> str:
        loop = asyncio.get_running_loop()
        if how == "exit":
            self.task = loop.create_task(self.leave())
        if how == "stop":
            loop.stop()
        if how == "wait":
            File("running").touch()
            await asyncio.sleep(1)
        await asyncio.sleep(0.05)
        return "fine"

    async def leave(self) -> None:
        sys.exit(3)


class LeavingCheck(LeavingTask):
    async def healthcheck(self) -> bool:
        sys.exit(3)


class Deaf(BaseRunner):
    """Swallows every cancelation for so many seconds; others run beside it."""

    @cog.concurrent(max=2)
    async def run(self, name: str, seconds: float) -> str:
        File(f"running-{name}").touch()
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            try:
                await asyncio.sleep(rest)
            except asyncio.CancelledError:
                File(f"deaf-{name}").touch()
        return name


class Places(BaseRunner):
    """The modes of all that the server and its worker make for this prediction."""

    def run(self, file: Path, text: str) -> dict[str, str]:
        places = {
            "input": file,
            "directory": file.parent,
            "scratch": current_scope().scratch_dir,
            "root": current_scope().scratch_dir.parent,
            "spill": File(os.environ["COG_WORKER_SPILL_DIR"]),
        }
        return {name: oct(place.stat().st_mode & 0o777) for name, place in places.items()}


class Child(BaseRunner):
    """Has a child that is no daemon, and that nobody ends."""

    def setup(self) -> None:
        import multiprocessing

        multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()

    def run(self) -> str:
        return "fine"


class Floods(BaseRunner):
    """Leaves a child that prints for ever."""

    def run(self, how: str = "") -> str:
        if how == "flood":
            import subprocess

            subprocess.Popen(["yes"])
        return "fine"

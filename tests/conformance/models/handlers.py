"""What handlers may do: raise, yield, wait, record, be asynchronous."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cog
from cog import BaseRunner, CancelationException, ConcatenateIterator


class Raises(BaseRunner):
    def run(self, kind: str = "ValueError") -> str:
        print("about to fail")
        if kind == "exit":
            sys.exit(3)
        raise {"ValueError": ValueError, "RuntimeError": RuntimeError, "Exception": Exception}[kind]("bad thing")


class AsyncRaises(BaseRunner):
    async def run(self, kind: str = "ValueError") -> str:
        if kind == "exit":
            sys.exit(3)
        if kind == "none":
            return "fine"
        raise ValueError("bad thing")


class Iterates(BaseRunner):
    def run(self, count: int = 3) -> Iterator[str]:
        for n in range(count):
            yield f"item {n}"


class Concatenates(BaseRunner):
    def run(self, count: int = 3) -> ConcatenateIterator[str]:
        for n in range(count):
            yield f"item {n}"


class AsyncIterates(BaseRunner):
    async def run(self, count: int = 5, pause: float = 0.1) -> AsyncIterator[str]:
        for n in range(count):
            await asyncio.sleep(pause)
            yield f"item {n}"


class GatedAsyncIterates(BaseRunner):
    """Goes on after the first item when the file `go` is there."""

    async def run(self) -> AsyncIterator[str]:
        yield "first"
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        yield "second"


class FailsLate(BaseRunner):
    def run(self) -> Iterator[str]:
        yield from ("one", "two", "three")
        raise RuntimeError("late")


class ReturnsNone(BaseRunner):
    def run(self) -> int:
        return None  # type: ignore[return-value]


class Gated(BaseRunner):
    """Counts its runs in the file `runs`; ends when the file `go` is there."""

    def run(self, s: str) -> str:
        with Path("runs").open("a") as runs:
            runs.write(f"{s}\n")
        print(f"waiting {s}")
        while not Path("go").exists():
            time.sleep(0.01)
        return f"hello {s}"


class Sleeps(BaseRunner):
    def run(self, seconds: float) -> str:
        Path("running").touch()
        time.sleep(seconds)
        return "slept"


class AsyncSleeps(BaseRunner):
    @cog.concurrent(max=5)
    async def run(self, n: int, seconds: float = 1) -> str:
        Path(f"running-{n}").touch()
        await asyncio.sleep(seconds)
        return f"slept {n}"


class BusyLoop(BaseRunner):
    """Never ends by itself, and tells in files what it saw of its end."""

    def run(self) -> str:
        print("spinning")
        try:
            Path("running").touch()
            while True:
                for _ in range(1000):
                    pass
        except Exception:
            Path("except-exception").touch()
            raise
        except CancelationException:
            Path("canceled").touch()
            raise
        finally:
            Path("finally").touch()


class SwallowsCancel(BaseRunner):
    def run(self) -> str:
        try:
            Path("running").touch()
            while True:
                time.sleep(0.01)
        except CancelationException:
            return "swallowed"


class AsyncForever(BaseRunner):
    async def run(self) -> str:
        try:
            Path("running").touch()
            await asyncio.sleep(60)
            return "slept"
        except asyncio.CancelledError:
            Path("canceled").touch()
            raise


class Dies(BaseRunner):
    def run(self, dies: bool = True) -> str:
        Path("running").touch()
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"


class NamedMetrics(BaseRunner):
    """Many at a time, each of which records and prints under its own name."""

    @cog.concurrent(max=5)
    async def run(self, name: str) -> str:
        for n in range(5):
            print(f"{name} {n}")
            self.record_metric(name, 1, "incr")
            await asyncio.sleep(0.02)
        return name


class Keeps(BaseRunner):
    """State of a module and of an instance."""

    def run(self, letter: str) -> list[str]:
        kept.append(letter)
        return kept


kept: list[str] = []


class Prints(BaseRunner):
    def run(self, end: str = "\n") -> str:
        print("out")
        print("err", file=sys.stderr)
        print("last", end=end)
        return "done"


class LongLine(BaseRunner):
    def run(self, size: int) -> str:
        print("before")
        print("x" * size)
        print("after")
        return "done"


class Speaks(BaseRunner):
    """Prints lines and yields items in quick succession."""

    def run(self, lines: int = 0, items: int = 0) -> Iterator[str]:
        for n in range(lines):
            print(f"line {n}")
            # So that each line travels alone.
            time.sleep(0.02)
        for n in range(items):
            yield f"item {n}"
            time.sleep(0.02)


def train(n: int) -> str:
    return f"trained {n}"

"""Models that opted in to server-sent events."""

import time
from collections.abc import Iterator
from pathlib import Path

import cog
from cog import BaseRunner


class Two(BaseRunner):
    @cog.streaming
    def run(self) -> Iterator[str]:
        print("working")
        yield "one"
        yield "two"


class Metrics(BaseRunner):
    @cog.streaming
    def run(self) -> Iterator[str]:
        self.record_metric("confidence", 0.7)
        self.record_metric("tokens", 2, "incr")
        self.record_metric("tokens", 2, "incr")
        yield "one"


class Fails(BaseRunner):
    @cog.streaming
    def run(self) -> Iterator[str]:
        yield "one"
        raise ValueError("bad thing")


class Gated(BaseRunner):
    """Ends when the file `go` is there."""

    @cog.streaming
    def run(self) -> Iterator[str]:
        yield "one"
        yield "two"
        Path("running").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        yield "three"


class Many(BaseRunner):
    """`count` outputs at once, and then one when the file `go` is there."""

    @cog.streaming
    def run(self, count: int) -> Iterator[str]:
        for n in range(count):
            yield f"{n}"
        Path("running").touch()
        while not Path("go").exists():
            time.sleep(0.01)


class Flood(BaseRunner):
    """`count` large outputs once the file `go` is there."""

    @cog.streaming
    def run(self, count: int, kilobytes: int) -> Iterator[str]:
        Path("running").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        for _ in range(count):
            yield "x" * (kilobytes << 10)


class Undecorated(BaseRunner):
    def run(self) -> Iterator[str]:
        yield "one"
        yield "two"

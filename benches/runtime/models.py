"""Models that both servers run. Each does as little as its row allows."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator

import cog
from cog import BaseRunner, Path


class Echo(BaseRunner):
    def run(self, text: str) -> str:
        return "hello " + text


class Count(BaseRunner):
    def run(self, number: int = cog.Input(ge=0)) -> int:
        return number + 1


class Wait(BaseRunner):
    async def run(self, seconds: float) -> str:
        import asyncio  # not at the top: what the other models need not load is not measured with them

        await asyncio.sleep(seconds)
        return "done"


class Tokens(BaseRunner):
    @cog.streaming
    def run(self, count: int) -> Iterator[str]:
        for number in range(count):
            yield f"token {number}"


class SlowTokens(BaseRunner):
    @cog.streaming
    async def run(self, count: int) -> AsyncIterator[str]:
        import asyncio

        for number in range(count):
            await asyncio.sleep(0.05)
            yield f"token {number}"


class Size(BaseRunner):
    def run(self, file: Path) -> int:
        return os.path.getsize(file)


class File(BaseRunner):
    def run(self, size: int) -> Path:
        with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
            file.write(os.urandom(1024) * (size // 1024))
        return Path(file.name)


class Text(BaseRunner):
    def run(self, size: int) -> str:
        return "x" * size


class Lines(BaseRunner):
    def run(self, count: int) -> int:
        for number in range(count):
            print(f"line {number} of a log")
        return count


class Object(BaseRunner):
    def run(self, value: dict) -> dict:
        return value

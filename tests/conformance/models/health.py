"""Healthchecks."""

import asyncio
import time
from pathlib import Path

from cog import BaseRunner


class Echo(BaseRunner):
    def run(self, seconds: float = 0) -> str:
        Path("running").touch()
        time.sleep(seconds)
        return "done"


class Good(Echo):
    def healthcheck(self) -> bool:
        return True


class Nothing(Echo):
    def healthcheck(self) -> None:
        return None


class Bad(Echo):
    def healthcheck(self) -> bool:
        return False


class Raises(Echo):
    def healthcheck(self) -> bool:
        raise RuntimeError("no GPU")


class Hangs(Echo):
    def healthcheck(self) -> bool:
        time.sleep(8)
        return True


class AsyncGood(Echo):
    async def healthcheck(self) -> bool:
        await asyncio.sleep(0)
        return True


class AsyncHangs(Echo):
    async def healthcheck(self) -> bool:
        await asyncio.sleep(8)
        return True

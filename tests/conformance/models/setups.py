"""What `setup` may do: wait, sleep, print, raise, be asynchronous."""

import asyncio
import os
import sys
import time
from pathlib import Path

from cog import BaseRunner


class Gated(BaseRunner):
    """Waits in setup for the file `go`."""

    def setup(self) -> None:
        Path("pid").write_text(str(os.getpid()))
        while not Path("go").exists():
            time.sleep(0.01)

    def run(self, s: str = "world") -> str:
        return f"hello {s}"


class Slow(BaseRunner):
    def setup(self) -> None:
        time.sleep(15)

    def run(self, s: str) -> str:
        return f"hello {s}"


class Talking(BaseRunner):
    def setup(self) -> None:
        print("loading the weights")
        print("a warning", file=sys.stderr)

    def run(self, s: str) -> str:
        return f"hello {s}"


class Raising(BaseRunner):
    def setup(self) -> None:
        print("before the failure")
        raise ValueError("no weights here")

    def run(self, s: str) -> str:
        return s


class Weights(BaseRunner):
    def setup(self, weights: str | None = "its own default") -> None:
        self.weights = weights

    def run(self) -> str:
        return repr(self.weights)


class AsyncWeights(BaseRunner):
    async def setup(self, weights: str | None = None) -> None:
        await asyncio.sleep(0)
        self.weights = weights

    async def run(self) -> str:
        return repr(self.weights)


class AsyncSetupSyncRun(BaseRunner):
    async def setup(self) -> None:
        await asyncio.sleep(0)
        self.greeting = "hello"

    def run(self, s: str) -> str:
        return f"{self.greeting} {s}"


class AsyncSetupAsyncRun(BaseRunner):
    async def setup(self) -> None:
        # Bound to the loop that setup runs in: of no use in another one.
        self.names: asyncio.Queue[str] = asyncio.Queue()
        self.greeter = asyncio.create_task(self.greet())
        self.greetings: asyncio.Queue[str] = asyncio.Queue()

    async def greet(self) -> None:
        while True:
            await self.greetings.put(f"hello {await self.names.get()}")

    async def run(self, s: str) -> str:
        await self.names.put(s)
        return await asyncio.wait_for(self.greetings.get(), timeout=5)


class Marking(BaseRunner):
    """Leaves a file if its setup is run."""

    def setup(self) -> None:
        Path("setup-ran").touch()

    def run(self, s: str) -> str:
        return f"hello {s}"


class AsyncMarking(Marking):
    async def run(self, s: str) -> str:
        return f"hello {s}"

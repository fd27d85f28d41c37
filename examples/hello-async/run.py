import asyncio

import cog
from cog import BaseRunner, Input


class Runner(BaseRunner):
    @cog.concurrent(max=32)
    async def run(
        self,
        text: str = Input(description="Who to greet"),
        delay: float = Input(description="Seconds to wait first", ge=0, le=60, default=0.1),
    ) -> str:
        await asyncio.sleep(delay)
        return f"hello {text}"

"""Cannot be imported."""

import no_such_module_anywhere  # noqa: F401
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, s: str) -> str:
        return s

"""A model whose annotations are strings at run time."""

from __future__ import annotations

import tempfile

from cog import BaseRunner, Path


class Runner(BaseRunner):
    def run(self, path: Path) -> Path:
        output = Path(tempfile.mkdtemp()) / "out.txt"
        output.write_text(path.read_text().upper())
        return output


class SetUp(BaseRunner):
    def setup(self) -> None:
        self.state = "set up"

    def run(self) -> str:
        return self.state

"""A model whose annotations are strings at run time."""

from __future__ import annotations

import tempfile

from cog import BaseRunner, Path


class Runner(BaseRunner):
    def run(self, path: Path) -> Path:
        output = Path(tempfile.mkdtemp()) / "out.txt"
        output.write_text(path.read_text().upper())
        return output

"""The README's tour, run as it is written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from support import REPOSITORY, TIME_LIMIT_SECONDS, Project

#: Commands whose output is a list that differs from machine to machine.
UNCHECKED = ("cog images",)


def test_the_tour_is_true(tmp_path: Path) -> None:
    text = (REPOSITORY / "README.md").read_text()
    tour = text[text.index("## Five minutes") : text.index("## Read on")]
    project = Project(tmp_path)
    checked = 0
    for language, block in re.findall(r"```(\w+)\n(.*?)```", tour, re.DOTALL):
        if language != "console":
            name = block.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(block)
            continue
        for command, expected in commands(block):
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=tmp_path,
                env=project.environment(),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_SECONDS,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
            if command not in UNCHECKED:
                assert done.stdout == expected, command
            checked += 1
    assert checked >= 5


def commands(block: str) -> list[tuple[str, str]]:
    """Each command with the output that is shown below it."""
    found: list[tuple[str, str]] = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found

"""The code in the documentation is what `cog` and Python take."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY, Project

PAGES = ("guides/writing-models.md", "reference/cog-yaml.md")
MODEL = "class Runner:\n    def run(self, text: str) -> str: ...\n\n\ndef train(text: str) -> str: ...\n"
CONFIG = 'build:\n  python_version: "3.13"\nrun: "run.py:Runner"\n'
EXAMPLES = [
    pytest.param(block, name, id=f"{Path(page).stem}-{number}")
    for page in PAGES
    for number, (block, name) in enumerate(
        re.findall(r"```\w+\n(# (\S+)\n.*?)```", (REPOSITORY / "docs" / page).read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize(("block", "name"), EXAMPLES)
def test_what_the_documentation_shows(tmp_path: Path, block: str, name: str) -> None:
    project = Project(tmp_path).write(cog__yaml=CONFIG, run__py=MODEL, train__py=MODEL, requirements__txt="")
    if name == "test_run.py":
        shown = [str(param.values[0]) for param in EXAMPLES]
        project.write(run__py=shown[shown.index(block) - 1])
    (tmp_path / name).write_text(block)
    done = project.cog("schema").works()
    assert "ignored" not in done.stderr, done
    assert "Output" in json.loads(done.stdout)["components"]["schemas"]
    check = ["-m", "pytest", "-q", "test_run.py"] if name == "test_run.py" else ["-c", "import run; run.Runner"]
    subprocess.run(
        [sys.executable, *check],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'python/cog/src'}:{tmp_path}"},
        check=True,
    )


def test_the_documentation_shows_something() -> None:
    names = {param.values[1] for param in EXAMPLES}
    assert names == {"run.py", "test_run.py", "cog.yaml"}

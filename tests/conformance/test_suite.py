"""The suite itself: every case of the specification has a test."""

from __future__ import annotations

import re
from pathlib import Path

CASES = 72


def test_every_case_is_tested() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tested = {int(number) for number in re.findall(r"^def test_case_(\d\d)_", sources, re.MULTILINE)}
    assert tested == set(range(1, CASES + 1))

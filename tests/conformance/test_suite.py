"""The suite itself: every case of the specifications has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize(("prefix", "cases"), [("test_case", 72), ("test_sdk_case", 33)])
def test_every_case_is_tested(prefix: str, cases: int) -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tested = {int(number) for number in re.findall(rf"^def {prefix}_(\d\d)_", sources, re.MULTILINE)}
    assert tested == set(range(1, cases + 1))

"""Case 4, in a file of its own because it takes 15 seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Serve


def test_case_04_setup_may_take_its_time(serve: Serve) -> None:
    assert serve("setups.py:Slow").output(s="x") == "hello x"

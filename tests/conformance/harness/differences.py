"""What is known to differ: the table in `differences.toml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import tomllib

from .target import OURS, PUBLISHED

TABLE = Path(__file__).resolve().parents[1] / "differences.toml"


@dataclass(frozen=True)
class Difference:
    test: str
    """A test's name, with or without its parameter."""
    server: str
    reason: str
    always: bool = True
    """False: it shows only sometimes, so that the test may also pass."""

    def __post_init__(self) -> None:
        if self.server not in (OURS, PUBLISHED):
            raise ValueError(f"{TABLE.name}: {self.test}: server is `{self.server}`, not `{OURS}` or `{PUBLISHED}`")

    def covers(self, test: str, server: str) -> bool:
        return self.server == server and self.test in (test, test.partition("[")[0])


def load() -> list[Difference]:
    return [Difference(**entry) for entry in tomllib.loads(TABLE.read_text())["difference"]]


def unknown_tests(differences: list[Difference]) -> list[str]:
    """Names in the table which no test has: left over from renaming."""
    sources = "".join(path.read_text() for path in TABLE.parent.glob("test_*.py"))
    names = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    return [difference.test for difference in differences if difference.test.partition("[")[0] not in names]

"""Greets: as a class, without a base class, as a function."""

import os

from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, s: str) -> str:
        return f"hello {s}"


class Defaults(BaseRunner):
    def run(self, s: str = "world") -> str:
        return f"hello {s}"


class Plain:
    def run(self, s: str) -> str:
        return f"hello {s}"


class Variable(BaseRunner):
    def run(self, name: str) -> str:
        return os.getenv(name, "unset")


def greet(s: str) -> str:
    return f"hello {s}"


def run(s: str) -> str:
    return f"hello {s}"

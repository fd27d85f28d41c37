"""Trainers: a function and a class, for train mode and beside a predictor."""

import tempfile

from cog import BaseModel, BaseRunner, Path


class Weights(BaseModel):
    weights: Path
    steps: int


def make(steps: int) -> Weights:
    path = Path(tempfile.mkdtemp()) / "weights.txt"
    path.write_text(f"{steps} steps")
    return Weights(weights=path, steps=steps)


def train(steps: int) -> Weights:
    print("training")
    return make(steps)


def failing(steps: int) -> Weights:
    raise ValueError("bad thing")


class Trainer:
    def setup(self) -> None:
        print("setting up")

    def run(self, s: str) -> str:
        return s

    def train(self, steps: int) -> Weights:
        print("training")
        return make(steps)


class NoTrainer(BaseRunner):
    def run(self, s: str) -> str:
        return s

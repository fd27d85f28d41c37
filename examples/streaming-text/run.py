"""A word-level Markov chain, so small that it learns its corpus in setup()."""

import itertools
import random
from collections import defaultdict

import cog
from cog import BaseRunner, ConcatenateIterator, Input, Path


class Runner(BaseRunner):
    def setup(self) -> None:
        words = (Path(__file__).parent / "corpus.txt").read_text().split()
        self.followers: dict[str, list[str]] = defaultdict(list)
        for word, follower in itertools.pairwise(words):
            self.followers[word].append(follower)

    @cog.streaming
    def run(
        self,
        prompt: str = Input(description="First word of the text", default="The"),
        tokens: int = Input(description="Number of words to add", ge=1, le=500, default=20),
        seed: int = Input(description="Same seed, same text", default=0),
    ) -> ConcatenateIterator[str]:
        chooser = random.Random(seed)
        word = prompt
        yield word
        for _ in range(tokens):
            word = chooser.choice(self.followers.get(word) or sorted(self.followers))
            yield f" {word}"

# The model's interface: https://cog.run/python

import time

from cog import BaseRunner, ConcatenateIterator, Input, streaming


class Runner(BaseRunner):
    def setup(self) -> None:
        """Load the model into memory, so that many predictions can use it"""
        self.words = "Once upon a time there was a model that answered word by word.".split()

    @streaming
    def run(
        self,
        prompt: str = Input(description="What to begin with"),
        max_words: int = Input(description="Most words of the answer", ge=1, le=100, default=20),
    ) -> ConcatenateIterator[str]:
        """Run one prediction on the model; clients can read the answer while it is made"""
        yield prompt
        for word in self.words[:max_words]:
            time.sleep(0.05)
            yield f" {word}"

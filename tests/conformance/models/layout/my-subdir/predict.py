from cog import BaseRunner
from helper import shout


class Predictor(BaseRunner):
    def run(self, s: str) -> str:
        return shout(s)

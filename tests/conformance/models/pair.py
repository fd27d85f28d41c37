"""A predictor and a trainer with the same inputs."""


def run(s: str) -> str:
    return f"predicted {s}"


def train(s: str) -> str:
    return f"trained {s}"

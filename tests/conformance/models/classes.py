"""Ways to write a model."""

import sys

from cog import BaseModel, BasePredictor, BaseRunner, Input, Opaque, current_scope, emit_metric  # noqa: F401


class OnlyPredict(BaseRunner):
    def predict(self, s: str) -> str:
        return f"predicted {s}"


class Legacy(BasePredictor):
    def predict(self, s: str) -> str:
        return f"predicted {s}"


class Both(BaseRunner):
    def run(self, s: str) -> str:
        return s

    def predict(self, s: str) -> str:
        return s


class Neither(BaseRunner):
    def infer(self, s: str) -> str:
        return s


class Middle(BaseRunner):
    def run(self, s: str) -> str:
        return f"inherited {s}"


class Inherits(Middle):
    def setup(self) -> None:
        self.ready = True


class OwnInit(BaseRunner):
    def __init__(self) -> None:
        self.count = 0

    def run(self, amount: int = Input(default=10)) -> int:
        self.count += amount
        self.record_metric("count", self.count)
        return self.count


class EmitsMetric(BaseRunner):
    def run(self) -> str:
        emit_metric("tokens", 3)
        return "recorded"


class Threads(BaseRunner):
    """Prints and records from another thread."""

    def run(self) -> str:
        import threading

        def work() -> None:
            print("from a thread")
            scope.record_metric("threads", 1)

        scope = current_scope()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return "joined"


class Streams(BaseRunner):
    """The replaced streams still are files."""

    def run(self) -> dict:
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.flush()
        return {"tty": sys.stdout.isatty(), "encoding": sys.stdout.encoding.lower(), "fd": sys.stdout.fileno()}

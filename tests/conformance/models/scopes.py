"""Metrics and context."""

from cog import BaseRunner, current_scope


class Metrics(BaseRunner):
    def run(self) -> str:
        self.record_metric("confidence", 0.7)
        self.record_metric("tokens", 1, "incr")
        self.record_metric("tokens", 2, "increment")
        self.record_metric("tags", "a", "append")
        self.record_metric("tags", "b", "append")
        self.record_metric("timing.load", 1.5)
        self.record_metric("timing.infer", 2)
        metrics = current_scope().metrics
        metrics["k"] = "hello"
        metrics["gone"] = 1
        metrics["gone"] = None
        metrics.record("deleted", True)
        metrics.delete("deleted")
        return "recorded"


class NamedMetric(BaseRunner):
    def run(self, name: str) -> str:
        self.record_metric("before", 1)
        self.record_metric(name, 1)
        return "recorded"


class MetricErrors(BaseRunner):
    def run(self, kind: str) -> str:
        match kind:
            case "mode":
                self.record_metric("x", 1, "sum")
            case "value":
                self.record_metric("x", object())
            case "type":
                self.record_metric("x", 1)
                self.record_metric("x", "text")
            case "increment":
                self.record_metric("x", "text", "incr")
            case "reserved":
                self.record_metric("predict_time", 1)
        return "recorded"


class Context(BaseRunner):
    def run(self) -> dict:
        return dict(current_scope().context)

"""Metrics and context: cases 49-51 of the runtime specification, and 30 of the SDK's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Serve
    from harness.receiver import Receiver

INVALID_NAMES = {
    "": "metric name must not be empty",
    ".foo": "metric name must not start with a dot",
    "foo.": "metric name must not end with a dot",
    "foo..bar": "metric name must not contain empty segments (consecutive dots)",
    "_foo": "metric name segment '_foo' must start with a letter",
    "foo_": "metric name segment 'foo_' must end with a letter or digit",
    "foo__bar": "metric name segment 'foo__bar' must not contain consecutive underscores",
    "123bar": "metric name segment '123bar' must start with a letter",
    "foo bar": "metric name segment 'foo bar' contains invalid character ' '",
    "foo!": "metric name segment 'foo!' contains invalid character '!'",
    "foo-bar": "metric name segment 'foo-bar' contains invalid character '-'",
    "predict_time": "'predict_time' is reserved by the runtime",
    "cog.x": "the 'cog.' prefix is reserved for system metrics",
    "a.b.c.d.e": "metric name must have at most 4 dot-separated segments (got 5)",
    "a" * 129: "metric name must be 128 characters or fewer (got 129 characters)",
}
VALID_NAMES = ["temperature", "TTFT", "T2I_latency", "x", "cognitive", "a.b.c.d", "foo.bar_baz", "b" * 128]


def test_case_49_metrics(shared: Serve, receiver: Receiver) -> None:
    server = shared("scopes.py:Metrics")
    done = server.finish({"input": {}, "webhook": receiver.url()})
    for body in (done, receiver.completed()):
        metrics = body["metrics"]
        assert metrics.pop("predict_time") >= 0
        assert metrics == {
            "confidence": 0.7,
            "tokens": 3,
            "tags": ["a", "b"],
            "timing": {"load": 1.5, "infer": 2},
            "k": "hello",
        }


@pytest.mark.parametrize("name", INVALID_NAMES, ids=lambda name: repr(name)[:20])
def test_case_50_invalid_names(shared: Serve, name: str) -> None:
    done = shared("scopes.py:NamedMetric").predict(name=name)
    assert done["status"] == "failed"
    assert f"ValueError: {INVALID_NAMES[name]}" in done["error"]
    assert done["metrics"]["before"] == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("mode", "TypeError: Invalid metric mode: 'sum'. Expected 'replace', 'incr', or 'append'."),
        ("value", "TypeError: Unsupported metric value type: object."),
        ("type", "TypeError: Metric 'x' has type int, cannot set to str without deleting first"),
        ("increment", "TypeError: Increment mode requires int or float, got str"),
        ("reserved", "ValueError: 'predict_time' is reserved by the runtime"),
    ],
)
def test_case_50_invalid_use(shared: Serve, kind: str, error: str) -> None:
    assert error in shared("scopes.py:MetricErrors").failure(kind=kind)


@pytest.mark.parametrize("name", VALID_NAMES, ids=lambda name: str(name)[:20])
def test_sdk_case_30_valid_names(shared: Serve, name: str) -> None:
    value = shared("scopes.py:NamedMetric").predict(name=name)["metrics"]
    for segment in name.split("."):
        value = value[segment]
    assert value == 1


def test_case_51_context(shared: Serve) -> None:
    server = shared("scopes.py:Context")
    context = {"one": "1", "two": "zwei"}
    assert server.finish({"input": {}, "context": context})["output"] == context
    assert server.output() == {}

"""Start and setup: cases 1-3, 5-7, 11, 63 of the runtime specification."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from harness.waiting import eventually

if TYPE_CHECKING:
    from conftest import Serve
    from harness.server import Server
    from harness.target import Target

NOT_READY = {
    "error": "Setup has not finished yet. Wait until it has finished, or GET /health-check for status.",
    "status": "failed",
}
NEEDS_ASYNC = "COG_MAX_CONCURRENCY > 1 requires an async run() or predict() method"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)"


def test_case_01_health_while_setup_runs(start: Serve) -> None:
    server = start("setups.py:Gated")
    server.until_file("pid")
    response = server.get("/health-check")
    health = response.expect(200)
    assert health["status"] == "STARTING"
    assert health["setup"]["status"] == "starting"
    assert re.fullmatch(MOMENT, health["setup"]["started_at"])
    assert "completed_at" not in health["setup"]
    assert health["version"]["coglet"]
    assert server.request("HEAD", "/health-check").status == 200
    server.touch("go")
    health = server.until_status("READY")
    assert health["setup"]["status"] == "succeeded"
    assert re.fullmatch(MOMENT, health["setup"]["completed_at"])


def test_case_02_predictions_while_setup_runs(start: Serve) -> None:
    server = start("setups.py:Gated")
    server.until_file("pid")
    for path in ("/predictions", "/trainings"):
        assert server.post(path, {"input": {"s": "x"}}).expect(503) == NOT_READY
    assert server.put("/predictions/x", {"input": {"s": "x"}}).expect(503) == NOT_READY
    server.touch("go")
    assert server.until_ready().output(s="x") == "hello x"


def test_case_03_document_before_and_after_setup(start: Serve) -> None:
    server = start("setups.py:Gated")
    server.until_file("pid")
    assert server.get("/openapi.json").expect(503) == {"error": "OpenAPI schema not available"}
    server.touch("go")
    server.until_ready()
    assert server.get("/openapi.json").expect(200) == server.model.document()


def test_case_03_without_a_document(serve: Serve) -> None:
    server = serve("echo.py:Runner", has_schema=False)
    assert server.get("/openapi.json").status == 503
    # Nothing is checked, and nothing is stripped.
    assert server.output(s="x") == "hello x"
    assert "TypeError" in server.failure(s="x", extra=1)
    refused = server.post("/predictions", {"input": {"s": "x"}}, headers={"Accept": "text/event-stream"})
    assert refused.status == 406


@pytest.fixture
def timed_out(start: Serve) -> Server:
    server = start("setups.py:Gated", env={"COG_SETUP_TIMEOUT": 2})
    server.until_status("SETUP_FAILED")
    return server


def test_case_05_setup_timeout(timed_out: Server) -> None:
    assert "worker setup timed out" in timed_out.setup_logs()
    assert timed_out.health()["setup"]["status"] == "failed"
    refused = timed_out.post("/predictions", {"input": {}}).expect(503)
    assert refused["status"] == "failed"
    assert "setup" in refused["error"].lower()
    assert timed_out.get("/").status == 200


def test_case_05_setup_timeout_ends_the_worker(timed_out: Server) -> None:
    import os

    pid = int(timed_out.until_file("pid"))
    eventually("the end of the worker", lambda: not os.path.exists(f"/proc/{pid}"), 5)


@pytest.mark.parametrize("value", ["0", "soon"])
def test_case_05_unusable_timeout_means_none(serve: Serve, value: str) -> None:
    assert serve("echo.py:Runner", env={"COG_SETUP_TIMEOUT": value}).output(s="x") == "hello x"


def test_case_06_setup_raises(start: Serve) -> None:
    server = start("setups.py:Raising")
    health = server.until_status("SETUP_FAILED")
    assert health["setup"]["status"] == "failed"
    assert health["setup"]["completed_at"]
    assert "Setup failed: setup failed: ValueError: no weights here" in health["setup"]["logs"]
    refused = server.post("/predictions", {"input": {"s": "x"}}).expect(503)
    assert refused["status"] == "failed"
    # To wait would not help.
    assert "Setup failed" in refused["error"]
    assert server.get("/openapi.json").status == 503
    assert server.process.poll() is None


def test_case_06_failed_setup_keeps_what_was_printed(start: Serve) -> None:
    server = start("setups.py:Raising")
    logs = server.until_status("SETUP_FAILED")["setup"]["logs"]
    assert logs.index("before the failure") < logs.index("ValueError: no weights here")


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("missing_module.py:Runner", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("classes.py:NoSuchClass", "NoSuchClass"),
        ("classes.py:Both", "ValueError: Both must define either run() or predict(), not both"),
        ("classes.py:Neither", "ValueError: run or predict method not found: Neither"),
    ],
)
def test_case_06_model_that_cannot_be_loaded(start: Serve, model: str, error: str) -> None:
    server = start(model, has_schema=False)
    logs = server.until_status("SETUP_FAILED")["setup"]["logs"]
    assert "Setup failed: failed to load predictor: " in logs
    assert error in logs


def test_case_07_concurrency_needs_an_async_handler(start: Serve) -> None:
    server = start("setups.py:Marking", env={"COG_MAX_CONCURRENCY": 2})
    assert NEEDS_ASYNC in server.until_status("SETUP_FAILED")["setup"]["logs"]
    assert not (server.directory / "setup-ran").exists()


def test_case_07_concurrency_with_an_async_handler(serve: Serve) -> None:
    server = serve("setups.py:AsyncMarking", env={"COG_MAX_CONCURRENCY": 2})
    assert server.output(s="x") == "hello x"


@pytest.mark.parametrize("value", ["wat", "0"])
def test_case_07_unusable_concurrency_means_one(serve: Serve, value: str) -> None:
    server = serve("handlers.py:AsyncSleeps", env={"COG_MAX_CONCURRENCY": value})
    running = server.begin(n=1, seconds=0.5)
    server.until_file("running-1")
    assert server.post("/predictions", {"input": {"n": 2}}).status == 409
    assert running.answer().expect(200)["output"] == "slept 1"


@pytest.mark.parametrize("model", ["AsyncSetupSyncRun", "AsyncSetupAsyncRun"])
def test_case_11_async_setup(serve: Serve, model: str) -> None:
    server = serve(f"setups.py:{model}")
    assert [server.output(s=s) for s in "ab"] == ["hello a", "hello b"]


@pytest.mark.parametrize("model", ["Weights", "AsyncWeights"])
@pytest.mark.parametrize(("variables", "weights"), [({"COG_WEIGHTS": "/some/where"}, "'/some/where'"), ({}, "None")])
def test_case_11_weights(serve: Serve, model: str, variables: dict[str, Any], weights: str) -> None:
    assert serve(f"setups.py:{model}", env=variables).output() == weights


def test_case_63_setup_log(serve: Serve) -> None:
    server = serve("setups.py:Talking")
    # Fixed once setup has finished; the server may say so a moment later.
    assert server.output(s="x") == "hello x"
    logs = server.setup_logs()
    for text in (
        "Spawning worker subprocess",
        "File descriptor redirection complete",
        "Connected to slot transport",
        "Server ready",
        "loading the weights",
        "a warning",
    ):
        assert text in logs, logs
    assert "Setup complete, now accepting requests" not in logs
    assert logs.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [((), "COG_PREDICT_TYPE_STUB"), (("--x-mode", "train"), "COG_TRAIN_TYPE_STUB")],
    ids=["predict", "train"],
)
def test_section_01_no_model_reference(target: Target, arguments: tuple[str, ...], variable: str) -> None:
    done = run(target, *arguments)
    assert done.returncode == 1
    assert f"ERROR: {variable} environment variable is not set." in done.stderr


@pytest.mark.parametrize("arguments", [("--no-such-option",), ("--x-mode", "dream")], ids=["option", "mode"])
def test_section_01_usage(target: Target, arguments: tuple[str, ...]) -> None:
    done = run(target, *arguments)
    assert done.returncode == 2
    assert "usage" in done.stderr.lower()


def run(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*target.command, *arguments], env=target.environment, capture_output=True, text=True, timeout=60, check=False
    )

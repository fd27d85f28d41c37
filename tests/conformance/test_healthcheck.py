"""The model's own healthcheck: cases 59 and 60 of the runtime specification; the readiness file of its section 4."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Serve
    from harness.server import Server

# Mostly a link.
RUN = os.path.realpath("/var/run")
TIMED_OUT = "Healthcheck failed: user-defined healthcheck timed out after 5.0 seconds"


@pytest.mark.parametrize("model", ["Good", "Nothing", "AsyncGood"])
def test_case_59_healthy(shared: Serve, model: str) -> None:
    health = shared(f"health.py:{model}").health()
    assert health["status"] == "READY"
    assert "user_healthcheck_error" not in health


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("Bad", "Healthcheck failed: user-defined healthcheck returned False"),
        ("Raises", "Healthcheck failed: RuntimeError: no GPU"),
    ],
)
def test_case_59_unhealthy(start: Serve, model: str, error: str) -> None:
    server = start(f"health.py:{model}")
    assert server.until_status("UNHEALTHY")["user_healthcheck_error"] == error
    # Predictions are accepted all the same.
    assert server.output() == "done"


def test_case_59_polled(shared: Serve) -> None:
    server = shared("health.py:Good")
    assert {server.status() for _ in range(50)} == {"READY"}


@pytest.mark.parametrize("model", ["Good", "AsyncGood"])
def test_case_59_polled_during_a_prediction(shared: Serve, model: str) -> None:
    server = shared(f"health.py:{model}")
    started = time.monotonic()
    pending = server.begin(seconds=3)
    server.until_file("running")
    while time.monotonic() - started < 2.5:
        asked = time.monotonic()
        assert server.status() == "BUSY"
        assert time.monotonic() - asked < 1
        time.sleep(0.1)
    assert pending.answer().expect(200)["output"] == "done"


def test_case_59_hangs(start: Serve) -> None:
    servers = [start(f"health.py:{model}") for model in ("Hangs", "AsyncHangs")]
    for server in servers:
        # The first answer that comes after setup takes as long as the check may.
        server.until_status("UNHEALTHY", seconds=30)
    asked = [server.send("GET", "/health-check") for server in servers]
    for pending in asked:
        health = pending.answer().expect(200)
        assert (health["status"], health["user_healthcheck_error"]) == ("UNHEALTHY", TIMED_OUT)
    assert [server.output() for server in servers] == ["done", "done"]


def test_case_60_no_healthcheck(shared: Serve) -> None:
    health = shared("health.py:Echo").health()
    assert health["status"] == "READY"
    assert "user_healthcheck_error" not in health


@pytest.fixture
def own_run_directory() -> tuple[str, ...]:
    """A command that gives the server a /var/run of its own, and leaves the one of this machine alone."""
    wrapper = ("unshare", "--mount", "--map-root-user", "sh", "-c", f'mount -t tmpfs tmpfs {RUN} && exec "$@"', "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs `unshare --mount`")
    return wrapper


def readiness_file(server: Server) -> Path:
    return Path(f"/proc/{server.process.pid}/root{RUN}/cog/ready")


def test_section_04_readiness_file(start: Serve, own_run_directory: tuple[str, ...]) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    server = start("setups.py:Gated", env=env, wrapper=own_run_directory)
    file = readiness_file(server)
    server.until_status("STARTING")
    assert not file.exists()
    server.touch("go")
    server.until_ready()
    assert file.read_bytes() == b""
    # It is made again if somebody has removed it.
    file.unlink()
    server.health()
    assert file.exists()


def test_section_04_readiness_file_that_cannot_be_made(start: Serve, own_run_directory: tuple[str, ...]) -> None:
    server = start("setups.py:Gated", env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, wrapper=own_run_directory)
    readiness_file(server).parent.touch()
    server.touch("go")
    server.until_ready()
    assert server.output(s="x") == "hello x"


def test_section_04_no_readiness_file_elsewhere(serve: Serve, own_run_directory: tuple[str, ...]) -> None:
    server = serve("echo.py:Runner", wrapper=own_run_directory)
    assert server.health()["status"] == "READY"
    assert not readiness_file(server).parent.exists()


def test_case_60_function(shared: Serve) -> None:
    assert shared("echo.py:greet").health()["status"] == "READY"

"""Other people's tools take our images: dockerd runs them, skopeo copies them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import hello

START_LIMIT_SECONDS = 60

Docker = Callable[..., str]


@pytest.fixture
def docker() -> Iterator[Docker]:
    """A daemon of the test's own; everything of it is gone afterwards."""
    daemon = shutil.which("dockerd")
    client = next((path for path in ("/usr/bin/docker", shutil.which("docker")) if path and Path(path).exists()), None)
    if daemon is None or client is None:
        pytest.skip("dockerd is not installed")
    if os.geteuid() != 0:
        pytest.skip("starting dockerd needs root")
    # Not the test's own folder: the paths of sockets must be short.
    directory = Path(tempfile.mkdtemp(prefix="cog-docker-"))
    environment = {**os.environ, "DOCKER_HOST": f"unix://{directory / 'socket'}"}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                daemon,
                f"--data-root={directory / 'data'}",
                f"--exec-root={directory / 'exec'}",
                f"--pidfile={directory / 'pid'}",
                f"--host=unix://{directory / 'socket'}",
                "--bridge=none",
                "--iptables=false",
            ],
            stdout=log,
            stderr=log,
        )

    def run(*arguments: object) -> str:
        command = [client, *map(str, arguments)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120).stdout

    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while subprocess.run([client, "version"], env=environment, capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip("dockerd does not start here: " + (directory / "log").read_text()[-500:])
            time.sleep(0.1)
        yield run
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT_SECONDS)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            target = line.split()[1]
            if Path(target).is_relative_to(directory):
                subprocess.run(["umount", "--lazy", target], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def test_docker_loads_and_runs_an_image(tmp_path: Path, docker: Docker) -> None:
    archive = tmp_path / "image.tar"
    hello(tmp_path / "project").cog("build", "-t", "hello:v1", "--output", f"docker-archive={archive}").works()
    assert "hello:v1" in docker("load", "--input", archive)
    answers(docker, "hello:v1")
    # As whoever a cluster makes of it, and with nothing to write to but what every container has.
    answers(docker, "hello:v1", "--user=12345:12345", "--read-only", "--cap-drop=ALL")


def answers(docker: Docker, image: str, *flags: str) -> None:
    """A container of the image answers a prediction, and ends when it is asked to."""
    port = free_port()
    container = docker("run", "--detach", "--network=host", "--env", f"PORT={port}", *flags, image).strip()
    try:
        wait_ready(port, lambda: docker("logs", container))
        answer = post(port, "/predictions", {"input": {"text": "docker"}})
        assert (answer["status"], answer["output"]) == ("succeeded", "hello docker")
        docker("stop", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"
    finally:
        docker("rm", "--force", container)


def test_skopeo_copies_an_oci_layout(tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    layout, copy = tmp_path / "layout", tmp_path / "copy"
    hello(tmp_path / "project").cog("build", "-t", "hello:v1", "--output", f"oci-dir={layout}").works()
    skopeo("copy", f"oci:{layout}:v1", f"oci:{copy}:v1")
    inspected = json.loads(skopeo("inspect", f"oci:{copy}:v1"))
    assert inspected["Architecture"] in ("amd64", "arm64")
    assert inspected["Labels"]["run.cog.version"]


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_ready(port: int, logs: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health-check")
            if json.load(connection.getresponse())["status"] == "READY":
                return
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail("the container does not get ready:\n" + logs())


def post(port: int, path: str, document: object) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
    answer: dict[str, object] = json.load(connection.getresponse())
    return answer

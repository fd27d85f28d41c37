"""The guide on deploying: what its manifest asks of the server is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ports import free_port
from support import COG, REPOSITORY

GUIDE = (REPOSITORY / "docs/guides/deploying.md").read_text()
START_LIMIT_SECONDS = 30
MODEL = "class Runner:\n    def run(self, text: str) -> str:\n        return text\n"


def manifests() -> list[dict]:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    return list(yaml.safe_load_all(block))


DEPLOYMENT, SERVICE = manifests()
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
VARIABLES = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("model")
    (directory / "run.py").write_text(MODEL)
    (directory / "cog.yaml").write_text('run: "run.py:Runner"\n')
    schema = subprocess.run([str(COG), "schema"], cwd=directory, check=True, capture_output=True).stdout
    (directory / ".cog").mkdir(exist_ok=True)
    (directory / ".cog/openapi_schema.json").write_bytes(schema)
    port = free_port()
    env = {
        **os.environ,
        **VARIABLES,
        "PORT": str(port),
        "PYTHONPATH": str(REPOSITORY / "python/cog/src"),
        "COG_PREDICT_TYPE_STUB": "run.py:Runner",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = (directory / "log").open("wb")
    process = subprocess.Popen([str(COG.parent / "coglet")], cwd=directory, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while status(f"{url}/health/startup") != 200:
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)
        yield url, directory / "log"
    finally:
        process.terminate()
        process.wait(30)


def status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_probes_are_answered(server: tuple[str, Path], probe: str) -> None:
    assert status(server[0] + CONTAINER[probe]["httpGet"]["path"]) == 200
    assert CONTAINER[probe]["httpGet"]["port"] == CONTAINER["ports"][0]["containerPort"]


def test_the_metrics_are_where_they_are_scraped(server: tuple[str, Path]) -> None:
    path = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    with urllib.request.urlopen(server[0] + path) as answer:
        metrics = answer.read().decode()
    for name in re.findall(r"`(cog_\w+)", GUIDE):
        assert re.search(rf"^# TYPE {name} ", metrics, re.MULTILINE), name


def test_the_server_takes_what_is_set(server: tuple[str, Path]) -> None:
    url, log = server
    assert status(f"{url}/health/live") == 200
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while "/health/live" not in log.read_text():
        assert time.monotonic() < deadline, "COG_ACCESS_LOG has no effect"
        time.sleep(0.05)


def test_it_ends_before_it_is_killed() -> None:
    assert int(VARIABLES["COG_DRAIN_TIMEOUT"]) < POD["terminationGracePeriodSeconds"]
    assert SERVICE["spec"]["ports"][0]["targetPort"] == CONTAINER["ports"][0]["containerPort"]


def test_every_variable_is_one() -> None:
    known = (REPOSITORY / "docs/reference/environment.md").read_text()
    for name in {*VARIABLES, *re.findall(r"`(COG_[A-Z_]+)", GUIDE)}:
        assert f"`{name}`" in known, name

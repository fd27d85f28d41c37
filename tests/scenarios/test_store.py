"""What the store does for commands: fetches a base that is still in its registry, and keeps what is in use."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import RegistryBase
from ports import free_port
from registry import LAYER, OFFICIAL
from support import COG, STORE, Project, hello, needs_root

# Imports what it is told to, when it is told to.
LAZY_MODEL = """\
import importlib

from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, module: str) -> str:
        return importlib.import_module(module).__name__
"""
CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
# Stores of the tests are new; packages need not come over the network for each.
DOWNLOADS = {"UV_CACHE_DIR": str(STORE / "uv/cache")}
START_LIMIT_SECONDS = 600
STOP_LIMIT_SECONDS = 60


def test_an_image_of_the_host_engine_is_exported_and_run(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    registry = base_in_registry.registry
    project = hello(tmp_path / "project", tmp_path / "store")
    env = {"COG_BASE": registry.reference(OFFICIAL), **DOWNLOADS}
    before = len(registry.blobs_asked_for(LAYER))
    layout = tmp_path / "layout"
    # Nothing runs here that could have brought the base's layer.
    project.cog("build", "-t", "store-hello:v1", "--output", f"oci-dir={layout}", COG_ENGINE="host", **env).works()
    assert len(registry.blobs_asked_for(LAYER)) == before + 2
    index = json.loads((layout / "index.json").read_text())
    assert len(index["manifests"]) == 1

    project = hello(tmp_path / "other", tmp_path / "other-store")
    project.cog("build", "-t", "store-hello:v1", COG_ENGINE="host", **env).works()
    assert len(registry.blobs_asked_for(LAYER)) == before + 2, "a build alone needs no layer"
    done = project.cog("run", "store-hello:v1", "-i", "text=image", **env).works()
    assert done.stdout == "hello image\n"
    assert "downloading 2 layers" in done.stderr
    assert len(registry.blobs_asked_for(LAYER)) == before + 4


@pytest.mark.parametrize("engine", ["embedded", "host"])
def test_pruning_takes_nothing_from_a_running_server(
    engine: str, tmp_path: Path, base_in_registry: RegistryBase
) -> None:
    directory = tmp_path / "project"
    directory.mkdir()
    project = Project(directory, tmp_path / "store").write(cog__yaml=CONFIG, run__py=LAZY_MODEL)
    env = {"COG_ENGINE": engine, "COG_BASE": base_in_registry.registry.base, **DOWNLOADS}
    with serving(project, **env) as port:
        assert predict(port, "wave") == "wave"
        done = project.cog("prune", "--all", **env).works()
        assert "Removed" in done.stderr
        # Of the standard library, and of a package in a layer of its own.
        for module in ("yaml", "requests.adapters", "mailbox"):
            assert predict(port, module) == module
    kept = "environments" if engine == "host" else "snapshots"
    assert any((project.store / kept).iterdir())
    project.cog("prune", "--all", **env).works()
    assert not any((project.store / kept).iterdir())


def test_what_killed_commands_held_is_given_up_by_the_next(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    project = hello(tmp_path / "project", tmp_path / "store")
    env = {"COG_BASE": base_in_registry.registry.base, **DOWNLOADS}
    project.cog("exec", "true", **env).works()
    leases = project.store / "leases"

    def sleeper() -> subprocess.Popen[str]:
        before = set(leases.iterdir())
        command = [COG, "exec", "sh", "-c", "echo ready; exec sleep 1000"]
        child = subprocess.Popen(
            command, cwd=project.directory, env=project.environment(**env), stdout=subprocess.PIPE, text=True
        )
        assert child.stdout and child.stdout.readline() == "ready\n"
        assert set(leases.iterdir()) - before
        return child

    # All run at once: each gives up what the dead ones before it held.
    running = [sleeper() for _ in range(4)]
    survivor = running.pop()
    held = set(leases.iterdir())
    for child in running:
        child.kill()
        child.wait(STOP_LIMIT_SECONDS)
    assert set(leases.iterdir()) == held
    project.cog("exec", "true", **env).works()
    (kept,) = leases.iterdir()
    assert kept in held
    survivor.kill()
    survivor.wait(STOP_LIMIT_SECONDS)
    project.cog("exec", "true", **env).works()
    assert not any(leases.iterdir())


def test_what_a_read_only_project_left_in_the_store_is_pruned(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    needs_root()
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    project = hello(tmp_path / "project", tmp_path / "store")
    env = {"COG_ENGINE": "host", "COG_BASE": base_in_registry.registry.base, **DOWNLOADS}
    protect = 'mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", protect, "sh")
    project.cog("run", "-i", "text=x", before=before, **env).works()
    done = project.cog("prune", **env).works()
    assert "Left: 1 read-only project, " in done.stderr and ", last used today" in done.stderr
    done = project.cog("prune", "--all", **env).works()
    assert "1 read-only project" in done.stderr
    assert not any((project.store / "projects").iterdir())
    project.cog("run", "-i", "text=x", before=before, **env).works()


@contextmanager
def serving(project: Project, **env: str) -> Iterator[int]:
    """The project's server, ready; it ends as people end it."""
    port = free_port()
    log = project.directory.with_name("serve.log")
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(COG), "serve", "-p", str(port)],
            cwd=project.directory,
            env=project.environment(**env),
            stdout=file,
            stderr=file,
        )
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not is_ready(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_LIMIT_SECONDS)
        finally:
            # What it started ends with it.
            process.kill()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health-check") as answer:
            return bool(json.load(answer)["status"] == "READY")
    except OSError:
        return False


def predict(port: int, module: str) -> object:
    body = json.dumps({"input": {"module": module}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predictions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["output"]

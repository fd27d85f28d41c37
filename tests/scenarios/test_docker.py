"""Other people's tools take our images: dockerd runs them, skopeo copies them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_daemon import NO_NETWORK, Daemon, Docker
from ports import free_port, post, wait_ready
from support import hello


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with Daemon(*NO_NETWORK) as daemon:
        yield daemon


def test_a_built_image_is_there_for_docker_run(tmp_path: Path, docker: Docker) -> None:
    done = hello(tmp_path / "project").cog("build", "-t", "hello:loaded", COG_LOAD="auto", DOCKER_HOST=docker.host)
    assert re.search(r"Docker has hello:loaded \(.* sent\)\nImage built as hello:loaded", done.works().stderr), done
    # Only under its own name, and without an archive or a registry's name left behind.
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert "hello:loaded" in names
    assert not [name for name in names if name.startswith("127.0.0.1")], names
    assert_runs(docker, "hello:loaded")


def test_a_changed_line_costs_one_small_layer(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    environment = {"COG_LOAD": "docker", "DOCKER_HOST": docker.host}
    project.cog("build", "-t", "hello:line", **environment).works()
    before = layers(docker, "hello:line")
    # What is as it was is only named.
    again = project.cog("build", "-t", "hello:same", **environment).works()
    assert "Docker has hello:same (0B sent)" in again.stderr, again
    runner = project.directory / "run.py"
    runner.write_text(runner.read_text() + "\n# One more line.\n")
    changed = project.cog("build", "-t", "hello:line", **environment).works()
    after = layers(docker, "hello:line")
    assert after[:-1] == before[:-1] and after[-1] != before[-1]
    sent = re.search(r"Docker has hello:line \(([\d.]+)(K?B) sent\)", changed.stderr)
    assert sent, changed
    # A tar file of a few small files, whatever the layers below have.
    assert float(sent[1]) * (1000 if sent[2] == "KB" else 1) < 100_000, changed


def test_a_daemon_that_cannot_reach_us_gets_an_archive(tmp_path: Path) -> None:
    # In a network of its own, as in a virtual machine.
    with Daemon(*NO_NETWORK, before=("unshare", "--net")) as far:
        done = hello(tmp_path / "project").cog("build", "-t", "hello:far", COG_LOAD="docker", DOCKER_HOST=far.host)
        assert "Docker has hello:far" in done.works().stderr, done
        assert layers(far, "hello:far")
        assert far("run", "--rm", "--network=none", "hello:far", "python", "-c", "print(6 * 7)") == "42\n"


def test_whoever_does_not_want_it_keeps_the_image_in_the_store(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    project.cog("build", "-t", "hello:kept", "--load", "none", DOCKER_HOST=docker.host).works()
    assert not docker.has("hello:kept")
    nobody = f"unix://{tmp_path}/nobody"
    project.cog("build", "-t", "hello:kept", COG_LOAD="auto", DOCKER_HOST=nobody).works()
    refused = project.cog("build", "-t", "hello:kept", "--load", "docker", DOCKER_HOST=nobody)
    refused.fails_with(f"error pinging docker daemon: no such socket at {nobody}")
    lost = project.cog("build", "-t", "hello:kept", "--load", "docker", DOCKER_CONTEXT="nowhere", DOCKER_HOST="")
    lost.fails_with("there is no Docker context `nowhere`")


def test_docker_loads_and_runs_an_image(tmp_path: Path, docker: Docker) -> None:
    # After the others: a layer that came in an archive is pulled again.
    archive = tmp_path / "image.tar"
    hello(tmp_path / "project").cog("build", "-t", "hello:archive", "--output", f"docker-archive={archive}").works()
    assert "hello:archive" in docker("load", "--input", archive)
    assert_runs(docker, "hello:archive")
    # As whoever a cluster makes of it, and with nothing to write to but what every container has.
    assert_runs(docker, "hello:archive", "--user=12345:12345", "--read-only", "--cap-drop=ALL")


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


def layers(docker: Docker, image: str) -> list[str]:
    found: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def assert_runs(docker: Docker, image: str, *flags: str) -> None:
    """A container of the image gets ready, answers, and ends when it is asked to."""
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

"""Projects and images in containers of a daemon: `--engine docker`."""

from __future__ import annotations

import http.client
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_daemon import NO_NETWORK, Daemon, Docker
from ports import free_port, post, wait_ready
from serving import Serve
from support import COG, Project, hello
from terminals import Terminal

LIMIT_SECONDS = 120
# Far below the time that a model may take to get ready.
SOON_SECONDS = 30

SLEEPER = """
import sys, time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, text: str) -> str:
        print("sleeping", file=sys.stderr, flush=True)
        time.sleep(600)
        return text
"""


SIZES = """
from cog import BaseRunner, Path

class Runner(BaseRunner):
    def run(self, file: Path) -> int:
        return file.stat().st_size
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """With a network for containers: ports are opened on the loopback."""
    with Daemon() as daemon:
        yield daemon


def environment(docker: Docker) -> dict[str, str]:
    return {"COG_ENGINE": "docker", "DOCKER_HOST": docker.host}


def test_a_project_and_an_image_are_run(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    env = environment(docker)
    done = project.cog("run", "-i", "text=daemon", **env).works()
    assert done.stdout == "hello daemon\n"
    assert "Using the docker engine" in done.stderr
    project.cog("build", "-t", "hello:engine", **env).works()
    image = Project(tmp_path, project.store).cog("run", "hello:engine", "-i", "text=image", **env).works()
    assert image.stdout == "hello image\n"
    assert docker.containers() == []
    assert docker.has("cog-run/hello:engine")


def test_an_image_that_only_the_daemon_has_is_run(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project", tmp_path / "store")
    env = environment(docker)
    hello(tmp_path / "other").cog("build", "-t", "hello:theirs", **{**env, "COG_LOAD": "docker"}).works()
    assert not project.has_image("hello:theirs")
    done = project.cog("run", "hello:theirs", "-i", "text=theirs", **env).works()
    assert done.stdout == "hello theirs\n"
    wrong = project.cog("run", "hello:theirs", "-i", "txet=theirs", **env)
    wrong.fails_with('unknown input "txet"')


def test_a_command_has_its_streams_status_and_project(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    env = environment(docker)
    script = "cat; echo two >&2; pwd; cat cog.yaml | head -c 5; echo made > made; exit 7"
    done = subprocess.run(
        [COG, "exec", "-e", "NAME=value", "sh", "-c", f"echo $NAME; {script}"],
        cwd=project.directory,
        env=project.environment(**env),
        input="one\n",
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 7, done
    assert done.stdout == "value\none\n/src\nbuild", done
    assert "\ntwo\n" in done.stderr, done
    assert (project.directory / "made").read_text() == "made\n"
    nothing = project.cog("exec", "no-such-program", **env)
    assert nothing.status == 127 and "no-such-program" in nothing.stderr, nothing
    killed = project.cog("exec", "sh", "-c", "kill -9 $$", **env)
    assert killed.status == 137, killed
    assert docker.containers() == []


def test_a_command_ends_with_whoever_reads_it(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    done = subprocess.run(
        ["sh", "-c", f"{COG} exec yes | head -n 1"],
        cwd=project.directory,
        env=project.environment(**environment(docker)),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.stdout == "y\n", done
    wait_until(lambda: docker.containers() == [])


def test_a_command_at_a_terminal_has_one_of_its_own(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    # Older daemons learn of the size a moment after the start.
    sized = 'until test "$(stty size)" = "33 77"; do sleep 0.1; done; echo sized'
    script = f"test -t 0 && test -t 1 && test -t 2 && {sized}; read line; echo got $line; read line"
    command = [COG, "exec", "sh", "-c", script]
    with Terminal(
        command, project.directory, project.environment(**environment(docker)), rows=33, columns=77
    ) as terminal:
        terminal.until(b"sized\r\n")
        terminal.type(b"typed\r")
        terminal.until(b"got typed\r\n")
        # Ctrl-C is the program's own.
        terminal.type(b"\x03")
        assert terminal.ends() == 130
    assert docker.containers() == []


def test_a_project_is_served_until_it_is_stopped(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    port = free_port()
    server = start(project, docker, "serve", "--port", port)
    try:
        wait_ready(port, lambda: "")
        answer = post(port, "/predictions", {"input": {"text": "served"}})
        assert (answer["status"], answer["output"]) == ("succeeded", "hello served")
        assert len(docker.containers()) == 1
    finally:
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=LIMIT_SECONDS)
    assert server.returncode == 0, said
    assert f"Serving at http://localhost:{port}" in said
    assert docker.containers() == []


def test_what_is_saved_is_served(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    config, model = (project.directory / name for name in ("cog.yaml", "run.py"))
    with Serve(project, "--watch", **environment(docker)).ready() as server:
        model.write_text(model.read_text().replace("hello", "good day"))
        server.log.until("restarting the model")
        assert server.output(text="a") == "good day a"
        config.write_text(config.read_text() + "environment:\n  - GREETING=oh\n")
        server.log.until("The project needs another environment")
        # Another container opens the port anew.
        server.log.until("Serving at")
        assert server.output(text="b") == "good day b"
        assert len(docker.containers()) == 1
        server.stop()
    assert docker.containers() == []


def test_a_published_port_of_a_command_is_reached(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    port = free_port()
    command = start(project, docker, "exec", "-p", port, "python", "-m", "http.server", port)
    try:
        wait_until(lambda: is_answered(port))
    finally:
        command.terminate()
        command.communicate(timeout=LIMIT_SECONDS)
    wait_until(lambda: docker.containers() == [])


def test_a_command_that_ends_at_once_needs_no_port_any_more(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    for _ in range(5):
        done = project.cog("exec", "-p", free_port(), "sh", "-c", "exit 3", **environment(docker))
        assert done.status == 3, done


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_survives_a_command_that_is_stopped(tmp_path: Path, docker: Docker, how: signal.Signals) -> None:
    project = hello(tmp_path / "project").write(run__py=SLEEPER)
    running = start(project, docker, "run", "-i", "text=x")
    try:
        assert running.stderr
        for line in running.stderr:
            if line.strip() == "sleeping":
                break
        assert len(docker.containers()) == 1
        running.send_signal(how)
        running.communicate(timeout=LIMIT_SECONDS)
        assert running.returncode == -how
    finally:
        running.kill()
        running.wait()
    wait_until(lambda: docker.containers() == [])


def test_a_model_without_gpus_in_the_daemon_runs_on_the_cpu(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    env = environment(docker)
    insisted = project.cog("run", "--gpus", "all", "-i", "text=gpu", **env)
    insisted.fails_with("could not select device driver")
    config = project.directory / "cog.yaml"
    config.write_text(config.read_text().replace("build:", "build:\n  gpu: true"))
    done = project.cog("run", "-i", "text=cpu", **env).works()
    assert done.stdout == "hello cpu\n"
    assert done.stderr.count("Missing device driver, re-trying without GPU") == 1, done
    assert docker.containers() == []


def test_a_file_of_any_size_is_part_of_the_request(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project").write(run__py=SIZES)
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * (5 << 20))
    done = project.cog("run", "-i", f"file=@{large}", **environment(docker)).works()
    assert done.stdout == f"{5 << 20}\n"


def test_a_daemon_without_networks_is_told(tmp_path: Path) -> None:
    """Nobody would ever reach the model, however long one waits."""
    project = hello(tmp_path / "project")
    with Daemon(*NO_NETWORK) as docker:
        env = environment(docker)
        # Whoever needs no port can do without.
        project.cog("exec", "true", **env).works()
        for command in [
            ("run", "-i", "text=x"),
            ("serve", "--port", free_port()),
            ("exec", "-p", free_port(), "sleep", "600"),
        ]:
            begun = time.monotonic()
            done = project.cog(*command, **env)
            done.fails_with("Docker has not published port", "to no network", "--bridge=none", "--engine embedded")
            assert time.monotonic() - begun < SOON_SECONDS, done
            assert docker.containers() == []


def test_a_daemon_that_is_not_there_is_told(tmp_path: Path) -> None:
    nobody = f"unix://{tmp_path}/nobody"
    done = hello(tmp_path / "project").cog("run", "--engine", "docker", "-i", "text=x", DOCKER_HOST=nobody)
    done.fails_with(f"error pinging docker daemon: no such socket at {nobody}", "--engine embedded")


def start(project: Project, docker: Docker, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(COG), *map(str, arguments)],
        cwd=project.directory,
        env=project.environment(**environment(docker)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_answered(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False


def wait_until(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)

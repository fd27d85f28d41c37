"""The playground: its commands, and its page in a browser. What its server refuses is tested in `crates/cog`."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import COG, REPOSITORY, TIME_LIMIT_SECONDS, Project, hello

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAYGROUND = REPOSITORY / "playground"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 120
#: A page has to come over the wire in no more than this, compressed.
MAX_PAGE = 300_000


class Command:
    """`cog` under way, and what it says."""

    def __init__(self, project: Project, *arguments: str, **env: str) -> None:
        self.child = subprocess.Popen(
            [str(COG), *arguments],
            cwd=project.directory,
            env=project.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            with self.news:
                self.said += line
                self.news.notify_all()
        with self.news:
            self.said += "\n(ended)"
            self.news.notify_all()

    def until(self, pattern: str) -> str:
        """Waits for it to say something; gives the first group."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.said)

        with self.news:
            self.news.wait_for(lambda: found() or "(ended)" in self.said, TIME_LIMIT_SECONDS)
            match = found()
            assert match is not None, self.said
            return match[1]

    def stop(self) -> int:
        self.child.send_signal(signal.SIGINT)
        status = self.child.wait(PATIENCE_SECONDS)
        self.reader.join(PATIENCE_SECONDS)
        return status


@contextmanager
def running(project: Project, *arguments: str, **env: str) -> Iterator[Command]:
    command = Command(project, *arguments, **env)
    try:
        yield command
    finally:
        if command.child.poll() is None:
            command.stop()


def ask(url: str, body: object = None, **headers: str) -> Any:
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        },
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        text = answer.read().decode()
        return json.loads(text) if "json" in answer.headers["Content-Type"] else text


def test_the_command_shows_where_the_page_is(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with running(project, "playground", "--no-open") as command:
        url = command.until(r"Cog playground running at (http://127\.0\.0\.1:\d+)\n")
        command.until(r"(Press Ctrl\+C to stop\.)\n")
        assert "Cog Playground" in ask(f"{url}/")
        config = ask(f"{url}/config")
        port = url.rpartition(":")[2]
        assert config["target"] == "http://localhost:8393"
        assert config["webhookBase"] == f"http://host.docker.internal:{port}"
        assert command.stop() == 0
    with pytest.raises(OSError):
        ask(f"{url}/")


def test_what_the_flags_say_is_what_the_page_gets(tmp_path: Path) -> None:
    flags = ["--no-open", "--host", "0.0.0.0", "--target", "https://models.example.com/base/", "--webhook-host", "me"]
    with running(Project(tmp_path), "playground", *flags) as command:
        url = command.until(r"Cog playground running at (\S+)\n")
        assert url.startswith("http://127.0.0.1:")
        config = ask(f"{url}/config")
        assert config["target"] == "https://models.example.com/base"
        assert config["webhookBase"] == f"http://me:{url.rpartition(':')[2]}"


def test_mistakes_are_told(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.cog("playground", "--target", "ftp://localhost").fails_with("--target ftp://localhost", "http://")
    secret = project.cog("playground", "--target", "http://me:secret@localhost").fails_with("without user, password")
    assert "secret" not in secret.stderr, secret
    project.cog("playground", "--host", "nowhere").fails_with("`--host nowhere` is not an IP address")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        project.cog("playground", "-p", port).fails_with("starting playground server", str(port), "--port")
    assert "playground" in project.cog("gui").fails_with('unknown command "gui"').stderr


def test_the_browser_is_opened_where_there_is_a_screen(tmp_path: Path) -> None:
    project = Project(tmp_path)
    programs, opened = tmp_path / "bin", tmp_path / "opened"
    programs.mkdir()
    (programs / "xdg-open").write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n')
    (programs / "xdg-open").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    screen = {"PATH": path, "DISPLAY": ":99"}
    with running(project, "playground", **screen) as command:
        url = command.until(r"running at (\S+)\n")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not opened.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert opened.read_text() == url
    opened.unlink()
    none = {"PATH": path, "DISPLAY": "", "WAYLAND_DISPLAY": "", "WSL_DISTRO_NAME": ""}
    for flags, environment in ((["--no-open"], screen), ([], none)):
        with running(project, "playground", *flags, **environment) as command:
            command.until(r"(Press Ctrl\+C)")
            assert command.stop() == 0
        assert not opened.exists()


def test_one_port_is_not_for_two_servers(tmp_path: Path) -> None:
    project = hello(tmp_path / "hello")
    for flags in (["-p", "9000"], ["-p", "9123", "--playground-port", "9123"]):
        done = project.cog("serve", "--playground", *flags)
        port = flags[-1]
        done.fails_with(f"playground port {port} must differ from the model port {port}")
        assert "Building" not in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = project.cog("serve", "--playground", "-p", "0", "--playground-port", port)
        assert "Building" not in done.fails_with("starting playground server", "--playground-port").stderr


@pytest.mark.parametrize("engine", ["embedded", "host"])
def test_a_served_model_has_its_page_beside_it(tmp_path: Path, engine: str) -> None:
    flags = ["serve", "-p", "0", "--playground", "--playground-port", "0"]
    with running(hello(tmp_path / "hello"), *flags, COG_ENGINE=engine) as command:
        page = command.until(r"Playground at (\S+)\n")
        model = command.until(r"Serving at http://localhost:(\d+)\n")
        assert command.said.index("Playground at") < command.said.index("Serving at")
        config = ask(f"{page}/config")
        assert config["target"] == f"http://127.0.0.1:{model}"
        # It listens on every interface, of which this is one.
        assert ask(f"http://127.0.0.2:{page.rpartition(':')[2]}/config") == config
        target = {"X_Cog_Target": config["target"]}
        answer = ask(f"{page}/proxy/predictions", {"input": {"text": "page"}}, **target)
        assert answer["output"] == "hello page"
        with urllib.request.urlopen(f"{page}/events?token=t", timeout=PATIENCE_SECONDS) as events:
            body = {"input": {"text": "webhook"}, "webhook": f"{config['webhookBase']}/webhook/t"}
            body["webhook_events_filter"] = ["completed"]
            ask(f"{page}/proxy/predictions", body, Prefer="respond-async", **target)
            line = events.readline().decode()
        assert json.loads(line.removeprefix("data: "))["output"] == "hello webhook"
        assert command.stop() == 0


def test_the_page_is_small() -> None:
    files = sorted((PLAYGROUND / "dist").iterdir())
    assert [file.name for file in files] == ["app.css", "app.js", "index.html", "worker.js"]
    assert sum(len(gzip.compress(file.read_bytes())) for file in files) < MAX_PAGE


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs chromium")
    if shutil.which("node") is None:
        pytest.skip("needs node")
    if not (PLAYGROUND / "node_modules/playwright-core").exists():
        pytest.skip("needs the npm packages of playground/ (`scripts/setup`)")
    return found


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    program = browser()
    everything = Project(tmp_path / "everything")
    shutil.copytree(PLAYGROUND / "tests/model", everything.directory)
    streaming, waiting, own = (tmp_path / name for name in ("streaming", "waiting", "own"))
    for directory, example in ((streaming, "streaming-text"), (waiting, "hello-async"), (own, "hello-async")):
        shutil.copytree(REPOSITORY / "examples" / example, directory, ignore=shutil.ignore_patterns(".cog"))
    with (own / "cog.yaml").open("a") as config:
        config.write("environment:\n  - COG_PLAYGROUND=1\n")
    serve = ("serve", "-p", "0")
    serving = r"Serving at http://localhost:(\d+)\n"
    with (
        running(everything, *serve, "--playground", "--playground-port", "0") as one,
        running(Project(streaming), *serve) as other,
        running(Project(waiting), *serve) as third,
        running(Project(own), *serve) as fourth,
    ):
        page = one.until(r"Playground at (\S+)\n")
        one.until(serving)
        environment = {
            **os.environ,
            "BROWSER_PROGRAM": program,
            "PAGE": page,
            "STREAMING": f"http://127.0.0.1:{other.until(serving)}",
            "WAITING": f"http://127.0.0.1:{third.until(serving)}",
            "OWN": f"http://127.0.0.1:{fourth.until(serving)}",
        }
        done = subprocess.run(
            ["node", "--test", "--test-reporter=spec", "tests/browser.test.mjs"],
            cwd=PLAYGROUND,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + one.said

"""What moves on a terminal, what is printed where nothing can, and pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import termios
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
from network import serve
from screen import Screen
from serving import PATIENCE_SECONDS, Reading
from support import COG, Project, hello, processes_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEGABYTE = 1 << 20
LAYERS = 3
OCI = "application/vnd.oci.image"
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
RED = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
PAINTER = f"""\
import base64
import tempfile

import cog


class Runner(cog.BaseRunner):
    def run(self, kind: str = "png") -> cog.Path:
        path = cog.Path(tempfile.mkdtemp()) / f"picture.{{kind}}"
        png, red = base64.b64decode("{PNG}"), base64.b64decode("{RED}")
        content = {{"png": png, "red": red, "jpg": b"\\xff\\xd8\\xff\\xe0", "txt": b"words"}}[kind]
        path.write_bytes(content)
        return path
"""


class Slow:
    """A registry with one image, of which it sends the first half of each layer, and the rest when it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        layers = [self.layer(number) for number in range(LAYERS)]
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            }
        ).encode()
        kinds = [(f"{OCI}.layer.v1.tar", layer) for layer in layers]
        described = [
            {"mediaType": kind, "digest": digest(content), "size": len(content)}
            for kind, content in [(f"{OCI}.config.v1+json", config), *kinds]
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": described[0],
            "layers": described[1:],
        }
        self.manifest = json.dumps(manifest).encode()
        self.blobs = {digest(blob): blob for blob in [config, *layers]}
        self.names = [digest(layer).removeprefix("sha256:")[:12] for layer in layers]

    @staticmethod
    def layer(number: int) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            entry = tarfile.TarInfo(f"file-{number}")
            entry.size = 4 * MEGABYTE
            archive.addfile(entry, io.BytesIO(bytes([number]) * entry.size))
        return file.getvalue()

    @contextmanager
    def run(self) -> Iterator[str]:
        """The image's name."""
        slow = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kind, name = self.path.split("/")[-2:]
                if kind == "manifests":
                    return self.answer(f"{OCI}.manifest.v1+json", slow.manifest)
                if kind == "blobs" and name in slow.blobs:
                    return self.answer("application/octet-stream", slow.blobs[name])
                if kind != "referrers":
                    return self.answer("application/json", b"{}")
                return self.answer(f"{OCI}.index.v1+json", b'{"schemaVersion": 2, "manifests": []}')

            def answer(self, kind: str, content: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                half = len(content) // 2
                self.wfile.write(content[:half])
                self.wfile.flush()
                if len(content) > MEGABYTE:
                    slow.may_end.wait()
                self.wfile.write(content[half:])

            def log_message(self, *_arguments: object) -> None:
                pass

        with serve(Handler, None) as port:
            try:
                yield f"127.0.0.1:{port}/team/slow:v1"
            finally:
                self.may_end.set()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    """A folder without a project, with a store of its own."""
    (tmp_path / "empty").mkdir()
    return Project(tmp_path / "empty", tmp_path / "store")


def test_each_layer_has_a_line_that_fits(empty: Project) -> None:
    slow = Slow()
    with slow.run() as name, Screen(empty, "pull", name, columns=100) as screen:

        def is_shown() -> bool:
            # All layers, and the sum.
            return len(screen.with_text("MB/4.0MB")) == LAYERS and bool(screen.with_text("6.0MB/12.0MB"))

        screen.until(is_shown)
        for columns in (60, 40, 120, 32):
            screen.resize(columns)
            # What was there before the resize is shown, too, as long as nothing new was drawn.
            before = len(screen.sent)
            screen.until(lambda before=before: len(screen.sent) > before and is_shown())
            lines = screen.lines()
            for layer in slow.names:
                assert len(screen.with_text(layer[:4])) == 1, lines
            assert sum("downl" in line for line in lines) == 2, lines
            assert all(len(line) < columns for line in screen.with_text("MB/")), lines
        slow.may_end.set()
        screen.shows("Pulled")
        assert screen.ends() == 0
        assert not screen.with_text("MB/"), "what is over is gone"
        assert len(screen.with_text("downl")) == 1, screen.lines()
        assert b"?25l" not in screen.sent, "the cursor is never hidden"


def test_bytes_rate_and_time_left_are_shown(empty: Project) -> None:
    slow = Slow()
    with slow.run() as name, Screen(empty, "pull", name, columns=120) as screen:
        screen.until(lambda: re.search(r"6\.0MB/12\.0MB +\S+B/s", screen.text()))
        slow.may_end.set()
        assert screen.ends() == 0


def test_without_a_terminal_lines_come_now_and_then(empty: Project) -> None:
    slow = Slow()
    with (
        slow.run() as name,
        subprocess.Popen(
            [COG, "pull", name],
            cwd=empty.directory,
            env=empty.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
    ):
        assert child.stderr is not None and child.stdout is not None
        said = Reading(child.stderr)
        said.until("downloading layers: 6.0MB of 12.0MB")
        said.until("downloading layers: 6.0MB of 12.0MB")
        slow.may_end.set()
        assert child.wait(PATIENCE_SECONDS) == 0
        lines = said.rest().splitlines()
        assert child.stdout.read() == b""
    assert len(lines) == len(set(lines)), "nothing is printed twice"
    assert not any("\x1b" in line or "\r" in line for line in lines)
    assert sum("Pulled" in line for line in lines) == 1


def test_colours_are_only_where_they_are_wanted(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    arguments = ("run", "-i", "text=x")
    env = {"COG_ENGINE": "host"}
    with Screen(project, *arguments, **env) as screen:
        assert screen.ends() == 0
        assert COLOURS.search(screen.sent)
    for off in [{"NO_COLOR": "1"}, {"COG_NO_COLOR": "1"}, {"TERM": "dumb"}]:
        with Screen(project, *arguments, **env, **off) as screen:
            assert screen.ends() == 0
            assert not COLOURS.search(screen.sent), off
            assert "⚙" not in screen.text()
    with Screen(project, "--no-color", *arguments, **env) as screen:
        assert screen.ends() == 0
        assert not COLOURS.search(screen.sent)
    done = project.cog(*arguments, NO_COLOR="", **env).works()
    assert "\x1b" not in done.stderr and done.stdout == "hello x\n"


def test_what_is_stopped_leaves_the_terminal_as_it_was(tmp_path: Path, empty: Project) -> None:
    slow = Slow()
    with slow.run() as name, Screen(empty, "pull", name) as screen:
        screen.shows("MB/4.0MB")
        screen.type(b"\x03")
        assert screen.ends() == -signal.SIGINT
        assert not screen.screen.cursor.hidden and b"?25l" not in screen.sent
    mark = f"COG_TEST_MARK={os.getpid()}-{tmp_path.name}"
    project = hello(tmp_path / "project")
    config = project.directory / "cog.yaml"
    waits = f'build:\n  run:\n    - "{mark} sleep 1000"\n'
    config.write_text(re.sub(r"^build:\n", waits, config.read_text(), flags=re.MULTILINE))
    with Screen(project, "build", "-t", "stopped", columns=60) as screen:
        screen.until(lambda: processes_with("sleep 1000") and screen.with_text("sleep 1000 "))
        screen.type(b"\x03")
        assert screen.ends() == -signal.SIGINT
        assert not screen.screen.cursor.hidden
    wait_until_gone(mark)


def wait_until_gone(mark: str) -> None:
    """What was killed may take a moment to go."""
    gone = threading.Event()
    for _ in range(100):
        if not processes_with(mark):
            return
        gone.wait(0.1)
    pytest.fail(f"still there: {processes_with(mark)}")


def test_a_setup_looks_alive_on_a_narrow_terminal(tmp_path: Path) -> None:
    project = hello(tmp_path / "project").write(
        run__py="""\
import os
import time

import cog


class Runner(cog.BaseRunner):
    def setup(self) -> None:
        print("a line of the model that is longer than the terminal is wide")
        while not os.path.exists("go"):
            time.sleep(0.005)

    def run(self, text: str) -> str:
        return text
"""
    )
    with Screen(project, "run", "-i", "text=x", columns=24, COG_ENGINE="host") as screen:
        for seconds in (1, 2):
            screen.shows(f"tup() {seconds}s")
            assert len(screen.with_text("tup() ")) == 1, screen.lines()
        (project.directory / "go").touch()
        assert screen.ends() == 0
        assert not screen.with_text("tup() "), "what is over is gone"


@pytest.fixture
def painter(tmp_path: Path) -> Project:
    return hello(tmp_path / "project").write(run__py=PAINTER)


def test_pictures_are_shown_where_that_can_be(painter: Project) -> None:
    env = {"COG_ENGINE": "host"}
    with Screen(painter, "run", "--show", **env, TERM="xterm-kitty") as screen:
        assert screen.ends() == 0
        assert f"\x1b_Ga=T,f=100,q=2,m=0;{PNG}\x1b\\".encode() in screen.sent
    assert (painter.directory / "output.png").read_bytes() == base64.b64decode(PNG)
    with Screen(painter, "run", "--show", **env, TERM_PROGRAM="iTerm.app") as screen:
        assert screen.ends() == 0
        sent = f"\x1b]1337;File=inline=1;preserveAspectRatio=1;size={len(base64.b64decode(PNG))}:{PNG}\x07"
        assert sent.encode() in screen.sent
    with Screen(painter, "run", **env, TERM="xterm-kitty") as screen:
        assert screen.ends() == 0
        assert b"\x1b_G" not in screen.sent, "nobody has asked for it"


def test_a_terminal_that_is_not_known_is_asked_for_sixels(painter: Project) -> None:
    with Screen(painter, "run", "--show", "-i", "kind=red", COG_ENGINE="host") as screen:
        before = termios.tcgetattr(screen.terminal)
        screen.until(lambda: screen.sent.endswith(b"\x1b[?1;1;0S\x1b[c"))
        screen.type(b"\x1b[?1;0;256S\x1b[?62;4;22c")
        assert screen.ends() == 0
        # One dot, of which all the red is there, and no blue and green.
        assert b'\x1bP0;1;0q"1;1;1;1#0;2;100;0;0#0@\x1b\\' in screen.sent
        # What was answered is not shown, and the terminal is as it was.
        assert b"62;4;22" not in screen.sent
        assert termios.tcgetattr(screen.terminal) == before
    with Screen(painter, "run", "--show", COG_ENGINE="host", columns=200) as screen:
        screen.until(lambda: screen.sent.endswith(b"\x1b[c"))
        screen.type(b"\x1b[?62;22c")
        assert screen.ends() == 0
        assert len(screen.with_text("draws no sixels")) == 1


def test_where_no_pictures_are_shown_is_said(painter: Project) -> None:
    env = {"COG_ENGINE": "host"}
    with Screen(painter, "run", "--show", **env, columns=200) as screen:
        assert screen.ends() == 0
        assert len(screen.with_text("is not known to show pictures")) == 1
    with Screen(painter, "run", "--show", "-i", "kind=jpg", **env, TERM="xterm-kitty", columns=200) as screen:
        assert screen.ends() == 0
        assert len(screen.with_text("a JPEG that is damaged")) == 1
    done = painter.cog("run", "--show", **env).works()
    assert done.stderr.count("pictures are shown in a terminal only") == 1
    assert (painter.directory / "output.png").is_file()
    done = painter.cog("run", "--show", "-i", "kind=txt", **env).works()
    assert "the output has no pictures" in done.stderr

"""What a running model and its user see of each other: terminals, signals, links, read-only projects."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from support import COG, Project, hello, needs_root

PATIENCE_SECONDS = 120

MODEL = """
import os
import time
from cog import BaseRunner, Path

class Runner(BaseRunner):
    def run(self, what: str) -> Path:
        if what == "wait":
            time.sleep(600)
        if what.startswith("/"):
            for name in ["output.txt", ".cog/openapi_schema.json", "results"]:
                if os.path.lexists(name):
                    os.remove(name)
                os.symlink(what, name)
        if what != "no file":
            with open("beside.txt", "w") as file:
                file.write("written by the model")
        with open("/tmp/result.txt", "w") as file:
            file.write("result")
        return Path("/tmp/result.txt")
"""


def project(directory: Path, *, gpu: str = "false") -> Project:
    directory.mkdir()
    config = f'build:\n  gpu: {gpu}\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
    return Project(directory).write(cog__yaml=config, run__py=MODEL)


def test_a_command_gets_a_terminal_of_its_own(tmp_path: Path) -> None:
    directory = hello(tmp_path / "project").directory
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 101, 0, 0))
    before = termios.tcgetattr(inner)
    script = "tty; stty size; echo $TERM $HOME; read line; echo got $line; exit 5"
    child = subprocess.Popen(
        [COG, "exec", "--", "sh", "-c", script],
        cwd=directory,
        env=Project(directory).environment(TERM="screen"),
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    os.write(outer, b"typed\n")
    said = b""

    def read() -> None:
        nonlocal said
        while piece := os.read(outer, 4096):
            said += piece

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert child.wait(PATIENCE_SECONDS) == 5, said
    deadline = time.monotonic() + PATIENCE_SECONDS
    while b"status 5" not in said and time.monotonic() < deadline:
        reader.join(0.05)
    lines = [line.strip() for line in said.decode().splitlines()]
    for expected in ["/dev/pts/0", "41 101", "screen /root", "got typed"]:
        assert expected in lines, said
    assert termios.tcgetattr(inner) == before, "the terminal is as it was"


class Serving:
    """`cog serve` and what it says."""

    def __init__(self, project: Project) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.child = subprocess.Popen(
            [COG, "serve", "-p", str(self.port)],
            cwd=project.directory,
            env=project.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def await_line(self, text: str) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(self.lines)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status)


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_stops_a_server_at_once(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    serving = Serving(project(tmp_path / "project"))
    serving.await_line("Serving at")
    body = b'{"input": {"what": "wait"}}'
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    assert serving.ask("POST", "/predictions", body, **headers) == 202
    serving.child.send_signal(signals[0])
    serving.await_line("Stopping")
    assert serving.child.poll() is None, "it waits for the prediction"
    began = time.monotonic()
    serving.child.send_signal(signals[1])
    assert serving.child.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - began < 10
    for line in serving.lines:
        assert "Traceback" not in line


def test_what_a_model_planted_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    model = project(tmp_path / "project")
    for _ in range(2):
        model.cog("run", "-i", f"what={victim}").works()
        assert victim.read_text() == "kept"
    output = model.directory / "output.txt"
    assert output.read_text() == "result" and not output.is_symlink()
    refused = model.cog("run", "-i", "what=nothing", "-o", "results/output.txt")
    assert refused.status == 1 or victim.read_text() == "kept"
    assert not (model.directory / "__pycache__").exists(), "the next image is the same"


@pytest.mark.parametrize("engine", ["embedded", "host"])
def test_a_project_on_a_read_only_file_system(tmp_path: Path, engine: str) -> None:
    needs_root()
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    model = project(tmp_path / "project")
    protect = 'mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", protect, "sh")
    # In a container, what it writes beside itself goes elsewhere.
    what = "nothing" if engine == "embedded" else "no file"
    arguments = ("run", "-i", f"what={what}", "-o", tmp_path / "out.txt")
    done = model.cog(*arguments, before=before, COG_ENGINE=engine).works()
    assert (tmp_path / "out.txt").read_text() == "result", done
    assert "Inputs are not validated" not in done.stderr
    wrong = model.cog("run", "-i", "other=1", before=before, COG_ENGINE=engine)
    wrong.fails_with("unknown input")
    name = f"read-only-{engine}"
    model.cog("build", "-t", name, before=before, COG_ENGINE=engine).works()
    assert model.has_image(name)
    assert sorted(path.name for path in model.directory.iterdir()) == ["cog.yaml", "run.py"]


def test_a_model_that_wants_a_gpu_says_once_that_there_is_none(tmp_path: Path) -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has a GPU")
    model = project(tmp_path / "project", gpu="true")
    done = model.cog("run", "-i", "what=nothing", COG_CDI_DIRS=str(tmp_path)).works()
    assert done.stderr.count("Missing device driver, re-trying without GPU") == 1, done
    insisted = model.cog("run", "--gpus", "all", "-i", "what=nothing", COG_CDI_DIRS=str(tmp_path))
    insisted.fails_with("no NVIDIA driver is loaded on this machine")

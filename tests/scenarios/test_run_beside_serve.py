"""`cog run` in a project whose `cog serve` runs: it asks that server if it serves the same code, and else its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from serving import CONFIG, PATIENCE_SECONDS, WAITING, Asking, Reading, Serve, records, save, wait_for
from support import COG, Done, Project, processes_with

ENGINES = pytest.mark.parametrize("engine", ["embedded", "host"])
ASKS = "Asking the server of this project at http://"
OWN = "Starting the model and running setup()"

MODEL = (
    WAITING
    + """

class Runner(BaseRunner):
    def setup(self) -> None:
        with open("setups", "a") as file:
            file.write("x")
        if os.path.exists("gate"):
            wait_for("hold")

    def run(self, text: str, file: Path | None = None) -> Iterator[str]:
        print("thinking of", text, file=sys.stderr, flush=True)
        if text == "fail":
            raise ValueError("no idea")
        if text in ("slow", "stop"):
            open("running", "w").close()
            try:
                wait_for("go" if text == "slow" else "never")
            finally:
                open("cleared-up", "w").close()
        yield text
        yield file.read_text() if file else "no file"
"""
)


def project(directory: Path) -> Project:
    directory.mkdir()
    return Project(directory).write(cog__yaml=CONFIG, run__py=MODEL)


def setups(model: Project) -> int:
    return len((model.directory / "setups").read_text())


def run(model: Project, text: str, *flags: str, **env: str) -> Done:
    return model.cog("run", "-i", f"text={text}", *flags, **env)


@ENGINES
@pytest.mark.parametrize("flags", [(), ("--watch",)])
def test_the_server_is_asked_and_answers_as_one_of_its_own(tmp_path: Path, engine: str, flags: tuple[str, ...]) -> None:
    model = project(tmp_path / "project")
    (model.directory / "a.txt").write_text("content")
    with Serve(model, *flags, COG_ENGINE=engine).ready() as server:
        beside = run(model, "a", "-i", "file=@a.txt", COG_ENGINE=engine).works()
        assert f"{ASKS}127.0.0.1:{server.port}" in beside.stderr, beside
        assert OWN not in beside.stderr, beside
        assert setups(model) == 1
        own = run(model, "a", "-i", "file=@a.txt", "--fresh", COG_ENGINE=engine).works()
        assert OWN in own.stderr and ASKS not in own.stderr, own
        assert setups(model) == 2
        assert beside.stdout == own.stdout == '[\n  "a",\n  "content"\n]\n'
        assert "thinking of a" in beside.stderr and "thinking of a" in own.stderr
        for each in [(), ("--fresh",)]:
            failed = run(model, "fail", *each, COG_ENGINE=engine)
            assert failed.status == 1, failed
            assert "ValueError: no idea" in failed.stderr, failed
            wrong = model.cog("run", "-i", "txet=a", *each, COG_ENGINE=engine)
            wrong.fails_with('unknown input "txet"')
            assert ASKS not in wrong.stderr
        # What it has written restarts nothing and is no other code.
        run(model, "a", "-o", "result.json", COG_ENGINE=engine).works()
        assert ASKS in run(model, "a", COG_ENGINE=engine).works().stderr
        assert setups(model) == 3
        server.stop()


def test_a_server_with_other_code_is_not_asked(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with Serve(model).ready() as server:
        save(model.directory / "run.py", MODEL.replace("yield text", "yield text.upper()", 1))
        own = run(model, "a").works()
        assert "serves other code than the folder has: `run.py` is different" in own.stderr, own
        assert ASKS not in own.stderr and '"A"' in own.stdout, own
        (model.directory / "new.py").write_text("")
        save(model.directory / "run.py", MODEL)
        assert "`new.py` is different" in run(model, "a").works().stderr
        (model.directory / "new.py").unlink()
        assert ASKS in run(model, "a").works().stderr
        # Another environment, and other flags.
        config = (model.directory / "cog.yaml").read_text()
        save(model.directory / "cog.yaml", config + "environment:\n  - A=b\n")
        assert "has another environment" in run(model, "a").works().stderr
        save(model.directory / "cog.yaml", config)
        assert "without these variables" in run(model, "a", "-e", "A=b").works().stderr
        assert "runs in the embedded engine" in run(model, "a", COG_ENGINE="host").works().stderr
        server.stop()


def test_a_worker_that_was_started_again_with_other_code_is_not_asked(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    crash = MODEL.replace("        yield text\n", "        if text == 'crash': os._exit(1)\n        yield text\n")
    save(model.directory / "run.py", crash)
    with Serve(model).ready() as server:
        save(model.directory / "run.py", crash.replace("yield text", "yield text.upper()", 1))
        server.ask(text="crash")
        server.log.until("Starting a new worker")
        server.log.until("Setup complete, now accepting requests")
        assert server.output(text="a") == ["A", "no file"]
        save(model.directory / "run.py", crash)
        own = run(model, "a").works()
        assert ASKS not in own.stderr and '"a"' in own.stdout, own
        server.stop()


def test_a_dead_server_is_not_asked_and_leaves_nothing(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with Serve(model).ready() as server:
        mine = [path for path in records(model) if f".{server.child.pid}." in path.name]
        assert {path.suffix for path in mine} == {".json", ".lock"}
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in mine), mine
        server.child.kill()
        server.child.wait(PATIENCE_SECONDS)
    own = run(model, "a").works()
    assert OWN in own.stderr and ASKS not in own.stderr, own
    model.cog("prune").works()
    assert not any(path.exists() for path in mine)
    with Serve(model).ready() as server:
        server.stop()
        assert not [path for path in records(model) if f".{server.child.pid}." in path.name]
    assert processes_with(str(model.directory)) == []


def test_a_server_in_setup_is_waited_for(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    (model.directory / "gate").touch()
    with Serve(model) as server:
        wait_for(model.directory / "setups")
        child, said = begin(model, "a")
        said.until(ASKS)
        said.until("Running setup() (")
        (model.directory / "hold").touch()
        said.until("Running prediction...")
        assert child.wait(PATIENCE_SECONDS) == 0, said.rest()
        assert setups(model) == 1
        server.ready().stop()


def test_what_is_saved_is_what_answers(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with Serve(model, "--watch").ready() as server:
        for number in range(3):
            save(model.directory / "run.py", MODEL.replace("yield text", f"yield text + '{number}'", 1))
            done = run(model, "a").works()
            assert ASKS in done.stderr and f'"a{number}"' in done.stdout, done
        assert setups(model) == 4
        save(model.directory / "run.py", MODEL.replace('with open("setups"', 'no_name()\n        with open("setups"'))
        failed = run(model, "a")
        assert failed.status == 1 and ASKS in failed.stderr, failed
        assert "Model setup failed" in failed.stderr and "no_name" in failed.stderr, failed
        server.stop()


def test_who_comes_second_waits_for_a_turn(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with Serve(model).ready() as server:
        first = Asking(server, text="slow")
        wait_for(model.directory / "running")
        child, said = begin(model, "a")
        said.until("The server is busy: waiting for a turn...")
        (model.directory / "go").touch()
        assert first.end()[1]["output"] == ["slow", "no file"]
        assert child.wait(PATIENCE_SECONDS) == 0, said.rest()
        server.stop()


def test_a_signal_cancels_the_prediction_and_leaves_the_server(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with Serve(model).ready() as server:
        child, said = begin(model, "stop")
        wait_for(model.directory / "running")
        said.until("thinking of stop")
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_SECONDS) == -signal.SIGINT, said.rest()
        wait_for(model.directory / "cleared-up")
        assert server.output(text="a") == ["a", "no file"]
        server.stop()


def begin(model: Project, text: str) -> tuple[subprocess.Popen[bytes], Reading]:
    child = subprocess.Popen(
        [COG, "run", "-i", f"text={text}"],
        cwd=model.directory,
        env=model.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    return child, Reading(child.stderr)


def test_nobody_is_asked_for_an_image(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    name = f"beside-{os.getpid()}"
    model.cog("build", "-t", name).works()
    with Serve(model).ready() as server:
        done = model.cog("run", name, "-i", "text=a").works()
        assert ASKS not in done.stderr, done
        server.stop()
    model.cog("rmi", name).works()

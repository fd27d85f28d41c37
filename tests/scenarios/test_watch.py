"""`cog serve --watch`: what is saved is served. Nothing here is a matter of time: the models wait for files, their
gates."""

from __future__ import annotations

import signal
import time
import zipfile
from pathlib import Path

import pytest
from serving import CONFIG, PATIENCE_SECONDS, WAITING, Asking, Serve, save, wait_for
from support import Project, processes_with

ENGINES = pytest.mark.parametrize("engine", ["embedded", "host"])

MODEL = (
    WAITING
    + """
import word


class Runner(BaseRunner):
    def setup(self) -> None:
        print("setting up", word.WORD, flush=True)
        if word.GATE:
            wait_for(word.GATE)
        self.data = open("data.txt").read().strip()

    def run(self, text: str) -> str:
        if text == "slow":
            open("running", "w").close()
            wait_for("go")
        if text == "write":
            with open("data.txt", "w") as file:
                file.write("written by the model")
        return f"{word.WORD} {text} {self.data}"
"""
)


def project(directory: Path) -> Project:
    directory.mkdir()
    model = Project(directory).write(cog__yaml=CONFIG, run__py=MODEL, data__txt="old data\n")
    say(model, "hello")
    return model


def say(model: Project, word: str, gate: str = "") -> None:
    save(model.directory / "word.py", f"WORD = {word!r}\nGATE = {gate!r}\n")


def wheel(path: Path, name: str, code: str) -> None:
    """A package of one module."""
    info = f"{name}-1.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, content)


def watched(model: Project, **env: str) -> Serve:
    return Serve(model, "--watch", **env).ready()


@ENGINES
def test_a_saved_file_is_served_on_the_same_port(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    with watched(model, COG_ENGINE=engine) as server:
        assert server.output(text="a") == "hello a old data"
        say(model, "good day")
        server.log.until("`word.py` has changed: restarting the model...")
        # Whoever asks now waits.
        assert server.output(text="a") == "good day a old data"
        server.log.until("Serving the changed code (")
        # As it was: nothing is restarted for a file that has the same content.
        say(model, "good day")
        (model.directory / "word.py").write_text("WORD = 'good bye'\nGATE = ''\n")
        server.log.until("restarting")
        assert server.output(text="a") == "good bye a old data"
        said = server.stop()
    assert said.count("restarting the model") == 2, said
    assert said.count("Using the") == 1, "neither the container nor its server is another one"
    assert processes_with(str(model.directory)) == []


def test_new_modules_folders_and_data_count(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with watched(model) as server:
        (model.directory / "lib").mkdir()
        (model.directory / "lib/deep.py").write_text("WORD = 'deep'\n")
        server.log.until("restarting")
        server.log.until("Serving the changed code")
        save(model.directory / "word.py", "from lib.deep import WORD\nGATE = ''\n")
        server.log.until("restarting")
        assert server.output(text="a") == "deep a old data"
        save(model.directory / "lib/deep.py", "WORD = 'deeper'\n")
        server.log.until("`lib/deep.py` has changed")
        assert server.output(text="a") == "deeper a old data"
        server.log.until("Serving the changed code")
        # Until the model has been at rest for a moment, it may be what writes.
        number = 0
        while "`data.txt` has changed: restarting" not in server.log.whole():
            number += 1
            assert number < PATIENCE_SECONDS
            save(model.directory / "data.txt", f"new data {number}\n")
            time.sleep(1)
        assert server.output(text="a") == f"deeper a new data {number}"


def test_what_the_model_writes_and_what_is_no_part_of_it_restarts_nothing(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    model.write(__dockerignore="left-out\n")
    for folder in ["left-out", ".git", "__pycache__"]:
        (model.directory / folder).mkdir()
    with watched(model) as server:
        assert server.output(text="write") == "hello write old data"
        server.log.until("`data.txt` has changed while the model was at work")
        for name in ["left-out/a.py", ".git/a.py", "__pycache__/a.py", "new.bin", "output.png", ".run.py.swp"]:
            (model.directory / name).write_text("x")
        say(model, "good day")
        server.log.until("restarting")
        # What it has written stays.
        assert server.output(text="a") == "good day a written by the model"
        said = server.stop()
    assert said.count("restarting the model...") == 1, said


@ENGINES
def test_broken_code_is_told_and_mended(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    with watched(model, COG_ENGINE=engine) as server:
        say(model, "hello", gate="")
        save(model.directory / "word.py", "raise RuntimeError('no words')\n")
        server.log.until_all("RuntimeError: no words", "The changed code could not be set up")
        status, answer = server.ask(text="a")
        assert status == 503
        assert "no words" in answer["error"], answer
        assert "tried again when the code is changed" in answer["error"], answer
        # What is no Python is not even tried.
        save(model.directory / "run.py", MODEL.replace("class Runner", "clas Runner"))
        server.log.until("Nothing is served until that is mended")
        assert server.ask("/health-check")[1]["status"] == "SETUP_FAILED"
        save(model.directory / "run.py", MODEL)
        server.log.until("The project is as it was: restarting the model")
        server.log.until("The changed code could not be set up")
        say(model, "mended")
        server.log.until("Serving the changed code")
        assert server.output(text="a") == "mended a old data"
        server.stop()


def test_a_first_setup_that_fails_is_mended(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    save(model.directory / "word.py", "raise RuntimeError('no words')\n")
    with Serve(model, "--watch") as server:
        server.log.until("Model setup failed, as its log says")
        server.log.until("tried again when the code is changed")
        say(model, "mended")
        server.log.until("Serving the changed code")
        server.stop()


def test_requests_wait_while_the_model_is_restarted(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    # For one that comes too late to wait for the model: it waits for the others.
    save(model.directory / "cog.yaml", CONFIG + "environment:\n  - COG_QUEUE=8\n")
    with watched(model) as server:
        say(model, "good day", gate="hold")
        server.log.until("setting up good day")
        asking = [Asking(server, text=str(number)) for number in range(4)]
        assert server.ask("/health-check")[1]["status"] == "STARTING"
        assert all(one.answer is None for one in asking)
        (model.directory / "hold").touch()
        for number, one in enumerate(asking):
            status, answer = one.end()
            assert (status, answer.get("output")) == (200, f"good day {number} old data"), answer


def test_what_runs_may_end_before_the_model_is_restarted(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with watched(model) as server:
        asking = Asking(server, text="slow")
        wait_for(model.directory / "running")
        say(model, "good day")
        server.log.until("Waiting up to 5 s for 1 prediction to end")
        later = Asking(server, text="later")
        (model.directory / "go").touch()
        assert asking.end()[1]["output"] == "hello slow old data"
        assert later.end()[1]["output"] == "good day later old data"


def test_what_takes_too_long_is_ended_for_it(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with watched(model) as server:
        asking = Asking(server, text="slow")
        wait_for(model.directory / "running")
        say(model, "good day")
        status, answer = asking.end()
        assert (status, answer["status"]) == (200, "failed"), answer
        assert "The model's code was changed while this ran" in answer["error"], answer
        assert server.output(text="a") == "good day a old data"


@ENGINES
def test_a_changed_schema_is_served(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    with watched(model, COG_ENGINE=engine) as server:
        changed = MODEL.replace("text: str)", "text: str, times: int)").replace("return f", "return times * f")
        save(model.directory / "run.py", changed)
        server.log.until("restarting")
        assert server.ask(text="a")[0] == 422
        assert server.output(text="a", times=2) == "hello a old data" * 2
        schema = server.ask("/openapi.json")[1]["components"]["schemas"]["Input"]
        assert "times" in schema["properties"], schema
        said = server.stop()
    assert "has changed since" not in said, said


@ENGINES
def test_another_environment_is_made_and_served_on_the_same_port(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    changed = MODEL.replace("return f", "return os.environ.get('GREETING', '') + f")
    save(model.directory / "run.py", changed)
    with watched(model, COG_ENGINE=engine) as server:
        assert server.output(text="a") == "hello a old data"
        save(model.directory / "cog.yaml", CONFIG + "environment:\n  - GREETING=oh\n")
        server.log.until("The project needs another environment: making it...")
        # The socket stays open: whoever asks meanwhile waits.
        assert server.output(text="a") == "ohhello a old data"
        server.log.until("Serving at")
        say(model, "good day")
        server.log.until("restarting")
        assert server.output(text="a") == "ohgood day a old data"
        server.stop()
    assert processes_with(str(model.directory)) == []


@ENGINES
def test_requests_wait_for_the_second_of_two_environments(tmp_path: Path, engine: str) -> None:
    """Whoever has asked while the first of them was set up, which never ends, is answered by the second."""
    model = project(tmp_path / "project")
    changed = MODEL.replace("return f", "return os.environ.get('GREETING', '') + f")
    save(model.directory / "run.py", changed)
    with watched(model, COG_ENGINE=engine) as server:
        say(model, "first", gate="never")
        save(model.directory / "cog.yaml", CONFIG + "environment:\n  - 'GREETING=one '\n")
        server.log.until("The project needs another environment")
        server.log.until("setting up first")
        asking = [Asking(server, text=str(number)) for number in range(4)]
        say(model, "second")
        save(model.directory / "cog.yaml", CONFIG + "environment:\n  - 'GREETING=two '\n  - COG_QUEUE=8\n")
        server.log.until("The project needs another environment")
        for number, one in enumerate(asking):
            status, answer = one.end()
            assert (status, answer.get("output")) == (200, f"two second {number} old data"), answer
        server.stop()


def test_requests_that_wait_for_code_are_answered_before_another_environment_is_made(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with watched(model) as server:
        say(model, "first", gate="hold")
        server.log.until("setting up first")
        asking = Asking(server, text="a")
        save(model.directory / "cog.yaml", CONFIG + "environment:\n  - GREETING=oh\n")
        server.log.until("Shutting down")
        (model.directory / "hold").touch()
        status, answer = asking.end()
        assert (status, answer.get("output")) == (200, "first a old data"), answer
        server.log.until("Serving at")
        assert server.output(text="b") == "first b old data"
        server.stop()


@ENGINES
def test_a_changed_requirement_is_installed(tmp_path: Path, engine: str) -> None:
    model = project(tmp_path / "project")
    save(model.directory / "cog.yaml", CONFIG.replace("run:", "  python_requirements: requirements.txt\nrun:"))
    (model.directory / "requirements.txt").write_text("")
    with watched(model, COG_ENGINE=engine) as server:
        save(model.directory / "word.py", "import lib\nWORD = lib.WORD\nGATE = ''\n")
        server.log.until("No module named 'lib'")
        wheel(model.directory / "lib-1-py3-none-any.whl", "lib", "WORD = 'packaged'\n")
        save(model.directory / "requirements.txt", "./lib-1-py3-none-any.whl\n")
        server.log.until("The project needs another environment")
        server.log.until("Serving at")
        assert server.output(text="a") == "packaged a old data"
        server.stop()


def test_an_environment_that_cannot_be_made_is_told_and_mended(tmp_path: Path) -> None:
    model = project(tmp_path / "project")
    with watched(model) as server:
        save(model.directory / "cog.yaml", CONFIG.replace("run:", "  python_packages: [no-such-package==0.0]\nrun:"))
        server.log.until("The project needs another environment")
        server.log.until("It is tried again when the project is changed")
        status, answer = server.ask(text="a")
        assert (status, answer["status"]) == (503, "failed"), answer
        assert server.ask("/health-check")[1]["status"] == "SETUP_FAILED"
        save(model.directory / "cog.yaml", CONFIG)
        server.log.until("Serving at")
        assert server.output(text="a") == "hello a old data"
        # And one that is no configuration at all.
        save(model.directory / "cog.yaml", CONFIG + "nonsense: [\n")
        server.log.until("Nothing is served until that is mended")
        assert server.ask(text="a")[0] == 503
        save(model.directory / "cog.yaml", CONFIG)
        server.log.until("Serving the changed code")
        assert server.output(text="a") == "hello a old data"
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_in_the_middle_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    model = project(tmp_path / "project")
    with watched(model) as server:
        say(model, "good day", gate="never")
        server.log.until("setting up good day")
        server.child.send_signal(number)
        assert server.child.wait(60) == 0, server.log.whole()
    assert processes_with(str(model.directory)) == []
    left = [path.name for path in (model.store / "serving").glob("*")]
    assert not [name for name in left if f".{server.child.pid}." in name], left

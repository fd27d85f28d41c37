"""The worker, frame by frame."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cog._worker.logs import Attribution, Flood, LogStream, Sink

Start = Callable[..., Any]

ECHO = """
import sys
from cog import BaseRunner, Input, Path

class Runner(BaseRunner):
    def setup(self):
        print("setting up")

    def run(self, s: str = Input(default="default"), p: Path = None) -> str:
        print("working")
        sys.stdout.write("unfinished")
        self.record_metric("a.b", 1)
        if s == "raise":
            raise ValueError("bad thing")
        if s == "exit":
            sys.exit(3)
        if s == "loop":
            while True:
                pass
        if s == "big":
            return "x" * 3_000_000
        if s == "big list":
            return ["x" * 3_000_000]
        return f"{s} {type(p).__name__}"
"""

ASYNC = """
import asyncio
from cog import BaseRunner

class Runner(BaseRunner):
    async def setup(self):
        self.queue = asyncio.Queue()

    async def run(self, s: str, delay: float = 0) -> str:
        print("started", s)
        await asyncio.sleep(delay)
        print("ended", s)
        return s
"""


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


def logs(frames: list[dict[str, Any]], prediction: str) -> str:
    return "".join(f["data"] for f in frames if f["type"] == "log" and f["id"] == prediction)


def test_a_model_is_loaded_set_up_and_run(worker: Start) -> None:
    echo = worker(ECHO)
    start = echo.ready()
    assert kinds(start) == ["loaded", "log", "ready"]
    assert start[0]["signature"] == {"p": "path"}
    frames = echo.predict(s="hello")
    assert frames[-1] == {
        "type": "done",
        "id": "1",
        "status": "succeeded",
        "output": "hello NoneType",
    }
    assert logs(frames, "1") == "working\nunfinished"
    assert {"type": "metric", "id": "1", "name": "a.b", "value": 1, "mode": "replace"} in frames


def test_defaults_and_local_files_reach_the_handler(worker: Start, tmp_path: Path) -> None:
    echo = worker(ECHO)
    echo.ready()
    echo.send(type="predict", id="1", input={"p": None}, context={}, files={"p": str(tmp_path / "run.py")})
    assert echo.until("done")[-1]["output"] == "default Path"


@pytest.mark.parametrize("default", ['Input(default=["base"])', '["base"]'])
@pytest.mark.parametrize("how", ["def", "async def"])
def test_what_a_prediction_does_to_a_default_reaches_no_other(worker: Start, how: str, default: str) -> None:
    model = f"""
from cog import BaseRunner, Input

class Runner(BaseRunner):
    {how} run(self, name: str, tags: list[str] = {default}) -> list[str]:
        tags.append(name)
        return tags
"""
    started = worker(model)
    started.ready()
    for number, name in enumerate(("alice", "bob")):
        assert started.predict(number, name=name)[-1]["output"] == ["base", name]


@pytest.mark.parametrize(("how", "text"), [("raise", "ValueError: bad thing"), ("exit", "SystemExit: 3")])
def test_what_a_model_raises_fails_its_prediction_only(worker: Start, tmp_path: Path, how: str, text: str) -> None:
    echo = worker(ECHO)
    echo.ready()
    frames = echo.predict(s=how)
    assert frames[-1]["status"] == "failed"
    assert frames[-1]["error"] == f"Prediction failed: {text}"
    # From the model's own code on.
    assert f'Traceback (most recent call last):\n  File "{tmp_path / "run.py"}"' in logs(frames, "1")
    assert echo.predict(2, s="again")[-1]["status"] == "succeeded"


def test_large_values_travel_as_files(worker: Start) -> None:
    echo = worker(ECHO)
    echo.ready()
    done = echo.predict(s="big")[-1]
    assert (Path(done["output_file"]).read_text(), done["raw"]) == ("x" * 3_000_000, True)
    done = echo.predict(s="big list")[-1]
    assert json.loads(Path(done["output_file"]).read_text()) == ["x" * 3_000_000]
    assert "raw" not in done


def test_a_signal_cancels_a_running_prediction(worker: Start) -> None:
    echo = worker(ECHO)
    echo.ready()
    for number in range(20):
        echo.send(type="predict", id=str(number), input={"s": "loop"}, context={}, files={})
        echo.until("metric")
        time.sleep(number / 4000)
        echo.cancel_by_signal()
        assert echo.until("done")[-1] == {"type": "done", "id": str(number), "status": "canceled"}
    echo.cancel_by_signal()  # nothing runs: it must be ignored
    assert echo.predict(99, s="after")[-1]["status"] == "succeeded"


def test_no_frame_is_torn_by_a_cancelation(worker: Start) -> None:
    model = ECHO.replace(
        'if s == "loop":\n            while True:\n                pass',
        'if s == "loop":\n            while True:\n                print("x" * 100)',
    )
    echo = worker(model)
    echo.ready()
    for number in range(50):
        echo.send(type="predict", id=str(number), input={"s": "loop"}, context={}, files={})
        echo.until("metric")
        echo.cancel_by_signal()
        assert echo.until("done")[-1]["status"] == "canceled"


def test_async_predictions_run_together_with_their_own_logs(worker: Start) -> None:
    model = worker(ASYNC, slots=32)
    model.ready()
    for number in range(32):
        model.send(
            type="predict",
            id=str(number),
            input={"s": f"s{number}", "delay": 0.05},
            context={},
            files={},
        )
    frames: list[dict[str, Any]] = []
    while sum(frame["type"] == "done" for frame in frames) < 32:
        frames.append(model.receive())
    for number in range(32):
        assert logs(frames, str(number)) == f"started s{number}\nended s{number}\n"


def test_an_async_prediction_is_canceled_even_before_it_began(worker: Start) -> None:
    model = worker(ASYNC, slots=4)
    model.ready()
    model.send(type="predict", id="1", input={"s": "a", "delay": 60}, context={}, files={})
    model.send(type="cancel", id="1")
    assert model.until("done")[-1]["status"] == "canceled"
    assert model.predict(2, s="b")[-1]["output"] == "b"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_generators_send_their_items_one_by_one(worker: Start, kind: str) -> None:
    source = f"""
from cog import BaseRunner
class Runner(BaseRunner):
    {kind} run(self, n: int):
        for i in range(n):
            yield str(i)
"""
    model = worker(source)
    model.ready()
    frames = model.predict(n=3)
    assert [frame["value"] for frame in frames[:-1]] == ["0", "1", "2"]
    assert frames[-1]["stream"] is True


def test_files_are_named_for_the_server(worker: Start, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"png")
    model = worker("""
import io
from cog import Path
class Runner:
    def run(self, how: str):
        if how == "path": return Path("out.png")
        if how == "list": return [Path("out.png"), "text"]
        if how == "nested": return {"a": Path("out.png")}
        if how == "open": return io.BytesIO(b"content")
        return Path("missing.png")
""")
    model.ready()
    one = model.predict(how="path")[-1]
    assert one["files"] is True
    assert one["output"]["__cog_file__"]["mime"] == "image/png"
    listed = model.predict(how="list")[-1]
    assert listed["files"] == [0]
    assert model.predict(how="nested")[-1]["output"] == {"a": "data:image/png;base64,cG5n"}
    opened = model.predict(how="open")[-1]["output"]["__cog_file__"]
    assert opened["delete"] is True
    assert Path(opened["path"]).read_bytes() == b"content"
    missing = model.predict(how="none")[-1]
    assert missing["status"] == "failed"
    assert "missing.png" in missing["error"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise ImportError('no torch')", "failed to load predictor: ImportError: no torch"),
        (
            "class Runner: pass",
            "failed to load predictor: ValueError: run or predict method not found: Runner",
        ),
        (
            "class Runner:\n    def setup(self): 1/0\n    def run(self): pass",
            "setup failed: ZeroDivisionError",
        ),
    ],
)
def test_a_model_that_does_not_start_says_why(worker: Start, source: str, text: str) -> None:
    frames = worker(source).ready()
    assert frames[-1]["type"] == "setup_failed"
    assert text in frames[-1]["error"]


def test_more_slots_need_an_async_model(worker: Start) -> None:
    frames = worker(ECHO, slots=2).ready()
    assert frames[-1]["error"] == "COG_MAX_CONCURRENCY > 1 requires an async run() or predict() method"


def test_a_forked_child_writes_no_frames(worker: Start) -> None:
    model = worker("""
import os
class Runner:
    def run(self) -> str:
        child = os.fork()
        if child == 0:
            print("from the child")
            os._exit(0)
        os.waitpid(child, 0)
        return "done"
""")
    model.ready()
    assert kinds(model.predict()) == ["done"]


def test_forked_children_write_whole_lines() -> None:
    class Original(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.flushed: list[str] = []

        def flush(self) -> None:
            self.flushed.append(self.getvalue())

    original = Original()
    channel: Any = SimpleNamespace(owner=os.getppid())
    stream = LogStream(Sink(channel, Attribution(), Flood(channel), "stdout", original))
    print("one", "line", file=stream)
    stream.write("unfinished")
    assert set(original.flushed) == {"one line\n"}
    stream.flush()
    assert original.flushed[-1] == "one line\nunfinished"


def test_a_forked_child_does_not_repeat_what_its_parent_has_begun(worker: Start) -> None:
    model = """
import os, sys

class Runner:
    def run(self) -> str:
        read, write = os.pipe()
        print("begun ", end="")
        child = os.fork()
        if child == 0:
            os.dup2(write, 1)
            print("in the child")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print("and ended")
        return os.read(read, 1000).decode()
"""
    started = worker(model)
    started.ready()
    frames = started.predict()
    assert frames[-1]["output"] == "in the child\n"
    assert logs(frames, "1") == "begun and ended\n"


def test_streams_are_as_those_of_python(worker: Start) -> None:
    model = """
import io, sys

class Runner:
    def run(self) -> str:
        print("text", flush=True)
        sys.stdout.buffer.write("bytes \\u00e9\\n".encode())
        sys.stdout.reconfigure(encoding="ascii", line_buffering=False)
        print("still \\u00e9", "half \\ud83d")
        sys.stdout.writelines(["a\\n", "b\\n"])
        try:
            sys.stdout.detach()
        except io.UnsupportedOperation:
            pass
        sys.stdout.close()
        print("closed")
        out = sys.stdout
        return f"{out.name} {out.mode} {out.encoding} {out.isatty()} {out.fileno()} {sys.stderr.fileno()}"
"""
    started = worker(model)
    started.ready()
    frames = started.predict()
    assert frames[-1]["output"] == "<stdout> w utf-8 False 1 2", frames
    assert logs(frames, "1") == "text\nbytes \u00e9\nstill \u00e9 half ?\na\nb\nclosed\n"


def test_a_flood_of_several_predictions_is_sorted_out(worker: Start) -> None:
    model = """
import asyncio
from cog import BaseRunner

class Runner(BaseRunner):
    async def run(self, name: str) -> str:
        for number in range(3000):
            print(name, end=" ")
            if number % 10 == 0:
                await asyncio.sleep(0)
            print(number)
        return name
"""
    started = worker(model, slots=2)
    started.ready()
    for prediction, name in (("1", "a"), ("2", "b")):
        started.send(type="predict", id=prediction, input={"name": name}, context={}, files={})
    frames: list[dict[str, Any]] = []
    while kinds(frames).count("done") < 2:
        frames.append(started.receive())
    for prediction, name in (("1", "a"), ("2", "b")):
        assert logs(frames, prediction) == "".join(f"{name} {number}\n" for number in range(3000))


def test_a_forked_child_can_be_terminated(worker: Start) -> None:
    model = """
import multiprocessing, time

class Runner:
    def run(self) -> int:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.1)
        child.terminate()
        child.join()
        return child.exitcode
"""
    started = worker(model)
    started.ready()
    assert started.predict()[-1]["output"] == -signal.SIGTERM


def test_the_worker_ends_with_the_server(worker: Start) -> None:
    model = worker(ASYNC)
    model.ready()
    model.hang_up()
    assert model.process.wait(10) is not None


FLOOD = """
import sys, time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, count: int, seconds: float = 0.0):
        for number in range(count):
            print(f"line {number}")
            if number % 1000 == 500:
                print(f"problem {number}", file=sys.stderr)
        yield "printed"
        print("last")
        time.sleep(seconds)
"""


def test_a_flood_of_lines_arrives_whole_and_in_order(worker: Start) -> None:
    started = worker(FLOOD)
    started.ready()
    frames = started.predict(count=20_000)
    expected = []
    for number in range(20_000):
        expected.append(f"line {number}\n")
        if number % 1000 == 500:
            expected.append(f"problem {number}\n")
    before = frames[: next(place for place, frame in enumerate(frames) if frame["type"] == "chunk")]
    assert logs(before, "1") == "".join(expected)
    assert logs(frames[len(before) :], "1") == "last\n"


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_prediction_ends_after_its_last_line(worker: Start, keyword: str) -> None:
    started = worker(f"""
class Runner:
    {keyword} run(self, count: int) -> int:
        for number in range(count):
            print(number)
        return count
""")
    started.ready()
    for number in range(60):
        # Some end just when held lines are sent anyway.
        frames = started.predict(number, count=300 + 150 * number)
        assert logs(frames, str(number)).count("\n") == 300 + 150 * number


def test_the_last_lines_of_a_flood_do_not_wait_for_the_end(worker: Start) -> None:
    started = worker(FLOOD)
    started.ready()
    started.send(type="predict", id="1", input={"count": 3000, "seconds": 10.0}, context={}, files={})
    began = time.monotonic()
    text = ""
    while not text.endswith("last\n"):
        frame = started.receive()
        text += frame["data"] if frame["type"] == "log" else ""
    assert time.monotonic() - began < 8


def test_an_output_that_finds_no_room_fails_its_prediction_only(worker: Start, tmp_path: Path) -> None:
    echo = worker(ECHO)
    echo.ready()
    (tmp_path / "spill").rmdir()
    for kind in ("big", "big list"):
        end = echo.predict(s=kind)[-1]
        assert end["status"] == "failed"
        assert end["error"].startswith("Prediction failed: a large output could not be stored: ")
    assert echo.predict(s="small")[-1]["status"] == "succeeded"


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_scratch_directory_is_made_when_it_is_asked_for(worker: Start, tmp_path: Path, keyword: str) -> None:
    model = worker(
        f"""
from cog import BaseRunner, current_scope

class Runner(BaseRunner):
    {keyword} run(self, fail: bool = False, use: bool = True) -> str:
        if use:
            (current_scope().scratch_dir / "file").write_text("x")
        if fail:
            raise ValueError("bad thing")
        return str(current_scope().scratch_dir) if use else ""
"""
    )
    model.ready()
    done = model.predict(1)[-1]
    assert (done["scratch"], Path(done["output"]).name) == (True, "1")
    assert model.predict(2, fail=True)[-1]["scratch"] is True
    assert "scratch" not in model.predict(3, use=False)[-1]
    made = sorted(path.name for path in Path(done["output"]).parent.iterdir())
    assert made == ["1", "2"], "removing them is the server's part"


def test_a_scratch_directory_is_reported_even_if_the_output_finds_no_room(worker: Start, tmp_path: Path) -> None:
    model = worker(
        """
from cog import BaseRunner, current_scope

class Runner(BaseRunner):
    def run(self) -> str:
        current_scope().scratch_dir
        return "x" * 3_000_000
"""
    )
    model.ready()
    (tmp_path / "spill").rmdir()
    end = model.predict()[-1]
    assert (end["status"], end.get("scratch")) == ("failed", True)

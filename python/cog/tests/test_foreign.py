"""The model's code inside ours: whatever it does, its prediction ends once, and the next one runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

#: How a model runs: its decorator, its keyword, and the slots of its worker.
MODES = {
    "serial": ("", "def", 1),
    "threads": ("@cog.concurrent(max=2, threads=True)", "def", 2),
    "async": ("", "async def", 2),
}


def model(mode: str, body: str, more: str = "", setup: str = "pass") -> tuple[str, int]:
    """The source of a model whose `run` has this body, and its slots."""
    decorator, keyword, slots = MODES[mode]
    lines = body.strip("\n").replace("\n", "\n        ")
    source = f"""
import asyncio, gc, io, os, signal, sys, threading, time
import cog
from cog import BaseRunner, File, Path, current_scope
{more}
class Runner(BaseRunner):
    def setup(self):
        {setup}

    {decorator}
    {keyword} run(self, how: str = "", file: File = None):
        {lines}
"""
    return source, slots


def start(worker: Start, mode: str, body: str, more: str = "", setup: str = "pass") -> Any:
    source, slots = model(mode, body, more, setup)
    started = worker(source, slots=slots)
    assert started.ready()[-1]["type"] == "ready"
    return started


def logs(frames: list[dict[str, Any]], prediction: str | None) -> str:
    return "".join(frame["data"] for frame in frames if frame["type"] == "log" and frame["id"] == prediction)


ERRORS = """
class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")
    __repr__ = __str__
class Exits(Exception):
    def __str__(self): sys.exit(3)
class Disguised(Exception):
    @property
    def __class__(self): raise RuntimeError("no class")
class Notes(Exception):
    @property
    def __notes__(self): raise RuntimeError("no notes")
class Nameless(type):
    @property
    def __name__(cls): raise RuntimeError("no name")
class Odd(Exception, metaclass=Nameless): pass
class Text(str):
    def __bool__(self): raise RuntimeError("no truth")
    def __len__(self): raise RuntimeError("no length")
    def __format__(self, how): raise RuntimeError("no format")
class Worded(Exception):
    def __str__(self): return Text("words")
class Stream(io.StringIO):
    def write(self, text): raise OSError("no space")
    flush = write
class Finalized:
    def __del__(self): raise RuntimeError("not yet")
"""

RAISES = """
if how == "fine": return "fine"
if how == "closed": sys.stderr = io.StringIO(); sys.stderr.close(); raise ValueError("closed")
if how == "raising": sys.stderr = sys.stdout = Stream(); raise ValueError("raising")
if how == "none": sys.stderr = None; raise ValueError("none")
if how == "gone": del sys.stderr; raise ValueError("gone")
if how == "finalized": raise ValueError(Finalized())
if how == "buffer": print("x", end=""); sys.stdout.buffer.detach(); return "fine"
raise {"Mute": Mute, "Exits": Exits, "Disguised": Disguised, "Notes": Notes, "Odd": Odd, "Worded": Worded}[how]("why")
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("Mute", "Mute: <exception str() failed>"),
        ("Exits", "Exits: <exception str() failed>"),
        ("Disguised", "Disguised: why"),
        ("Notes", "Notes: why"),
        ("Odd", "Odd: why"),
        ("Worded", "Worded: words"),
        ("closed", "ValueError: closed"),
        ("raising", "ValueError: raising"),
        ("none", "ValueError: none"),
        ("gone", "ValueError: gone"),
        ("buffer", None),
    ],
)
def test_an_error_is_told_even_if_it_cannot_be(worker: Start, mode: str, how: str, error: str | None) -> None:
    started = start(worker, mode, RAISES, ERRORS)
    frames = started.predict(1, how=how)
    if error is not None:
        assert frames[-1]["error"] == f"Prediction failed: {error}"
        assert error.partition(":")[0] in logs(frames, "1"), "its traceback is in its log, wherever `sys.stderr` goes"
    assert started.predict(2, how="fine")[-1]["output"] == "fine"


def test_a_long_error_is_cut(worker: Start) -> None:
    started = start(worker, "serial", 'raise ValueError("x" * 100_000_000)')
    error = started.predict()[-1]["error"]
    assert len(error) < 300_000
    assert error.endswith("TRUNCATED ****]")


OUTPUTS = """
class Files(os.PathLike):
    def __fspath__(self): raise RuntimeError("no path")
class Attributes:
    def __getattr__(self, name): raise RuntimeError("no attributes")
class Items(list):
    def __iter__(self): raise SystemExit("no items")
class Stopped:
    def __next__(self): raise KeyboardInterrupt("no next")
    def __iter__(self): return self
class Dumps:
    def model_dump(self): raise SystemExit(4)
class Disguised:
    @property
    def __class__(self): raise RuntimeError("no class")
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["Files", "Attributes", "Items", "Stopped", "Dumps", "Disguised"])
def test_an_output_that_raises_fails_its_prediction(worker: Start, mode: str, name: str) -> None:
    made = "Items([1])" if name == "Items" else f"{name}()"
    started = start(worker, mode, f'return "fine" if how == "fine" else {made}', OUTPUTS)
    assert started.predict(1)[-1]["status"] == "failed"
    assert started.predict(2, how="fine")[-1]["output"] == "fine"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["file.close()", "file.detach()", "os.close(file.fileno())"])
def test_what_becomes_of_an_open_file_does_not_matter(worker: Start, tmp_path: Path, mode: str, how: str) -> None:
    started = start(worker, mode, f'if file: {how}\nreturn "fine"')
    for number in ("1", "2"):
        files = {"file": str(tmp_path / "run.py")}
        started.send(type="predict", id=number, input={"file": "x"}, context={}, files=files)
        assert started.until("done")[-1]["output"] == "fine"


@pytest.mark.parametrize("mode", MODES)
def test_the_scope_may_be_taken_apart(worker: Start, mode: str) -> None:
    started = start(worker, mode, 'current_scope().metrics = None\ncurrent_scope().scratch_dir\nreturn "fine"')
    for number in (1, 2):
        done = started.predict(number)[-1]
        assert (done["output"], done["scratch"]) == ("fine", True)


@pytest.mark.parametrize("mode", ["serial", "async"])
def test_an_alarm_that_goes_off_too_late_goes_off_for_nobody(worker: Start, mode: str) -> None:
    more = 'def ring(*_): raise TimeoutError("too late")'
    body = """
signal.signal(signal.SIGALRM, ring)
assert signal.getsignal(signal.SIGALRM) is ring
signal.setitimer(signal.ITIMER_REAL, 0.001, AGAIN)
if how == "wait":
    try:
        while True: pass
    except TimeoutError:
        return "in time"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.001, AGAIN)
return "fine"
"""
    # An event loop gives it many places to go off.
    more += f"\nAGAIN = {0.001 if mode == 'serial' else 0}"
    started = start(worker, mode, body, more)
    for number in range(200):
        assert started.predict(number)[-1]["status"] in ("succeeded", "failed")
        time.sleep(0.002)
    assert started.predict(how="wait")[-1].get("output", "in time") == "in time"


LEAVES = """
child = os.fork()
if child == 0:
    if how == "exit": sys.exit(3)
    if how == "raise": raise ValueError("in the child")
    if how == "print": print("from the child")
    return "from the child"
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
return str(status)
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("how", "code"), [("exit", "3"), ("raise", "1"), ("print", "0"), ("return", "0")])
def test_a_forked_child_that_leaves_is_gone(worker: Start, mode: str, how: str, code: str) -> None:
    started = start(worker, mode, LEAVES)
    for number in range(3):
        frames = started.predict(number, how=how)
        assert frames[-1].get("output") == code, frames


def test_a_forked_child_in_a_generator_is_gone(worker: Start) -> None:
    body = """
child = os.fork()
yield "yielded"
if child == 0: yield "from the child"
yield str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    started = start(worker, "serial", body)
    frames = started.predict()
    assert [frame["value"] for frame in frames if frame["type"] == "chunk"] == ["yielded", "0"]


def test_a_forked_child_of_setup_is_gone(worker: Start) -> None:
    started = start(
        worker,
        "serial",
        "return self.status",
        setup="""child = os.fork()
        if child == 0: return
        self.status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])""",
    )
    assert started.predict()[-1]["output"] == 0


def test_a_forked_child_cannot_touch_the_channel(worker: Start) -> None:
    body = """
child = os.fork()
if child == 0:
    os._exit(len(pipes() & self.pipes))
return (len(self.pipes), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    more = """
def pipes():
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 20) if os.path.exists(f"/proc/self/fd/{fd}")]
    return {name for name in names if name.startswith("pipe:")}
"""
    started = start(worker, "serial", body, more, setup="self.pipes = pipes()")
    assert started.predict()[-1]["output"] == [2, 0]


CANCELS = """
class Swallows:
    def __del__(self): time.sleep(1.5)
def callback():
    time.sleep(1.5)
async def busy(ticks):
    loop = asyncio.get_running_loop()
    loop.call_soon(callback)
    while True: await asyncio.sleep(0.01)
"""
LOST = """
print("begun")
if how == "fine": return "fine"
if how == "finalizer":
    for _ in range(2): Swallows()
    while True: time.sleep(0.01)
if how == "loop": asyncio.run(busy(10))
if how == "except":
    for _ in range(2):
        try:
            while True: time.sleep(0.01)
        except BaseException: pass
"""


@pytest.mark.parametrize("mode", ["serial", "threads"])
@pytest.mark.parametrize("how", ["finalizer", "loop", "except"])
def test_a_cancelation_that_is_swallowed_is_repeated(worker: Start, mode: str, how: str) -> None:
    started = start(worker, mode, LOST, CANCELS)
    started.send(type="predict", id="1", input={"how": how}, context={}, files={})
    started.until("log")
    time.sleep(0.2)
    frames = started.within(0.0, "done")
    deadline = time.monotonic() + 10
    while "done" not in {frame["type"] for frame in frames} and time.monotonic() < deadline:
        if mode == "serial":
            started.cancel_by_signal()
        else:
            started.send(type="cancel", id="1")
        frames += started.within(0.1, "done")
    assert frames[-1]["status"] == "canceled"
    assert started.predict(2, how="fine")[-1]["output"] == "fine"


@pytest.mark.parametrize("mode", MODES)
def test_cleaning_up_is_not_canceled_again(worker: Start, mode: str) -> None:
    cleans = {"async": "await asyncio.sleep(6)"}.get(mode, "[time.sleep(0.01) for _ in range(200)]")
    waits = {"async": "await asyncio.sleep(60)"}.get(mode, "while True: time.sleep(0.01)")
    body = f"""
print("begun")
try:
    {waits}
finally:
    {cleans}
    print("clean")
"""
    started = start(worker, mode, body)
    started.send(type="predict", id="1", input={}, context={}, files={})
    frames = started.until("log")
    time.sleep(0.1)
    while frames[-1]["type"] != "done":
        if mode == "serial":
            started.cancel_by_signal()
        else:
            started.send(type="cancel", id="1")
        frames += started.within(0.1, "done")
    assert "clean" in logs(frames, "1")


def test_a_task_that_ignores_being_canceled_is_canceled_again(worker: Start) -> None:
    body = """
print("begun")
for _ in range(2):
    try: await asyncio.sleep(60)
    except asyncio.CancelledError: pass
"""
    started = start(worker, "async", body)
    started.send(type="predict", id="1", input={}, context={}, files={})
    frames = started.until("log")
    while frames[-1]["type"] != "done":
        started.send(type="cancel", id="1")
        frames += started.within(0.5, "done")
    assert frames[-1]["status"] == "canceled"


TASKS = """
loop = asyncio.get_running_loop()
if how == "fine": return "fine"
if how == "wait":
    await asyncio.sleep(0.3)
    return "waited"
if how == "exit": self.task = loop.create_task(leave())
if how == "callback": loop.call_soon(sys.exit)
if how == "interrupt": loop.call_soon(interrupt)
if how == "stop": loop.stop()
if how == "factory": loop.set_task_factory(factory)
if how == "handler": loop.set_exception_handler(handler); loop.call_soon(factory)
await asyncio.sleep(0.05)
return "fine"
"""
LEAVING = """
async def leave(): sys.exit(3)
def interrupt(): raise KeyboardInterrupt
def factory(*_, **__): raise RuntimeError("no tasks")
def handler(*_): raise SystemExit("no handler")
"""


@pytest.mark.parametrize("how", ["exit", "callback", "interrupt", "stop", "factory", "handler"])
def test_what_a_task_does_to_the_loop_costs_nobody(worker: Start, how: str) -> None:
    started = start(worker, "async", TASKS, LEAVING)
    for number, does in (("1", "wait"), ("2", how)):
        started.send(type="predict", id=number, input={"how": does}, context={}, files={})
    frames = started.until("done") + started.until("done")
    outputs = {frame["id"]: frame.get("output") for frame in frames if frame["type"] == "done"}
    assert outputs == {"1": "waited", "2": "fine"}, frames
    assert started.predict(3, how="fine")[-1]["output"] == "fine"


def test_all_tasks_may_be_canceled(worker: Start) -> None:
    body = """
if how == "fine": return "fine"
for task in asyncio.all_tasks(): task.cancel()
await asyncio.sleep(0)
"""
    started = start(worker, "async", body)
    for number, how in (("1", "all"), ("2", "fine")):
        started.send(type="predict", id=number, input={"how": how}, context={}, files={})
    frames = started.until("done") + started.until("done")
    assert sorted(frame["id"] for frame in frames if frame["type"] == "done") == ["1", "2"]
    assert started.predict(3, how="fine")[-1]["output"] == "fine"


@pytest.mark.parametrize(
    "setup",
    [
        "asyncio.run(self.load())",
        "asyncio.get_event_loop().run_until_complete(self.load())",
        "loop = asyncio.get_event_loop(); loop.run_until_complete(self.load()); loop.close()",
        "loop = asyncio.new_event_loop(); loop.run_until_complete(self.load()); loop.close()",
    ],
)
def test_a_setup_may_run_a_loop_of_its_own(worker: Start, setup: str) -> None:
    source, slots = model("async", "await asyncio.sleep(0)\nreturn self.loaded", setup=setup)
    source += """
    async def load(self):
        await asyncio.sleep(0)
        self.loaded = "loaded"
"""
    started = worker(source, slots=slots)
    assert started.ready()[-1]["type"] == "ready"
    assert started.predict()[-1]["output"] == "loaded"


def test_progress_without_a_line_end_costs_what_it_is_long(worker: Start) -> None:
    body = """
began = time.process_time()
for number in range(40_000): print(f"\\r{number:40}", end="")
return time.process_time() - began
"""
    started = start(worker, "serial", body)
    frames = started.predict()
    assert frames[-1]["output"] < 3
    assert len(logs(frames, "1")) == 40_000 * 41


@pytest.mark.parametrize("mode", MODES)
def test_an_endless_line_is_cut_before_it_is_kept(worker: Start, mode: str) -> None:
    body = """
for _ in range(400): sys.stdout.write("x" * 1_000_000)
import resource
return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
    started = start(worker, mode, body)
    frames = started.predict()
    assert frames[-1]["output"] < 100 * 1024
    text = logs(frames, "1")
    assert (text[:10], text[-10:-1]) == ("x" * 10, "MiB ****]"), text[-100:]


@pytest.mark.parametrize("mode", MODES)
def test_a_character_may_come_in_pieces(worker: Start, mode: str) -> None:
    body = """
for byte in "é€😀\\n".encode():
    sys.stdout.buffer.write(bytes([byte]))
    sys.stdout.flush()
sys.stdout.buffer.write("é".encode()[:1])
"""
    started = start(worker, mode, body)
    assert logs(started.predict(), "1") == "é€😀\n\ufffd"


@pytest.mark.parametrize("mode", ["threads", "async"])
def test_only_text_is_printed(worker: Start, mode: str) -> None:
    body = """
for _ in range(2000): print("flood")
try: sys.stdout.write(5)
except TypeError: return "refused"
"""
    started = start(worker, mode, body)
    frames = started.predict()
    assert frames[-1]["output"] == "refused"
    assert logs(frames, "1").count("flood") == 2000


METRICS = """
scope = current_scope()
if how == "finite": values = {"nan": float("nan"), "inf": float("-inf"), "huge": 10**400}
if how == "inner": values = {"list": [1.0, float("nan")], "dict": {"a": float("inf")}}
if how == "deep" or how == "deeper":
    value = 1
    for _ in range(100 if how == "deep" else 101): value = [value]
    values = {"deep": value}
if how == "large": values = {"large": "x" * 5_000_000}
for name, value in values.items(): scope.record_metric(name, value)
scope.record_metric("last", 1.5)
return "fine"
"""


def test_metrics_that_are_no_json_are_left_out_and_named(worker: Start) -> None:
    started = start(worker, "serial", METRICS)

    def recorded(how: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        frames = started.predict(how=how)
        return {frame["name"]: frame["value"] for frame in frames if frame["type"] == "metric"}, frames

    metrics, frames = recorded("finite")
    assert metrics == {"last": 1.5}
    assert [f"metric '{name}' is" in logs(frames, "1") for name in ("nan", "inf", "huge")] == [True] * 3
    metrics, _ = recorded("inner")
    assert metrics == {"list": [1.0, None], "dict": {"a": None}, "last": 1.5}
    assert recorded("deep")[1][-1]["output"] == "fine"
    assert "nested at most 100 levels" in recorded("deeper")[1][-1]["error"]
    assert "is larger than" in recorded("large")[1][-1]["error"]


CHECKS = """
import cog, os, sys, threading, time
class numpy_like: pass
class Runner:
    {keyword} healthcheck(self):
        {body}
    {run} run(self): return threading.active_count()
"""


@pytest.mark.parametrize("run", ["def", "async def"])
@pytest.mark.parametrize(
    ("keyword", "body", "error"),
    [
        ("def", "import numpy; return numpy.bool_(False)", "returned False"),
        ("def", "import numpy; return numpy.bool_(True)", None),
        ("async def", "sys.exit(3)", "SystemExit: 3"),
        ("def", "sys.exit(3)", "SystemExit: 3"),
        ("def", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_what_a_health_check_says(worker: Start, run: str, keyword: str, body: str, error: str | None) -> None:
    if "numpy" in body:
        pytest.importorskip("numpy")
    started = worker(CHECKS.format(keyword=keyword, body=body, run=run))
    assert started.ready()[-1]["type"] == "ready"
    for number in (1, 2):
        started.send(type="healthcheck", seq=number)
        answer = started.until("health")[-1]
        assert (answer["seq"], answer["ok"]) == (number, error is None)
        assert error is None or error in answer["error"]
    assert started.predict()[-1]["status"] == "succeeded"


@pytest.mark.parametrize("run", ["def", "async def"])
def test_a_health_check_that_hangs_keeps_one_thread(worker: Start, run: str) -> None:
    started = worker(CHECKS.format(keyword="def", body="time.sleep(60)", run=run))
    assert started.ready()[-1]["type"] == "ready"
    threads = []
    for number in (1, 2):
        started.send(type="healthcheck", seq=number)
        answer = started.until("health")[-1]
        assert "timed out after 5.0 seconds" in answer["error"]
        # The thread that answered may take a moment to end.
        counts = [started.predict(10 * number + again)[-1]["output"] for again in range(10)]
        threads.append(min(counts))
    assert threads[1] <= threads[0]


def test_an_async_health_check_that_hangs_is_answered_in_time(worker: Start) -> None:
    body = """
        import asyncio
        while True:
            try: await asyncio.sleep(60)
            except asyncio.CancelledError: pass"""
    started = worker(CHECKS.format(keyword="async def", body=body.strip(), run="async def"))
    assert started.ready()[-1]["type"] == "ready"
    began = time.monotonic()
    for number in (1, 2):
        started.send(type="healthcheck", seq=number)
        assert "timed out" in started.until("health")[-1]["error"]
    assert time.monotonic() - began < 12


def test_children_of_multiprocessing_do_not_hold_up_the_end(worker: Start) -> None:
    more = "import atexit, multiprocessing"
    setup = """self.child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        self.child.start()
        atexit.register(lambda: open("asked", "w").write(str(self.child.is_alive())))"""
    started = start(worker, "serial", "return self.child.pid", more, setup)
    child = started.predict()[-1]["output"]
    started.send(type="shutdown")
    began = time.monotonic()
    assert started.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert (started.directory / "asked").read_text() == "True", "the model's own handlers come first"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


REWRITES = """
for size in (0, 1, 1000, 70_000, 20_000_000):
    with open("out.bin", "wb") as file: file.write(bytes([size % 251]) * size)
    made = open("out.bin", "rb") if how == "open" else Path("out.bin")
    yield [made, "text"] if how == "list" else made
os.unlink("out.bin")
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["", "list", "open"])
def test_yielded_files_are_as_they_were_then(worker: Start, mode: str, how: str) -> None:
    started = start(worker, mode, REWRITES)
    (started.directory / "scratch").mkdir()
    frames = started.predict(how=how)
    assert frames[-1]["status"] == "succeeded"
    values = [frame["value"] for frame in frames if frame["type"] == "chunk"]
    files = [(value[0] if how == "list" else value)["__cog_file__"] for value in values]
    contents = [Path(file["path"]).read_bytes() for file in files]
    assert [(len(content), set(content)) for content in contents] == [
        (size, {size % 251} if size else set()) for size in (0, 1, 1000, 70_000, 20_000_000)
    ]
    assert [(file["name"], file["delete"]) for file in files] == [("out.bin", True)] * 5
    assert {os.stat(file["path"]).st_mode & 0o777 for file in files} == {0o600}
    assert Path(files[-1]["path"]).parent.name == "scratch", "a large one is on disk"


def test_a_canceled_stream_of_files_leaves_none(worker: Start) -> None:
    body = """
open("out.bin", "wb").write(b"x" * 5000)
while True: yield [Path("out.bin")] * 20
"""
    started = start(worker, "serial", body)
    for number in range(20):
        started.send(type="predict", id=str(number), input={}, context={}, files={})
        frames = started.until("chunk")
        time.sleep(number / 3000)
        started.cancel_by_signal()
        while frames[-1]["type"] != "done":
            frames.append(started.receive())
        for frame in frames:
            for value in frame.get("value", []):
                Path(value["__cog_file__"]["path"]).unlink()
        assert list((started.directory / "spill").iterdir()) == []


def test_what_the_worker_makes_is_private(worker: Start) -> None:
    body = """
os.umask(0)
if how == "scratch": return str(current_scope().scratch_dir)
return {"spill": ["x" * 3_000_000], "text": "x" * 3_000_000, "open": io.BytesIO(b"x")}[how]
"""
    started = start(worker, "serial", body)
    made = [started.predict(how=how)[-1] for how in ("spill", "text", "open", "scratch")]
    paths = [made[0]["output_file"], made[1]["output_file"], made[2]["output"]["__cog_file__"]["path"]]
    assert [os.stat(path).st_mode & 0o777 for path in paths] == [0o600] * 3
    assert os.stat(made[3]["output"]).st_mode & 0o777 == 0o700


def test_a_handler_of_the_model_tears_no_frame(worker: Start) -> None:
    more = """
def ring(*_): print("ring"); raise TimeoutError("ring")
"""
    body = """
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
rung = 0
until = time.monotonic() + 1
while time.monotonic() < until:
    try:
        while True: print("x" * 50_000)
    except TimeoutError: rung += 1
signal.setitimer(signal.ITIMER_REAL, 0)
return rung
"""
    started = start(worker, "serial", body, more)
    frames = started.predict()
    assert frames[-1].get("output", 1) > 0, frames[-1]
    lines = logs(frames, "1").split("\n")
    assert started.predict(2)[-1]["type"] == "done"
    assert "ring" in lines


def test_the_models_own_cancel_handler_is_its_own(worker: Start) -> None:
    body = """
signal.signal(signal.SIGUSR1, lambda *_: print("mine"))
os.kill(os.getpid(), signal.SIGUSR1)
return "fine"
"""
    started = start(worker, "serial", body)
    frames = started.predict()
    assert (frames[-1]["output"], logs(frames, "1")) == ("fine", "mine\n")
    started.process.send_signal(signal.SIGUSR1)
    assert started.predict(2)[-1]["output"] == "fine"

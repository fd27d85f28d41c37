"""Processes, logs, crashes and shutdown: cases 61, 62, 70, 71 of the runtime specification, and its section 14."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from harness.waiting import eventually

if TYPE_CHECKING:
    from conftest import Serve
    from harness.server import Server

DROPPED = re.compile(r"Log production exceeds consumption rate. [1-9]\d* logs dropped in last 5.0s")


def test_case_61_talkative_child(serve: Serve) -> None:
    server = serve("children.py:Printer")
    for count in (1, 2, 3):
        assert server.output() == count
    eventually("the child's lines in the server's log", lambda: "child error 99" in str(server.log), 5)


def test_case_62_detached_child_with_a_mailbox(serve: Serve) -> None:
    server = serve("children.py:Mailbox")
    assert [server.output(s=s) for s in ("one", "two", "three")] == ["ONE", "TWO", "THREE"]


def test_case_62_detached_child_with_a_port(serve: Serve) -> None:
    server = serve("children.py:HttpServer")
    assert [server.output(s=s) for s in ("one", "two", "three")] == ["/ONE", "/TWO", "/THREE"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_section_05_multiprocessing(serve: Serve, method: str) -> None:
    assert serve("children.py:Pool").output(method=method) == [0, 2, 4]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_section_05_child_can_be_terminated(serve: Serve, method: str) -> None:
    assert serve("children.py:Terminates").output(method=method) == -signal.SIGTERM


def test_section_14_output_past_python(serve: Serve) -> None:
    server = serve("children.py:RawOutput")
    assert server.output() == "written"
    for line in ("raw line", "child line", "child error"):
        eventually(f"`{line}` in the server's log", lambda line=line: line in str(server.log), 5)


def test_section_14_logs(shared: Serve) -> None:
    server = shared("handlers.py:Prints")
    assert server.predict()["logs"] == "out\nerr\nlast\n"


def test_section_14_text_without_end_of_line(shared: Serve) -> None:
    server = shared("handlers.py:Prints")
    assert [server.predict(end="")["logs"].rstrip("\n") for _ in range(2)] == ["out\nerr\nlast"] * 2


def test_section_14_threads(shared: Serve) -> None:
    done = shared("classes.py:Threads").predict()
    assert done["logs"] == "from a thread\n"
    assert done["metrics"]["threads"] == 1


def test_section_14_streams_are_files(shared: Serve) -> None:
    output = shared("classes.py:Streams").output()
    assert output["tty"] is False
    assert output["encoding"] == "utf-8"
    assert isinstance(output["fd"], int)


@pytest.mark.parametrize("size", [(4 << 20) - 100, 5 << 20])
def test_section_14_long_line(shared: Serve, size: int) -> None:
    logs = shared("handlers.py:LongLine").predict(size=size)["logs"]
    # Whether the mark counts, and whether a new line follows it, is left open.
    found = re.fullmatch(r"before\n(x+)(\[\*{4} LOG LINE TRUNCATED AT 4 MiB \*{4}\])?\n?after\n", logs)
    assert found, logs[:10] + logs[-100:]
    kept, mark = found.groups()
    if size < 4 << 20:
        assert (len(kept), mark) == (size, None)
    else:
        assert mark
        assert (4 << 20) - 100 < len(kept) <= 4 << 20


# More than a server may keep, and no more than a second's work.
FLOOD_LINES = 60_000


def flood(server: Server) -> None:
    """Has a child print a lot while nobody reads the server's log."""
    server.log.hold()
    pending = server.begin(lines=FLOOD_LINES)
    pending.connection.sock.settimeout(20)
    assert pending.answer().expect(200)["output"] == "written"


def test_section_14_model_does_not_wait_for_the_log(serve: Serve) -> None:
    server = serve("children.py:Flood")
    flood(server)
    assert server.status() == "READY"
    assert server.output(lines=1) == "written"


def test_section_14_dropped_lines_are_reported(serve: Serve) -> None:
    server = serve("children.py:Flood")
    flood(server)
    server.log.release()

    def has_all_or_says_so() -> bool:
        log = server.log.lines[:]
        return sum("flood " in line for line in log) == FLOOD_LINES or any(map(DROPPED.search, log))

    eventually("all lines, or a word about those that are lost", has_all_or_says_so, 10)


@pytest.fixture
def crashed(serve: Serve) -> Server:
    server = serve("handlers.py:Dies")
    assert server.failure().startswith("Worker crashed")
    return server


def test_case_70_killed_worker(crashed: Server) -> None:
    assert crashed.get("/").status == 200
    assert crashed.get("/health-check").status == 200
    assert crashed.post("/shutdown").expect(200) == {}
    assert crashed.until_exit() == 0


def test_case_70_killed_worker_makes_the_server_defunct(crashed: Server) -> None:
    crashed.until_status("DEFUNCT", seconds=2)
    assert crashed.post("/predictions", {"input": {}}).status == 503


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_case_71_signal(serve: Serve, number: signal.Signals) -> None:
    server = serve("handlers.py:Sleeps")
    pending = server.begin(seconds=1)
    server.until_file("running")
    server.signal(number)
    eventually("refused connections", server.refuses_connections, 0.8)
    assert pending.answer().expect(200)["output"] == "slept"
    assert server.until_exit() == 0


def test_case_71_signal_during_setup(start: Serve) -> None:
    server = start("setups.py:Gated")
    server.until_file("pid")
    server.signal(signal.SIGTERM)
    server.until_exit(10)


# Whatever the value says.
@pytest.mark.parametrize("value", ["true", "false"])
def test_case_71_explicit_shutdown(serve: Serve, value: str) -> None:
    server = serve("echo.py:Runner", arguments=("--await-explicit-shutdown", value))
    for _ in range(2):
        server.signal(signal.SIGTERM)
        time.sleep(0.1)
    assert server.output(s="x") == "hello x"
    assert server.post("/shutdown").expect(200) == {}
    assert server.until_exit() == 0

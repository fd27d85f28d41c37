"""Models that raise, hang, fork, close their streams, set signals and die, at random.

Whatever they do: every prediction that was accepted ends exactly once, its slot is free, health says what is true, and
nothing is left over. `COG_FAULTS_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter

from client import Closed, Connection
from server import Failure, Server, check, serving

ACTIONS = """
import asyncio, contextlib, ctypes, gc, io, json, os, signal, sys, threading, time
import cog
from cog import BaseRunner, Path, current_scope

class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")

class Loud:
    def __del__(self):
        print("finalized")
        raise RuntimeError("not yet")

class Hangs:
    def __del__(self): time.sleep(0.2)

class Items(list):
    def __iter__(self): raise SystemExit("no items")

def ring(*_): raise TimeoutError("rung")

def leave(how):
    if how == "exit": sys.exit(3)
    if how == "raise": raise Mute
    return how

def fork(how):
    child = os.fork()
    if not child: return leave(how)
    os.waitpid(child, 0)

def garbage():
    loud = Loud(); loud.self = loud
    del loud
    gc.collect()

def rung():
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.002)

def endless(): return endless()

async def in_a_loop():
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(lambda: time.sleep(0.05))
    await asyncio.sleep(0.01)

def nested(depth):
    value = 1
    for _ in range(depth): value = [value]
    return value

#: What is over when it has been done. Those of `DEADLY` end the process.
def do(action):
    scope = current_scope()
    if action == "print": print("line")
    if action == "bits": sys.stdout.buffer.write(b"\\xc3"); sys.stdout.flush()
    if action == "progress": print("\\r50 %", end="", file=sys.stderr)
    if action == "flood": [print(number) for number in range(2000)]
    if action == "raise": raise ValueError("as it was told")
    if action == "mute": raise Mute
    if action == "exit": sys.exit(3)
    if action == "interrupt": raise KeyboardInterrupt
    if action == "canceled": raise cog.CancelationException
    if action == "recursion": endless()
    if action == "close": sys.stderr = io.StringIO(); sys.stderr.close()
    if action == "none": sys.stdout = None
    if action == "detach": sys.stdout.buffer.detach()
    if action == "descriptors": os.close(1); os.close(2)
    if action == "metric": scope.record_metric("m", float("nan")); scope.record_metric("d", nested(300))
    if action == "scope": scope.metrics = None
    if action == "scratch": (scope.scratch_dir / "file").write_text("x" * 10_000)
    if action == "garbage": garbage()
    if action == "alarm": rung()
    if action == "usr1": signal.signal(signal.SIGUSR1, lambda *_: None)
    if action == "mask": signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
    if action == "term": signal.signal(signal.SIGTERM, ring)
    if action == "thread": threading.Thread(target=print, args=("from a thread",), daemon=True).start()
    if action == "crash": threading.Thread(target=sys.exit, daemon=True).start()
    if action == "die": os._exit(3)
    if action == "killed": os.kill(os.getpid(), signal.SIGKILL)
    if action == "abort": ctypes.string_at(0)

def given(action):
    scope = current_scope()
    if action == "file":
        path = scope.scratch_dir / "out.bin"
        path.write_bytes(os.urandom(20_000))
        return Path(path)
    if action == "missing": return Path("/no/such/file")
    if action == "open": return io.BytesIO(b"x" * 3_000)
    if action == "large": return "x" * 2_000_000
    if action == "items": return Items([1])
    if action == "strange": return object()
    if action == "surrogate": return "\\ud800"
"""
SYNC = """
class Runner(BaseRunner):
    DECORATOR
    def run(self, id: str, seconds: float = 0.0, size: int = 0, file: Path = None):
        if not id.startswith("["): return id
        return self.act(json.loads(id))

    def act(self, actions):
        for action in actions:
            if action == "hang":
                while True: time.sleep(0.005)
            if action == "stubborn":
                with contextlib.suppress(BaseException):
                    while True: time.sleep(0.005)
            if action == "hanging finalizer": Hangs()
            if action == "loop": asyncio.run(in_a_loop())
            if action.startswith("fork"):
                left = fork(action[5:])
                if left: return left
            do(action)
            yield given(action)
"""
ASYNC = """
class Runner(BaseRunner):
    async def run(self, id: str, seconds: float = 0.0, size: int = 0, file: Path = None):
        if not id.startswith("["):
            yield id
            return
        loop = asyncio.get_running_loop()
        for action in json.loads(id):
            if action == "hang": await asyncio.sleep(3600)
            if action == "stubborn":
                with contextlib.suppress(BaseException): await asyncio.sleep(3600)
            if action == "task": self.task = loop.create_task(self.leaves())
            if action == "stop": loop.stop()
            if action == "all": [task.cancel() for task in asyncio.all_tasks()]
            if action == "callback": loop.call_soon(sys.exit)
            if action.startswith("fork"):
                if fork(action[5:]): return
            do(action)
            await asyncio.sleep(0)
            yield given(action)

    async def leaves(self): sys.exit(3)
"""

HARMLESS = ["print", "bits", "progress", "flood", "metric", "scratch", "garbage", "thread", "crash", "file", "large"]
FAILING = ["raise", "mute", "exit", "interrupt", "canceled", "recursion", "missing", "items", "strange", "surrogate"]
BREAKING = ["close", "none", "scope", "open", "fork return", "fork exit", "fork raise"]
SIGNALS = ["alarm", "usr1", "mask", "term"]
HANGING = ["hang", "stubborn"]
DEADLY = ["die", "killed", "abort", "descriptors", "detach"]
LOOPS = ["task", "stop", "all", "callback"]

#: Models, the slots of each, and what they do beside what all do.
MODELS = {
    "serial": (ACTIONS + SYNC.replace("DECORATOR", ""), 1, [*SIGNALS, "loop", "hanging finalizer"]),
    "threads": (ACTIONS + SYNC.replace("DECORATOR", "@cog.concurrent(max=3, threads=True)"), 3, ["loop"]),
    "async": (ACTIONS + ASYNC, 3, LOOPS),
}
GRACE = 2.0
TERMINAL = ("succeeded", "failed", "canceled")


async def run(quick: bool) -> str:
    seed = int(os.environ.get("COG_FAULTS_SEED") or random.randrange(1 << 32))
    seconds = 6.0 if quick else 60.0
    try:
        counts = await asyncio.gather(*(misbehave(name, f"{seed} {name}", seconds) for name in MODELS))
    except Exception as error:
        raise Failure(f"with COG_FAULTS_SEED={seed}: {error!r}") from error
    ended = sum(counts, Counter[str]())
    check(all(ended[status] for status in TERMINAL), f"some ending never happened: {ended}")
    told = ", ".join(f"{ended[status]} {status}" for status in TERMINAL)
    return f"{sum(ended.values())} predictions ended once each ({told}); seed {seed}"


async def misbehave(name: str, seed: str, seconds: float) -> Counter[str]:
    model, slots, more = MODELS[name]
    with serving(model, slots=slots, COG_CANCEL_GRACE=str(GRACE), COG_LOG_LEVEL="error") as server:
        rest = await server.rest()
        calls = Calls()
        await calls.start()
        choose = random.Random(seed)
        deadline = time.monotonic() + seconds
        clients = [
            Client(server, calls, f"{name}-{number}", random.Random(choose.random()), more)
            for number in range(slots + 1)
        ]
        await asyncio.gather(*(client.work(deadline) for client in clients))
        accepted = {prediction for client in clients for prediction in client.accepted}
        await server.until("every end", lambda: accepted <= calls.ended.keys(), GRACE + 20)
        await rest.check()
        calls.close()
        odd = {prediction: times for prediction, times in calls.times.items() if times != 1}
        check(not odd, f"these did not end once: {odd}")
        check(
            set(calls.ended) == accepted,
            f"these ended though nobody had been told of them: {set(calls.ended) - accepted}",
        )
        server.patience = 15
        return Counter(calls.ended.values())


class Client:
    """Sends one script after another, and cancels some."""

    def __init__(self, server: Server, calls: Calls, name: str, choose: random.Random, more: list[str]) -> None:
        self.server = server
        self.calls = calls
        self.name = name
        self.choose = choose
        self.more = more
        self.accepted: set[str] = set()

    async def work(self, deadline: float) -> None:
        number = 0
        while time.monotonic() < deadline:
            number += 1
            await self.predict(f"{self.name}-{number}", self.script())

    def script(self) -> list[str]:
        kinds = [HARMLESS, BREAKING, self.more, FAILING, HANGING, DEADLY]
        weights = [10, 3, 4, 3, 2, 0.4]
        lengths = self.choose.randint(1, 6)
        return [self.choose.choice(kind) for kind in self.choose.choices(kinds, weights, k=lengths)]

    async def predict(self, prediction: str, script: list[str]) -> None:
        envelope = {"id": prediction, "input": {"id": json.dumps(script)}}
        envelope |= {"webhook": self.calls.url, "webhook_events_filter": ["completed"]}
        connection = await Connection.open(self.server.port)
        try:
            answer = await connection.request(
                "POST", "/predictions", json.dumps(envelope).encode(), {"Prefer": "respond-async"}
            )
            if answer.status in (409, 503):
                await asyncio.sleep(0.02)
                return
            check(answer.status == 202, f"odd answer: {answer.status} {answer.body!r}")
            self.accepted.add(prediction)
            if set(script) & set(HANGING) or self.choose.random() < 0.2:
                await asyncio.sleep(self.choose.uniform(0, 0.3))
                await connection.request("POST", f"/predictions/{prediction}/cancel")
            await self.server.until(f"the end of {prediction}: {script}", lambda: prediction in self.calls.ended, 30)
        except Closed as closed:
            raise Failure(f"no answer for {script}: {closed}") from closed
        finally:
            connection.close()


class Calls:
    """Takes the webhooks, and counts how often each prediction has ended."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}
        self.times: Counter[str] = Counter()

    async def start(self) -> None:
        self.listener = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}/"

    def close(self) -> None:
        self.listener.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One call for a connection: none is left open for the next.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            self.times[body["id"]] += 1
            self.ended[body["id"]] = body["status"]
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

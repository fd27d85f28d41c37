"""Processes started in setup that outlive every prediction."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cog import BaseRunner

PRINTER = """
import signal, sys, time
count = 0
def speak(*_):
    global count
    for n in range(100):
        print(f"child line {n}", flush=True)
        print(f"child error {n}", file=sys.stderr, flush=True)
    count += 1
    open("spoken", "w").write(str(count))
signal.signal(signal.SIGUSR1, speak)
open("listening", "w").close()
while True:
    time.sleep(0.05)
"""

MAILBOX = """
import os, time
while True:
    if os.path.exists("inbox"):
        text = open("inbox").read()
        os.unlink("inbox")
        open("reply", "w").write(text.upper())
        os.rename("reply", "outbox")
    time.sleep(0.01)
"""

HTTP_SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.path.upper().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
open("reply", "w").write(str(server.server_address[1]))
os.rename("reply", "port")
server.serve_forever()
"""


def wait_for(name: str) -> Path:
    deadline = time.monotonic() + 20
    while not Path(name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)
    return Path(name)


def start_detached(code: str) -> None:
    """By a double fork, as daemons do it: the child's parent has gone."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c", code])


class Printer(BaseRunner):
    def setup(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-c", PRINTER])
        wait_for("listening")

    def run(self) -> int:
        self.child.send_signal(signal.SIGUSR1)
        count = int(wait_for("spoken").read_text() or 0)
        Path("spoken").unlink()
        return count


class Mailbox(BaseRunner):
    def setup(self) -> None:
        start_detached(MAILBOX)

    def run(self, s: str) -> str:
        Path("draft").write_text(s)
        Path("draft").rename("inbox")
        outbox = wait_for("outbox")
        text = outbox.read_text()
        outbox.unlink()
        return text


class HttpServer(BaseRunner):
    def setup(self) -> None:
        start_detached(HTTP_SERVER)
        self.port = wait_for("port").read_text()

    def run(self, s: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{s}", timeout=5) as answer:
            return answer.read().decode()


def double(n: int) -> int:
    print(f"doubling {n}")
    return 2 * n


class Pool(BaseRunner):
    """Functions of the model's module in processes of both kinds."""

    def run(self, method: str) -> list[int]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(double, range(3))


class RawOutput(BaseRunner):
    """Writes past Python's streams."""

    def run(self) -> str:
        os.write(1, b"raw line\n")
        subprocess.run(["sh", "-c", "echo child line; echo child error >&2"], check=True)
        return "written"


FLOOD = """
import sys
for n in range(int(sys.argv[1])):
    print(f"flood {n:08}" + "." * 86)
"""


class Flood(BaseRunner):
    """Has a process write lines of a hundred bytes, as fast as it can."""

    def run(self, lines: int) -> str:
        subprocess.run([sys.executable, "-c", FLOOD, str(lines)], check=True)
        return "written"


class Terminates(BaseRunner):
    """Starts a process that would never end, and ends it."""

    def run(self, method: str) -> int:
        child = multiprocessing.get_context(method).Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join()
        return child.exitcode

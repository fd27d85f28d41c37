"""`make soak`: half a million predictions, after which the server is as large as it was after the first of them.

Exits with 1 if the resident memory of the server or the worker in the last tenth is more than 5 % away from the second
tenth, or if anything is left open. The first tenth warms up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time

from client import Connection
from server import Failure, Server, check, coglet_binary, serving

ECHO = """
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, id: str, file: str = None) -> str:
        return id
"""
SAMPLES = 1000
TOLERANCE = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", nargs="?", type=int, default=500_000)
    arguments = parser.parse_args()
    print(f"soak: {coglet_binary()}", flush=True)
    try:
        print(asyncio.run(soak(arguments.predictions)))
    except Failure as failure:
        print(f"FAILED: {failure}")
        return 1
    return 0


async def soak(count: int) -> str:
    with serving(ECHO) as server:
        rest = await server.rest()
        worker = server.worker()
        started = time.monotonic()
        samples = await predict(server, count)
        seconds = time.monotonic() - started
        check(server.worker() == worker, "the worker has been replaced")
        await rest.check()
        descriptors = server.descriptors()
    lines = [f"{count} predictions in {seconds:.0f} s, {count / seconds:.0f} a second; {descriptors} descriptors"]
    lines += [judge("server", [server for server, _ in samples]), judge("worker", [worker for _, worker in samples])]
    return "\n".join(lines)


async def predict(server: Server, count: int) -> list[tuple[int, int]]:
    """One after another, each a little different. Returns the memory of server and worker over time."""
    connection = await Connection.open(server.port)
    worker = server.worker()
    samples = []
    for number in range(count):
        name = f"{number} " + "x" * (number % 100)
        answer = await connection.request("POST", "/predictions", json.dumps({"input": {"id": name}}).encode())
        check(answer.status == 200, f"prediction {number}: {answer.status} {answer.body!r}")
        check(answer.json()["output"] == name, f"prediction {number}: {answer.body!r}")
        if number % max(1, count // SAMPLES) == 0:
            samples.append((server.resident(), server.resident(worker)))
    connection.close()
    return samples


def judge(what: str, sizes: list[int]) -> str:
    tenth = max(1, len(sizes) // 10)
    second, last = statistics.mean(sizes[tenth : 2 * tenth]), statistics.mean(sizes[-tenth:])
    change = last / second - 1
    figures = f"{what}: {second / 2**20:.2f} MiB in the second tenth, {last / 2**20:.2f} MiB in the last, {change:+.2%}"
    check(abs(change) <= TOLERANCE, figures)
    return figures


if __name__ == "__main__":
    sys.exit(main())

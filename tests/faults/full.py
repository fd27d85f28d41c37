"""No space left: for input files, for large values, in memory and on disk."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from server import Rest, Server, Skip, check, serving

MEBIBYTE = 1 << 20


async def run(quick: bool) -> str:
    namespaces()
    disk = await full_disk()
    memory = await full_memory()
    return f"full disk: {disk} predictions failed with the reason; full /dev/shm: {memory}; nothing left behind"


def namespaces() -> list[str]:
    """A command that gives the next one file systems of its own."""
    if shutil.which("unshare") is None:
        raise Skip("no `unshare` here")
    options = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    trial = ["unshare", *options, "mount", "-t", "tmpfs", "none", "/dev/shm"]
    if subprocess.run(trial, capture_output=True).returncode != 0:
        raise Skip("mounting a tmpfs in a namespace of our own is not allowed here")
    return ["unshare", *options]


def with_sizes(shared_memory: str, disk: str) -> list[str]:
    mounts = [f"mount -t tmpfs -o size={shared_memory} none /dev/shm", f'mount -t tmpfs -o size={disk} none "$TMPDIR"']
    return [*namespaces(), "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]


async def full_disk() -> int:
    """Too little for anything, in memory too: so large values go to the disk."""
    with serving(prefix=with_sizes("1m", "512k")) as server:
        rest = await server.rest()
        large = "data:application/octet-stream;base64," + base64.b64encode(bytes(MEBIBYTE)).decode()
        failures = 0
        cases: list[tuple[str, dict[str, Any]]] = [
            ("an input file", {"file": large}),
            ("a large input", {"id": "x" * 2 * MEBIBYTE}),
            ("a large output", {"size": 2 * MEBIBYTE}),
        ]
        for name, case in cases:
            for attempt in range(3):
                await expect_no_space(server, name, {"id": f"{name} {attempt}", **case})
                failures += 1
        await rest.check()
        check(server.worker() is not None, "no worker")
        return failures


async def full_memory() -> str:
    """Room at the start, taken by somebody else later."""
    with serving(prefix=with_sizes("300m", "64m")) as server:
        rest = await server.rest()
        worker = server.worker()
        shared = Path(f"/proc/{server.pid}/root/dev/shm")
        filler = shared / "somebody-elses"
        fill(filler)
        await either_way(server, rest)
        check(server.worker() == worker, "the worker has died")
        # A worker that starts now finds its place elsewhere.
        server.signal_worker(signal.SIGKILL)
        await server.until("a new worker", lambda: server.worker() not in (None, worker))
        await server.until_status("READY")
        for case in ({"id": "x" * 2 * MEBIBYTE}, {"id": "large output", "size": 2 * MEBIBYTE}):
            answer = (await server.predict(**case)).json()
            check(answer["status"] == "succeeded", f"no other place was found: {str(answer)[:300]}")
        filler.unlink()
        await rest.check()
    return "told, then avoided by the next worker"


async def either_way(server: Server, rest: Rest) -> None:
    for attempt in range(3):
        await expect_no_space(server, "a large input", {"id": f"{attempt}" + "x" * 2 * MEBIBYTE})
        await expect_no_space(server, "a large output", {"id": f"large {attempt}", "size": 2 * MEBIBYTE})
    await rest.check()


async def expect_no_space(server: Server, what: str, input_: dict[str, Any]) -> None:
    worker = server.worker()
    answer = await server.predict(**input_)
    check(answer.status == 200, f"{what}: {answer.status} {answer.body[:200]!r}")
    prediction = json.loads(answer.body)
    check(prediction["status"] == "failed", f"{what}: {prediction['status']} though nothing could be written")
    check("No space left" in prediction["error"], f"{what}: the error does not say why: {prediction['error'][:300]}")
    check(server.worker() == worker, f"{what}: the worker has died")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MEBIBYTE))
        except OSError:
            return

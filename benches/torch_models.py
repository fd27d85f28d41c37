"""The rows of models with torch and its CUDA wheels: gigabytes that have to be laid down once, and not again."""

from __future__ import annotations

import json
import os
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import COG, REPOSITORY, Row, medians, run

ROUNDS = 3
SAMPLE_SECONDS = 0.05
CORPUS = REPOSITORY / "tests/corpus/projects.jsonl"

# The default index has it for CUDA 12.4 (`COG_TORCH_INDEX=default`): PyTorch's own index need not be reached.
REQUIREMENTS = "torch==2.5.1\nnumpy==1.26.4\n"
CONFIG = 'build:\n  gpu: true\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: run.py:Model\n'
MODEL = """\
import torch
from cog import BaseModel


class Model(BaseModel):
    def setup(self) -> None:
        self.weight = torch.ones(4)

    def run(self, by: float) -> float:
        return float((self.weight * by).sum())
"""


@dataclass
class Watched:
    """What a command took: seconds, peak MiB of all its processes together, and its longest silence in seconds."""

    seconds: float
    memory: float
    silence: float


def project(path: Path, extra: str = "") -> Path:
    path.mkdir()
    (path / "cog.yaml").write_text(CONFIG)
    (path / "requirements.txt").write_text(REQUIREMENTS + extra)
    (path / "run.py").write_text(MODEL)
    return path


def watched(command: list[str | Path], cwd: Path, env: dict[str, str]) -> Watched:
    """Runs a command that must succeed, and watches what its processes hold and when it says something."""
    started = said = time.perf_counter()
    silence = memory = 0.0
    output = b""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(SAMPLE_SECONDS):
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                output += chunk
                silence = max(silence, time.perf_counter() - said)
                said = time.perf_counter()
            memory = max(memory, tree_memory(process.pid))
    silence = max(silence, time.perf_counter() - said)
    if process.wait():
        sys.exit(f"{' '.join(map(str, command))} failed with {process.returncode}:\n{output.decode()}")
    return Watched(time.perf_counter() - started, memory, silence)


def tree_memory(root: int) -> float:
    """MiB that a process and its descendants hold themselves: pages of files are the kernel's to drop."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting.extend(map(int, (task / "children").read_text().split()))
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1])
    return total / 1024


def rows(
    work: Path,
    env: dict[str, str],
    docker_build: Callable[[Path], None] | None,
    import_seconds: Callable[[Path, str], float],
) -> Iterator[Row]:
    first = project(work / "torch")
    build = [COG, "build", "-t", "bench-torch:latest"]
    print("preparing: downloads torch and its CUDA wheels, for this tool and for its peer", flush=True)
    run(build, cwd=first, env=env)

    found: list[Watched] = []

    def ours() -> None:
        found.append(watched([*build, "--no-cache"], first, env))
        print(f"  built in {found[-1].seconds:.1f} s", flush=True)

    name = "first build with torch and CUDA wheels, downloads cached"
    if docker_build:
        docker_build(first)
        mine, peer = medians(ROUNDS, ours, lambda: docker_build(first))
        yield Row(name, mine, peer, "docker build, pip cache mount", 1 / 2.5)
    else:
        (mine,) = medians(ROUNDS, ours)
        yield Row(name, mine)
    yield Row("the same: peak memory", max(one.memory for one in found), 500, "limit", 1.0, "MiB")
    yield Row("the same: longest silence", max(one.silence for one in found), 2, "limit", 1.0)

    seconds = []
    for number in range(ROUNDS):
        other = project(work / f"torch-{number}", f"tqdm==4.66.{number + 1}\n")
        seconds.append(watched([COG, "build", "-t", f"bench-torch-{number}:latest"], other, env).seconds)
    yield Row("second model with the same torch", statistics.median(seconds), mine, "the first", 0.15)

    times: list[float] = []
    predict = lambda: run([COG, "run", "-iby=2"], cwd=first, env=env)
    bare = lambda: times.append(import_seconds(first, "import cog, torch"))
    predict(), bare()
    times.clear()
    mine, _ = medians(ROUNDS * 3, predict, bare)
    limit = statistics.median(times) + 0.06
    yield Row("cog run with torch against import + 0.06 s", mine, limit, "limit", 1.0)


def planning(work: Path, env: dict[str, str]) -> Iterator[Row]:
    """The slowest of all public projects: a whole process from its start to the printed plan, refusals too."""
    slowest = 0.0
    for line in CORPUS.read_text().splitlines():
        facts = json.loads(line)
        folder = work / f"corpus-{facts['id']}"
        folder.mkdir()
        build = {
            "gpu": bool(facts["gpu"]),
            "python_version": facts["python_version"],
            "cuda": facts["cuda"],
            "system_packages": facts["system_packages"] or None,
            "python_requirements": "requirements.txt",
            "run": facts["run"] or None,
        }
        config = {"build": {key: value for key, value in build.items() if value}, "run": "run.py:Model"}
        (folder / "cog.yaml").write_text(json.dumps(config))
        (folder / "requirements.txt").write_text("\n".join(facts["requirements"]) + "\n")
        (folder / "run.py").write_text(MODEL)
        command = [str(COG), "debug", "--plan"]
        (taken,) = medians(
            ROUNDS,
            lambda: subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, check=False),
        )
        slowest = max(slowest, taken)
    yield Row("planning a public project, the slowest of all", slowest, 0.02, "limit", 1.0)

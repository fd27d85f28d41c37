"""The rows of images on their way: pushed to a registry, handed to Docker, pulled, and run from there.

Both tools speak with one registry of ours on this machine (Debian's `docker-registry`). Bytes that were sent are those
that the registry has gained.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness import COG, Row, free_port, listens, medians, run, seconds

if TYPE_CHECKING:
    from run import Bench

MEGABYTE = 1 << 20
START_LIMIT_SECONDS = 30
FILES = 20_000
LARGE_FILE = 500 * MEGABYTE
LARGE_IMAGE = int(os.environ.get("COG_BENCH_IMAGE_BYTES", 5_000 * MEGABYTE))


class Missing(Exception):
    """Why there is no registry to compare with."""


class Registry:
    """A registry on a port of this machine, without TLS, its data in a folder of ours."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            raise Missing("docker-registry is not installed (apt-get install docker-registry)")
        directory.mkdir()
        self.data = directory / "data"
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        settings = directory / "config.yml"
        settings.write_text(
            "version: 0.1\n"
            "log: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.data}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{self.host}'}}\n"
        )
        log = (directory / "log").open("w")
        self.process = subprocess.Popen([program, "serve", settings], stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not listens(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Missing(f"docker-registry does not start: see {directory / 'log'}")
            time.sleep(0.05)

    def stored(self) -> int:
        """Bytes of all blobs."""
        return sum(file.stat().st_size for file in self.data.rglob("blobs/**/data"))

    def gained(self, action: Callable[[], object]) -> int:
        before = self.stored()
        action()
        return self.stored() - before

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=START_LIMIT_SECONDS)


class Distribution:
    """Groups of rows about a registry."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.registry = Registry(bench.work / "registry")

    # What both tools do

    def push(self, name: str, store: Path | None = None) -> None:
        env = {"COG_CACHE_DIR": str(store)} if store else {}
        self.bench.cog("push", f"{self.registry.host}/ours/{name}", project=name, **env)

    def docker_push(self, name: str) -> None:
        docker = self.bench.docker
        assert docker is not None
        target = f"{self.registry.host}/theirs/{name}"
        docker("tag", f"peer-{name}", target)
        docker("push", target)

    def docker_build_and_push(self, name: str) -> None:
        self.bench.docker_build(self.bench.projects[name])
        self.docker_push(name)

    # Rows

    def push_after_a_change(self) -> Iterator[Row]:
        bench, name = self.bench, "classifier"
        touch = bench.line_changer(name)
        ours = lambda: (touch(), self.push(name))
        ours()
        if bench.docker:
            theirs = lambda: (touch(), self.docker_build_and_push(name))
            theirs()
            mine, peer = medians(bench.rounds, ours, theirs)
            yield Row(
                f"one-line change of {name}, built and pushed",
                mine,
                peer,
                "docker build && docker push",
                0.1,
            )
        sent = self.registry.gained(ours)
        yield Row(f"sent for a one-line change of {name}", sent / 1024, unit="KiB")

    def large_tree(self) -> Iterator[Row]:
        bench, name = self.bench, "large-tree"
        bench.projects[name] = project = large_tree(bench.work / name, bench.projects["hello-world"])
        bench.write_dockerfile(project)
        touch = bench.line_changer(name)
        build = lambda: bench.cog("build", "-t", f"bench-{name}:latest", project=name)
        # The second time, what was written a moment ago counts as settled.
        first = seconds(build)
        time.sleep(65)
        build()
        yield Row(f"first build with {FILES:,} files and 500 MB", first)
        ours = lambda: (touch(), build())
        if bench.docker:
            bench.docker_build(project)
            theirs = lambda: (touch(), bench.docker_build(project))
            mine, peer = medians(bench.rounds, ours, theirs)
            yield Row(f"one-line change beside {FILES:,} files and 500 MB", mine, peer, "docker build", 0.05)
            yield Row("the same", mine, 0.2, "limit", 1.0)
        self.push(name)
        sent = self.registry.gained(lambda: (touch(), self.push(name)))
        yield Row(f"sent for a one-line change beside {FILES:,} files", sent / 1024, unit="KiB")

    def handing_over(self) -> Iterator[Row]:
        bench, name = self.bench, "classifier"
        if not bench.docker:
            return
        touch = bench.line_changer(name)
        load = lambda: bench.cog(
            "build", "-t", f"bench-{name}:latest", "--load", "docker", project=name, **bench.docker.env
        )
        load()
        ours = lambda: (touch(), load())
        theirs = lambda: (touch(), bench.docker_build(bench.projects[name]))
        theirs()
        mine, peer = medians(bench.rounds, ours, theirs)
        yield Row("one-line change until `docker run` sees it", mine, peer, "docker build", 0.2)

    def shared_wheels(self) -> Iterator[Row]:
        """A second model with the packages of a first that was pushed."""
        bench = self.bench
        for name in ("first", "second"):
            bench.projects[name] = project = bench.work / name
            shutil.copytree(bench.projects["classifier"], project)
            (project / "run.py").write_text((project / "run.py").read_text() + f"\n# {name}\n")
        self.push("first")
        sent = self.registry.gained(lambda: self.push("second"))
        yield Row("sent for a second model with the same packages", sent / 1024, unit="KiB")

    def large_image(self) -> Iterator[Row]:
        """An image that is mostly one file that cannot be compressed, pushed to an empty place and pulled again."""
        bench, name = self.bench, "large-image"
        bench.projects[name] = project = bench.work / name
        shutil.copytree(bench.projects["hello-world"], project)
        fill(project / "weights.bin", LARGE_IMAGE)
        rounds = min(bench.rounds, 5)
        bench.cog("build", "-t", f"bench-{name}:latest", project=name)
        times: dict[str, list[float]] = {}

        def timed(what: str, action: Callable[[], object]) -> None:
            os.sync()
            times.setdefault(what, []).append(seconds(action))

        def to_disk(what: str, action: Callable[[], object]) -> None:
            """Until it is there: before that, only memory is the limit."""
            timed(what, lambda: (action(), os.sync()))

        target = bench.work / "copied"
        for number in range(rounds):
            self.forget()
            timed("push", lambda: self.push(name))
            store = Path(tempfile.mkdtemp(dir=bench.work))
            image = f"{self.registry.host}/ours/{name}"
            to_disk("pull", lambda: bench.cog("pull", image, COG_CACHE_DIR=str(store)))
            shutil.rmtree(store)
            to_disk("cp", lambda: run(["cp", project / "weights.bin", target]))
            target.unlink()
            if bench.docker:
                if number == 0:
                    bench.write_dockerfile(project)
                    bench.docker_build(project)
                self.forget()
                timed("docker push", lambda: self.docker_push(name))
                bench.docker("rmi", "-f", f"peer-{name}", f"{self.registry.host}/theirs/{name}")
                bench.docker("builder", "prune", "-af")
                to_disk("docker pull", lambda: bench.docker("pull", f"{self.registry.host}/theirs/{name}"))
                bench.docker("tag", f"{self.registry.host}/theirs/{name}", f"peer-{name}")
        middle = {what: sorted(taken)[len(taken) // 2] for what, taken in times.items()}
        size = f"{LARGE_IMAGE / 1e9:.1f} GB"
        yield Row(f"cp of {size}, to the disk", middle["cp"])
        yield Row(f"pull of {size} into the store, to the disk", middle["pull"], middle["cp"], "cp", 1.2)
        for what in ("push", "pull"):
            peer = f"docker {what}"
            if peer in middle:
                yield Row(f"{what} of {size}", middle[what], middle[peer], peer, 0.5)
        bench.cog("rmi", f"bench-{name}:latest")
        shutil.rmtree(project)

    def first_prediction(self) -> Iterator[Row]:
        """From an image in a registry to an answer, with nothing of it here."""
        bench, name = self.bench, "classifier"
        self.push(name)
        image = f"{self.registry.host}/ours/{name}"
        flags = [f"-i{key}={value}" for key, value in bench.examples[name][0].items()]
        pulled: list[float] = []
        whole: list[float] = []
        theirs: list[float] = []
        if bench.docker:
            self.docker_build_and_push(name)
            self.keep_base()
        for _ in range(bench.rounds):
            store = Path(tempfile.mkdtemp(dir=bench.work))
            env = {"COG_CACHE_DIR": str(store)}
            pulling = seconds(lambda: bench.cog("pull", image, **env))
            pulled.append(seconds(lambda: bench.cog("run", image, *flags, **env)))
            whole.append(pulling + pulled[-1])
            shutil.rmtree(store)
            if bench.docker:
                self.empty_docker()
                theirs.append(seconds(lambda: self.docker_from_registry(name)))
        if not theirs:
            return
        self.restore_base()
        middle = lambda taken: sorted(taken)[len(taken) // 2]
        peer = ("docker pull, run, request", 0.5)
        yield Row("pulled, not unpacked, to the first prediction", middle(pulled), middle(theirs), *peer)
        yield Row("from the registry to the first prediction", middle(whole), middle(theirs), *peer)

    def docker_from_registry(self, name: str) -> None:
        bench = self.bench
        assert bench.docker is not None
        target = f"{self.registry.host}/theirs/{name}"
        bench.docker("pull", target)
        bench.docker("tag", target, f"peer-{name}")
        bench.docker_predict(name)

    def empty_docker(self) -> None:
        """As our store is: with no layer of any image."""
        docker = self.bench.docker
        assert docker is not None
        docker("builder", "prune", "-af")
        docker("image", "prune", "-af")

    def keep_base(self) -> None:
        docker = self.bench.docker
        assert docker is not None
        docker("tag", "bench-base", f"{self.registry.host}/theirs/base")
        docker("push", f"{self.registry.host}/theirs/base")

    def restore_base(self) -> None:
        docker = self.bench.docker
        assert docker is not None
        docker("pull", f"{self.registry.host}/theirs/base")
        docker("tag", f"{self.registry.host}/theirs/base", "bench-base")

    def forget(self) -> None:
        """Empties the registry, which looks at its disk alone."""
        shutil.rmtree(self.registry.data / "docker", ignore_errors=True)

    def stop(self) -> None:
        self.registry.stop()


def large_tree(path: Path, model: Path) -> Path:
    """A model with data and weights beside it, as people keep them."""
    shutil.copytree(model, path)
    for number in range(FILES):
        folder = path / "data" / f"{number // 200:03}"
        if number % 200 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}.json").write_text(f'{{"number": {number}}}\n')
    fill(path / "weights.bin", LARGE_FILE)
    return path


def fill(path: Path, size: int) -> None:
    """Bytes that cannot be compressed, as those of weights."""
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 16 * MEGABYTE)))


if __name__ == "__main__":
    sys.exit(f"run benches/run.py ({COG.name} is measured by it)")

"""`make bench`, `bench-build` and `bench-cli`: this tool against others, as ratios of medians measured in one run."""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch_models
from cli import CommandLine
from distribution import Distribution, Missing
from docker import Docker, Unavailable
from harness import COG, COGLET, REPOSITORY, Row, free_port, listens, medians, post, run, seconds, wait_ready

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
IRIS = {
    "sepal_length": 5.1,
    "sepal_width": 3.5,
    "petal_length": 1.4,
    "petal_width": 0.2,
}
EXAMPLES = {
    "hello-world": ({"text": "world"}, "import cog"),
    "classifier": (IRIS, "import cog, joblib, sklearn.ensemble"),
}


class Bench:
    examples = EXAMPLES

    def __init__(self, work: Path, rounds: int) -> None:
        self.work = work
        self.rounds = rounds
        self.env = {
            "COG_CACHE_DIR": str(work / "store"),
            "COG_ENGINE": "embedded",
            "COG_LOAD": "none",
            "COG_BASE": "debian",
            "COG_TORCH_INDEX": "default",
            "COG_NO_UPDATE_CHECK": "1",
        }
        self.docker: Docker | None = None
        self.projects: dict[str, Path] = {}

    def cog(self, *arguments: str | Path, project: str | None = None, **env: str) -> str:
        cwd = self.projects[project] if project else self.work
        return run([COG, *arguments], cwd=cwd, env={**self.env, **env})

    def prepare(self) -> None:
        for name in EXAMPLES:
            self.projects[name] = self.work / name
            shutil.copytree(
                REPOSITORY / "examples" / name,
                self.projects[name],
                ignore=shutil.ignore_patterns(".cog"),
            )
        self.cog("exec", "python", "train.py", project="classifier")
        for name in EXAMPLES:
            self.cog("build", "-t", f"bench-{name}:latest", project=name)

    def line_changer(self, project: str) -> Callable[[], None]:
        return line_changer(self.projects[project] / "run.py")

    # Peers

    def prepare_docker(self) -> None:
        """Loads the image of `hello-world` as the base of equivalent Dockerfiles, so that both tools start equal."""
        self.docker = Docker(self.work / "docker")
        archive = self.work / "base.tar"
        self.cog(
            "build",
            "-t",
            "bench-base:latest",
            "--output",
            f"docker-archive={archive}",
            project="hello-world",
        )
        self.docker("load", "-i", archive)
        archive.unlink()
        for name, project in self.projects.items():
            # Each example with its own document, instead of that of the base.
            schema = base64.b64encode(self.cog("schema", project=name).encode()).decode()
            document = f"RUN echo {schema} | base64 -d > /src/.cog/openapi_schema.json\n"
            self.write_dockerfile(project, document)
        (self.work / "pip.conf").write_text(pip_conf())

    def write_dockerfile(self, project: Path, document: str = "") -> None:
        install = (
            "COPY requirements.txt /tmp/requirements.txt\n"
            "RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=ca,target=/tmp/ca.crt "
            "--mount=type=secret,id=pip,target=/etc/pip.conf "
            "PIP_CERT=/tmp/ca.crt pip install -r /tmp/requirements.txt\n"
        )
        layers = [document, install if (project / "requirements.txt").exists() else "", "COPY . /src\n"]
        (self.work / f"{project.name}.Dockerfile").write_text("FROM bench-base:latest\n" + "".join(layers))

    def docker_build(self, project: Path, *flags: str) -> None:
        assert self.docker is not None
        self.docker(
            "build",
            "--network=host",
            "--progress=plain",
            f"--secret=id=ca,src={CA_BUNDLE}",
            f"--secret=id=pip,src={self.work / 'pip.conf'}",
            f"--file={self.work / f'{project.name}.Dockerfile'}",
            f"--tag=peer-{project.name}",
            *flags,
            ".",
            cwd=project,
        )

    def docker_predict(self, name: str) -> None:
        """`docker run`, wait for READY, one prediction, stop: what a user of Docker would do."""
        assert self.docker is not None
        port = free_port()
        container = self.docker(
            "run",
            "--detach",
            "--rm",
            "--network=host",
            f"--env=PORT={port}",
            f"peer-{name}",
        ).strip()
        try:
            wait_ready(port)
            answer = post(port, EXAMPLES[name][0])
            if answer.get("status") != "succeeded":
                sys.exit(f"the peer's prediction failed: {answer}")
        finally:
            self.docker("kill", container)

    # Rows

    def rebuild(self) -> Iterator[Row]:
        for name, project in self.projects.items():
            touch = line_changer(project / "run.py")
            ours = lambda: (
                touch(),
                self.cog("build", "-t", f"bench-{name}:latest", project=name),
            )
            if self.docker:
                self.docker_build(project)
                theirs = lambda: (touch(), self.docker_build(project))
                mine, peer = medians(self.rounds, ours, theirs)
                yield Row(
                    f"rebuild {name} after a one-line change",
                    mine,
                    peer,
                    "docker build",
                    0.1,
                )
            else:
                (mine,) = medians(self.rounds, ours)
                yield Row(f"rebuild {name} after a one-line change", mine)

    def warm_run(self) -> Iterator[Row]:
        for name in EXAMPLES:
            yield from self.warm(name, "1.5 x import + 0.15 s", lambda imported: 1.5 * imported + 0.15)

    def warm(self, name: str, words: str, limit: Callable[[float], float]) -> Iterator[Row]:
        """`cog run`, nothing changed, beside what its model's imports take, and beside a container of Docker's."""
        inputs, imports = EXAMPLES[name]
        flags = [f"-i{key}={value}" for key, value in inputs.items()]
        ours = lambda: self.cog("run", *flags, project=name)
        times: list[float] = []
        bare = lambda: times.append(self.import_seconds(self.projects[name], imports))
        ours(), bare()
        times.clear()
        mine, _ = medians(self.rounds, ours, bare)
        yield Row(f"cog run {name} against {words}", mine, limit(statistics.median(times)), "limit", 1.0)
        if self.docker:
            self.docker_build(self.projects[name])
            theirs = lambda: self.docker_predict(name)
            mine, peer = medians(self.rounds, ours, theirs)
            yield Row(f"cog run {name}", mine, peer, "docker run + request", 0.25)

    def import_seconds(self, project: Path, imports: str) -> float:
        """What a fresh interpreter of the model's environment needs to import its modules."""
        script = (
            "import subprocess, sys, time; started = time.perf_counter(); "
            f"subprocess.run([sys.executable, '-c', {imports!r}], check=True); print(time.perf_counter() - started)"
        )
        return float(run([COG, "exec", "python", "-c", script], cwd=project, env=self.env))

    def torch(self) -> Iterator[Row]:
        def docker_build(project: Path) -> None:
            self.write_dockerfile(project)
            self.docker_build(project, "--no-cache")

        yield from torch_models.rows(self.work, self.env, docker_build if self.docker else None, self.import_seconds)

    def planning(self) -> Iterator[Row]:
        yield from torch_models.planning(self.work, self.env)

    def first_build(self) -> Iterator[Row]:
        """Everything but downloads and the base is done anew: our steps are forgotten, Docker has `--no-cache`."""
        ours = lambda: self.cog("build", "--no-cache", "-t", "bench-classifier:latest", project="classifier")
        if self.docker:
            classifier = self.projects["classifier"]
            self.docker_build(classifier)
            theirs = lambda: self.docker_build(classifier, "--no-cache")
            mine, peer = medians(self.rounds, ours, theirs)
            yield Row(
                "first build of classifier, downloads cached",
                mine,
                peer,
                "docker build --no-cache",
                1 / 3,
            )
        else:
            (mine,) = medians(self.rounds, ours)
            yield Row("first build of classifier, downloads cached", mine)

    def debian(self) -> Iterator[Row]:
        """The base alone: an empty store each round, downloads included, beside debootstrap with the same packages."""
        debootstrap = shutil.which("debootstrap")
        if debootstrap is None or os.geteuid() != 0:
            print("skipped: debootstrap needs to be installed, and root")
            return
        packages = self.cog("exec", "dpkg-query", "-W", "-f", "${Package},", project="hello-world").strip(",\n")

        def ours() -> None:
            store = Path(tempfile.mkdtemp(dir=self.work))
            self.cog("exec", "true", project="hello-world", COG_CACHE_DIR=str(store))
            shutil.rmtree(store)

        def theirs() -> None:
            root = Path(tempfile.mkdtemp(dir=self.work))
            run(
                [
                    debootstrap,
                    "--variant=minbase",
                    f"--include={packages}",
                    "bookworm",
                    root,
                ]
            )
            shutil.rmtree(root)

        mine, peer = medians(self.rounds, ours, theirs)
        yield Row(
            "Debian base, SDK and first container from nothing",
            mine,
            peer,
            "debootstrap",
            0.5,
        )

    def digests(self) -> Iterator[Row]:
        """The same project built in empty stores: as root and as an ordinary user, with one thread and with two."""
        if os.geteuid() != 0:
            print("skipped: building as two users needs root")
            return
        found: dict[str, str] = {}
        ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        with tempfile.TemporaryDirectory(prefix="cog-digests-") as directory:
            work = Path(directory)
            work.chmod(0o755)
            program = work / "cog"
            shutil.copy(COG.resolve(), program)
            shutil.copy(COGLET.resolve(), work / "coglet")
            for user, prefix in (("root", []), ("an ordinary user", ordinary)):
                for threads, cores in ((1, "0"), (2, "0,1")):
                    home = work / f"{user}-{threads}"
                    shutil.copytree(self.projects["classifier"], home / "project")
                    if prefix:
                        run(["chown", "-R", "65534:65534", home])
                    env = {**self.env, "HOME": str(home), "COG_CACHE_DIR": str(home / "store")}
                    build = [*prefix, "taskset", "--cpu-list", cores, program, "build", "-t", "same:latest"]
                    run(build, cwd=home / "project", env=env)
                    images = run([*prefix, program, "images"], cwd=home, env=env)
                    found[f"{user}, {threads} thread{'s'[: threads - 1]}"] = images.splitlines()[1].split()[1]
                    shutil.rmtree(home)
        for who, digest in found.items():
            print(f"classifier built by {who:<32} {digest}")
        if len(set(found.values())) != 1:
            sys.exit("the digests differ")
        yield Row("different digests of one project", len(set(found.values())) - 1, unit="")

    def small_things(self) -> Iterator[Row]:
        compiled = self.work / "sdk"
        shutil.copytree(REPOSITORY / "python/cog/src", compiled)
        run([sys.executable, "-m", "compileall", "-q", compiled])
        sdk = {"PYTHONPATH": str(compiled)}
        bare, imported = medians(
            self.rounds * 2,
            lambda: run([sys.executable, "-c", "pass"], env=sdk),
            lambda: run([sys.executable, "-c", "import cog"], env=sdk),
        )
        yield Row("import cog, over bare Python", (imported - bare) * 1000, unit="ms")
        listening, memory = zip(*(coglet_start(self.work, compiled) for _ in range(self.rounds)), strict=True)
        yield Row(
            "coglet, start to listening",
            sorted(listening)[len(listening) // 2] * 1000,
            unit="ms",
        )
        yield Row("coglet, resident memory", sorted(memory)[len(memory) // 2], unit="MiB")


def coglet_start(work: Path, sdk: Path) -> tuple[float, float]:
    """Seconds from exec to an accepted connection, and resident MiB, with a worker that has nothing to load."""
    (work / "idle.py").write_text("def run() -> None:\n    pass\n")
    port = free_port()
    env = {
        **os.environ,
        "PORT": str(port),
        "COG_PREDICT_TYPE_STUB": "idle.py:run",
        "PYTHONPATH": str(sdk),
    }
    started = time.perf_counter()
    process = subprocess.Popen([COGLET], cwd=work, env=env, stderr=subprocess.DEVNULL)
    try:
        while not listens(port):
            time.sleep(0.0005)
        listening = time.perf_counter() - started
        wait_ready(port)
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]
        return listening, resident
    finally:
        process.terminate()
        process.wait()


def pip_conf() -> str:
    """This machine's pip configuration for the peer's containers: the index it is set up to use, if any."""
    lines = ["[global]"]
    for line in run([sys.executable, "-m", "pip", "config", "list"]).splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section == "global" and name in {
            "index-url",
            "extra-index-url",
            "trusted-host",
        }:
            lines.append(f"{name} = {value.strip(chr(39))}")
    return "\n".join(lines) + "\n"


def line_changer(path: Path) -> Callable[[], None]:
    """Each call changes one line of the file to something it was never before."""
    text = path.read_text()

    def change() -> None:
        path.write_text(f"{text}\n# changed at {time.time_ns()}\n")

    return change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--distribution",
        action="store_true",
        help="measure pushing, pulling and handing over instead",
    )
    parser.add_argument("--cli", action="store_true", help="measure what a user of the command line waits for instead")
    parser.add_argument("--only", default="", help="measure the groups whose name contains this")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cog-bench-", dir=os.environ.get("COG_BENCH_DIR")) as directory:
        bench = Bench(Path(directory), arguments.rounds)
        print("preparing: builds both examples once", flush=True)
        took = seconds(bench.prepare)
        print(f"prepared in {took:.1f} s", flush=True)
        try:
            bench.prepare_docker()
        except Unavailable as reason:
            print(f"skipped: no Docker rows, {reason}")
        distribution = None
        rows: list[Row] = []
        try:
            groups: tuple[Callable[[], Iterator[Row]], ...] = (
                bench.small_things,
                bench.rebuild,
                bench.warm_run,
                bench.first_build,
                bench.planning,
                bench.torch,
                bench.debian,
                bench.digests,
            )
            if arguments.distribution:
                distribution = Distribution(bench)
                groups = (
                    distribution.push_after_a_change,
                    distribution.large_tree,
                    distribution.handing_over,
                    distribution.shared_wheels,
                    distribution.first_prediction,
                    distribution.large_image,
                )
            if arguments.cli:
                line = CommandLine(bench)
                groups = (line.starts, line.warm_run, line.beside_serve, line.watch, line.load, line.page)
            for group in groups:
                if arguments.only in group.__name__:
                    for row in group():
                        rows.append(row)
                        print(row, flush=True)
        except Missing as reason:
            sys.exit(f"nothing to measure with: {reason}")
        finally:
            if distribution:
                distribution.stop()
            if bench.docker:
                bench.docker.stop()
    if any(row.missed for row in rows):
        sys.exit("a budget is missed")


if __name__ == "__main__":
    main()

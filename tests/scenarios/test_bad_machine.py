"""Machines that let a build down: no network, no room, a killed process, a broken disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import COG, STORE, Project, hello, needs_root, processes_with


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Path]:
    """A store of its own that has the base and the SDK already."""
    hello(tmp_path / "first").cog("build", "-t", "first").works()
    store = tmp_path / "store"
    # Unpacked layers may have devices in them: what overlayfs takes for a deletion.
    subprocess.run(["cp", "-a", STORE, store], check=True)
    shutil.rmtree(store / "tmp", ignore_errors=True)
    yield store


def test_without_a_network_the_first_build_says_what_it_cannot_reach(tmp_path: Path) -> None:
    needs_root()
    project = hello(tmp_path / "project", tmp_path / "store")
    project.cog("build", "-t", "x", before=("unshare", "--net")).fails_with("could not reach the Debian archive")
    assert not project.has_image("x")


def test_without_a_network_what_is_known_is_built(tmp_path: Path, own_store: Path) -> None:
    needs_root()
    project = hello(tmp_path / "project", own_store)
    project.cog("build", "-t", "x", before=("unshare", "--net")).works()
    requirements = project.write(
        requirements__txt="surely-not-in-any-cache==1.0\n",
        cog__yaml='build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n',
    )
    done = requirements.cog("build", "-t", "y", before=("unshare", "--net"))
    done.fails_with("the Python package index", "cannot be reached")
    assert not project.has_image("y")


def test_a_full_disk_leaves_a_usable_store(tmp_path: Path) -> None:
    needs_root()
    store = tmp_path / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", store], check=True)
    try:
        project = hello(tmp_path / "project", store)
        project.cog("build", "-t", "x").fails_with("No space left on device")
        assert not project.has_image("x")
        project.cog("prune").works()
    finally:
        subprocess.run(["umount", "--lazy", store], check=True)


def test_a_killed_build_leaves_nothing_in_the_way(tmp_path: Path, own_store: Path) -> None:
    project = hello(tmp_path / "project", own_store).write(
        requirements__txt="six==1.17.0\nattrs==25.3.0\n",
        cog__yaml='build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\n'
        '  run:\n    - sleep 0.3\nrun: "run.py:Runner"\n',
    )
    pauses = random.Random(1)
    for _ in range(6):
        build = subprocess.Popen(
            [COG, "build", "--no-cache", "-t", "x"],
            cwd=project.directory,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(pauses.uniform(0.05, 2.5))
        build.send_signal(signal.SIGKILL)
        build.wait()
    gone = time.monotonic() + 20
    while left := processes_with(str(own_store)):
        assert time.monotonic() < gone, left
        time.sleep(0.1)
    assert str(own_store) not in Path("/proc/mounts").read_text()
    project.cog("build", "-t", "x").works()
    assert project.cog("run", "-i", "text=again").works().stdout == "hello again\n"


def test_two_builds_at_once_do_not_disturb_each_other(tmp_path: Path, own_store: Path) -> None:
    config = 'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
    projects = [hello(tmp_path / name, own_store) for name in ("one", "two")]
    for project, requirement in zip(projects, ("six==1.17.0", "attrs==25.3.0"), strict=True):
        project.write(requirements__txt=f"{requirement}\n", cog__yaml=config)
    builds = [
        subprocess.Popen(
            [COG, "build", "--no-cache", "-t", f"image-{number}"],
            cwd=projects[number % 2].directory,
            env=projects[0].environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for build in builds:
        _, stderr = build.communicate(timeout=300)
        assert build.returncode == 0, stderr
    for number in range(4):
        done = projects[0].cog("run", f"image-{number}", "-i", "text=both").works()
        assert done.stdout == "hello both\n"


def test_a_flipped_byte_is_found_and_repaired(tmp_path: Path, own_store: Path) -> None:
    project = hello(tmp_path / "project", own_store)
    project.cog("build", "-t", "x").works()
    index = json.loads((own_store / "index.json").read_text())
    manifest = next(
        entry["digest"]
        for entry in index["manifests"]
        # What is said about images has no name.
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == "x:latest"
    )
    # Other tests may have pushed it to registries, which it would be fetched from.
    shutil.rmtree(own_store / "origins", ignore_errors=True)
    blobs = own_store / "blobs/sha256"
    layers = json.loads((blobs / manifest.partition(":")[2]).read_text())["layers"]
    digest = layers[0]["digest"]
    blob = blobs / digest.partition(":")[2]
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    os.chmod(blob, 0o644)
    blob.write_bytes(content)
    output = tmp_path / "out"
    project.cog("build", "-t", "x", "--output", f"oci-dir={output}").fails_with(
        digest[:19], "build or pull the image again"
    )
    assert not output.exists()
    project.cog("build", "-t", "x", "--output", f"oci-dir={output}").works()


def test_without_user_namespaces_the_model_runs_on_the_host(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    no_namespaces = ("unshare", "--user", "--map-root-user", "sh", "-c")
    script = 'echo 0 > /proc/sys/user/max_user_namespaces || exit 77; exec "$0" "$@"'
    arguments = ("run", "-i", "text=host")
    done = project.cog(*arguments, before=(*no_namespaces, script), COG_ENGINE="auto")
    if done.status == 77 or "unshare" in done.stderr:
        pytest.skip(f"namespaces cannot be limited here: {done.stderr.strip()}")
    assert done.works().stdout == "hello host\n"
    assert "user namespaces are disabled" in done.stderr
    assert "Using the host engine" in done.stderr
    refused = project.cog(*arguments, before=(*no_namespaces, script), COG_ENGINE="embedded")
    refused.fails_with("user namespaces are disabled")


def test_a_model_that_takes_all_memory_is_told_so(tmp_path: Path) -> None:
    project = hello(tmp_path / "project").write(
        run__py="from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n"
        "    def run(self) -> int:\n        return len(bytearray(64 << 30))\n"
    )
    limited = ("sh", "-c", 'ulimit -v 4000000; exec "$0" "$@"')
    done = project.cog("run", before=limited)
    assert done.status == 1, done
    assert done.stderr.endswith("Prediction failed: MemoryError\n"), done
    # Where in the model it happened, and nothing of ours.
    assert 'File "/src/run.py", line 6, in run' in done.stderr, done
    assert "_worker" not in done.stderr, done


def test_all_that_runs_ends_with_the_command(tmp_path: Path) -> None:
    mark = f"COG_TEST_MARK={time.time_ns()}"
    project = hello(tmp_path / "project").write(
        run__py="import subprocess\nfrom cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n"
        "    def setup(self) -> None:\n        subprocess.Popen(['sleep', '1000'], start_new_session=True)\n\n"
        "    def run(self) -> str:\n        return 'done'\n"
    )
    assert project.cog("run", "-e", mark).works().stdout == "done\n"
    gone = time.monotonic() + 10
    while left := processes_with(mark):
        assert time.monotonic() < gone, left
        time.sleep(0.1)


def test_an_input_of_200_mb(tmp_path: Path) -> None:
    project = Project(tmp_path).write(
        cog__yaml='build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n',
        run__py="from cog import BaseRunner, Path\n\n\nclass Runner(BaseRunner):\n"
        "    def run(self, file: Path) -> int:\n        return file.stat().st_size\n",
    )
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(200_000_000)
    done = project.cog("run", "-i", "file=@large.bin")
    done.works()
    assert done.stdout == "200000000\n"

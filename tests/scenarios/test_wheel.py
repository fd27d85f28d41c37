"""The wheel: one `pip install` gives both programs and the SDK, and they work together."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import COG, REPOSITORY, Project

MODEL = """\
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, text: str) -> str:
        return text.upper()
"""
CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'


def profile() -> str:
    return Path(COG).parent.name


def written(folder: Path) -> Path:
    command = [sys.executable, str(REPOSITORY / "scripts/wheel"), profile(), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = [str(venv / "bin/pip"), "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    return venv


def test_the_programs_are_on_the_path_and_know_each_other(environment: Path, tmp_path: Path) -> None:
    project = Project(tmp_path).write(cog__yaml=CONFIG, run__py=MODEL)
    env = project.environment(COG_ENGINE="host")
    env["PATH"] = f"{environment / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["cog", "run", "-i", "text=hello"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "HELLO\n"


def test_models_and_editors_can_import_the_sdk(environment: Path) -> None:
    look = "import cog, importlib.metadata as m; print(cog.__version__ == m.version('cog'), cog.BaseRunner.__name__)"
    done = subprocess.run([str(environment / "bin/python"), "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "True BaseRunner\n"
    assert list((environment / "lib").glob("python3*/site-packages/cog/py.typed"))


def test_it_is_the_same_each_time(wheel: Path, tmp_path: Path) -> None:
    again = written(tmp_path)
    assert again.name == wheel.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()

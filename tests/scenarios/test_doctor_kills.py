"""`cog doctor --fix`, killed at any moment: what is left works, and the next one finishes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from support import COG, Project

KILLS = 40
CONFIG = 'build:\n  python_version: "3.11"\npredict: "predict.py:Predictor"\n'
MODEL = """\
from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self) -> str:
        return ""
"""
QUIETLY = {"COG_SKIP_DOCKER_CHECK": "1", "COG_SKIP_GPU_CHECK": "1"}


def test_kills(tmp_path: Path) -> None:
    project = old_project(tmp_path / "whole")
    begun = time.monotonic()
    project.cog("doctor", "--fix", **QUIETLY).works()
    whole = time.monotonic() - begun
    mended = contents(project)
    assert set(mended) == {"cog.yaml", "run.py"}
    states = set()
    for kill in range(KILLS):
        project = old_project(tmp_path / str(kill))
        process = subprocess.Popen(
            [COG, "doctor", "--fix"],
            cwd=project.directory,
            env=project.environment(**QUIETLY),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(whole * kill / KILLS)
        process.kill()
        process.wait()
        left = contents(project)
        states.add(frozenset(left))
        reference = "run.py" if "run.py:Runner" in left["cog.yaml"] else "predict.py"
        assert left[reference] == (mended["run.py"] if reference == "run.py" else MODEL)
        project.cog("doctor", "--fix", **QUIETLY).works()
        assert contents(project) == mended
    print(f"{KILLS} kills left {len(states)} kinds of folders")


def old_project(directory: Path) -> Project:
    directory.mkdir()
    return Project(directory).write(cog__yaml=CONFIG, predict__py=MODEL)


def contents(project: Project) -> dict[str, str]:
    return {path.name: path.read_text() for path in project.directory.iterdir()}

"""Where torch comes from: an index of the project's own with builds for several CUDAs, and what is said when it has the
wrong one or does not answer."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from support import Project
from torch_index import TAGS, TorchIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMPORT = "import torch; print(torch.__version__, torch.version.cuda)"
CONFIG = """\
build:
  gpu: true
  cuda: "{cuda}"
  python_version: "3.11"
  python_requirements: requirements.txt
run: "run.py:Runner"
"""
MODEL = """\
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        return "hello"
"""


@pytest.fixture(scope="module")
def index() -> Iterator[TorchIndex]:
    index = TorchIndex()
    yield index
    index.stop()


def project(directory: Path, requirements: str, *, cuda: str = "11.8") -> Project:
    directory.mkdir()
    return Project(directory).write(cog__yaml=CONFIG.format(cuda=cuda), run__py=MODEL, requirements__txt=requirements)


def imported(project: Project, **env: str) -> tuple[str, str]:
    """What the container's torch says of itself, and what the build said."""
    built = project.cog("build", "-t", "torch-of-an-index", **env).works()
    done = project.cog("exec", "python", "-c", IMPORT, **env).works()
    return done.stdout.strip(), built.stderr


@pytest.mark.parametrize("tag", ["cu118", "cu121"])
def test_torch_comes_from_the_index_of_its_line(tmp_path: Path, index: TorchIndex, tag: str) -> None:
    line = f"torch=={index.version} --extra-index-url {index.url(tag)}\n"
    said, warnings = imported(project(tmp_path / "model", line, cuda=TAGS[tag] or ""))
    assert said == f"{index.version}+{tag} {TAGS[tag]}"
    assert "built for" not in warnings


def test_an_index_in_a_line_of_its_own_counts_too(tmp_path: Path, index: TorchIndex) -> None:
    lines = f"--extra-index-url {index.url('cu118')}\ntorch=={index.version}+cu118\n"
    said, _ = imported(project(tmp_path / "model", lines), COG_TORCH_INDEX="default")
    assert said == f"{index.version}+cu118 11.8"


def test_torch_for_another_cuda_is_told(tmp_path: Path, index: TorchIndex) -> None:
    line = f"torch=={index.version} --extra-index-url {index.url('cu121')}\n"
    said, warnings = imported(project(tmp_path / "model", line, cuda="11.8"))
    assert said == f"{index.version}+cu121 12.1"
    assert f"torch {index.version}+cu121 is built for CUDA 12.1" in warnings
    assert "completed for CUDA 11.8" in warnings


def test_torch_that_sees_no_gpu_is_told_each_project_once(tmp_path: Path, index: TorchIndex) -> None:
    line = f"torch=={index.version} --extra-index-url {index.url('cpu')}\n"
    warning = f"torch {index.version}+cpu is built for the CPU alone"
    model = project(tmp_path / "model", line)
    said, warnings = imported(model)
    assert said == f"{index.version}+cpu None"
    assert warnings.count(warning) == 1
    assert "indexes that end in `/cpu`" in warnings
    _, again = imported(model)
    assert warning not in again
    _, other = imported(project(tmp_path / "other", line))
    assert other.count(warning) == 1


def test_an_index_that_refuses_is_named_with_its_line(tmp_path: Path) -> None:
    with socket.socket() as closed:
        # Bound, so nobody else takes the port; not listening, so connections are refused.
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
        line = f"torch==2.3.1 --extra-index-url http://{host}/whl/cu118\n"
        done = project(tmp_path / "model", line).cog("build", "-t", "torch-of-nowhere", UV_HTTP_RETRIES="0")
    done.fails_with(
        f"the Python package index `{host}`",
        "cannot be reached",
        f"check the network and the line `--extra-index-url http://{host}/whl/cu118` in requirements.txt",
    )

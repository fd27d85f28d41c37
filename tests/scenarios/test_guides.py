"""The guides, followed from top to bottom.

A block that begins with `# NAME` is a file; a console block is commands with lines that they print, in this order,
others perhaps between them. A shown line that ends in `…` is the beginning of one. Where `…` ends what is shown of a
command, the rest would take long: it is stopped when it has printed what is shown.

PyTorch's index is out of reach, and the default one is on this machine, with small packages by the names of large ones.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from package_index import add_wheel, serve
from support import REPOSITORY, TIME_LIMIT_SECONDS, Project, debian_hosts, hello

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUIDES = ("gpu-models.md", "moving.md")
MORE = "…"
#: Nothing listens there.
NOWHERE = "http://127.0.0.1:9"
TORCH = """
__version__ = "2.0.1+cu117"


class cuda:
    @staticmethod
    def is_available():
        return False


class Tensor:
    def __init__(self, value, count):
        self.value, self.count = value, count

    def __mul__(self, factor):
        return Tensor(self.value * factor, self.count)

    def sum(self):
        return Tensor(self.value * self.count, 1)

    def item(self):
        return self.value


def full(shape, value, device):
    return Tensor(value, shape[0] * shape[1])
"""
#: What images get besides, and what the requirements of the guides name.
OTHERS = """
requests==2.32.3 pyyaml==6.0.2 structlog==24.4.0 typing-extensions==4.12.2 pip==24.2 setuptools==74.0.0
nvidia-cuda-runtime-cu11==11.7.99 audioread==3.0.1 torchvision==0.15.2 torchaudio==2.0.2
accelerate==0.21.0 accelerate==0.23.0 diffusers==0.22.3 pillow==10.1.0 transformers==4.28.1 transformers==4.34.1
opencv-python-headless==4.8.1.78 lightning==2.1.0 braceexpand==0.1.7 webdataset==0.2.60 soundfile==0.12.1
h5py==3.10.0 ftfy==6.1.1 pandas==2.1.1 wget==3.2
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("index")
    add_wheel(root, "torch", "2.0.1", ("nvidia-cuda-runtime-cu11==11.7.99",), torch=TORCH)
    add_wheel(root, "transformers", "4.35.0", extra="torch")
    add_wheel(root, "torchlibrosa", "0.1.0", ("audioread",))
    for one in OTHERS.split():
        name, _, version = one.partition("==")
        add_wheel(root, name, version)
    with serve(root) as address:
        yield address


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_is_true(tmp_path: Path, index: str, guide: str) -> None:
    # The store gets its base and its uv with the network as it is.
    hello(tmp_path / "hello").cog("build").works()
    project = Project(tmp_path / "project")
    project.directory.mkdir()
    environment = project.environment(
        UV_DEFAULT_INDEX=index,
        UV_CACHE_DIR=str(tmp_path / "packages"),
        HTTPS_PROXY=NOWHERE,
        NO_PROXY=",".join(["127.0.0.1", *debian_hosts()]),
    )
    text = (REPOSITORY / "docs/guides" / guide).read_text()
    checked = 0
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        named = re.match(r"# (\S+\.\w+)\n", block)
        if named:
            content = block.removeprefix(named[0]) if named[1].endswith(".txt") else block
            (project.directory / named[1]).write_text(content)
        elif language == "console":
            for command, shown in commands(block):
                follow(project.directory, environment, command, shown)
                checked += 1
    assert checked >= 4


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Each command with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def follow(directory: Path, environment: dict[str, str], command: str, shown: list[str]) -> None:
    stops = shown[-1:] == [MORE]
    expected = [line for line in shown if line != MORE]
    printed: list[str] = []
    with subprocess.Popen(
        ["/usr/bin/timeout", str(TIME_LIMIT_SECONDS), "/bin/sh", "-c", f"{{ {command}; }} 2>&1"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line.rstrip("\n"))
            if expected and fits(printed[-1], expected[0]):
                expected.pop(0)
            if stops and not expected:
                os.killpg(process.pid, signal.SIGINT)
                stops = False
    assert not expected, (command, expected[0], printed)


def fits(line: str, shown: str) -> bool:
    return line.startswith(shown.removesuffix(MORE)) if shown.endswith(MORE) else line == shown

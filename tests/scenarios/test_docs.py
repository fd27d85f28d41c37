"""README and docs/, followed from top to bottom. What is done with which block is said in `documentation.py`.

PyTorch's index is out of reach where a page needs packages, and the default one is on this machine, with small packages
by the names of large ones.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker_daemon import Daemon
from docker_registry import PASSWORD, USER, docker_registry
from documentation import GENERATED, Block, Reader, Stage, blocks
from package_index import add_wheel, serve
from ports import free_port
from support import COG, REPOSITORY, Project, debian_hosts, hello
from test_install import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

DOCS = REPOSITORY / "docs"
#: Pages that `xtask` writes and compares, and how many of the others' blocks are not run, for the reasons above them.
GENERATED_PAGES = {"docs/reference/cli.md", "docs/reference/http.md"}
NOT_RUN = {
    "docs/concepts/engines.md": 1,
    "docs/concepts/supply-chain.md": 1,
    "docs/guides/gpu-models.md": 2,
    "docs/guides/pushing.md": 1,
    "docs/guides/writing-models.md": 1,
}
#: Nothing listens there.
NOWHERE = "http://127.0.0.1:9"
MODEL = "class Runner:\n    def run(self, text: str) -> str: ...\n\n\ndef train(text: str) -> str: ...\n"
CONFIG = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
STREAMING = """
from cog import BaseRunner, ConcatenateIterator, streaming


class Runner(BaseRunner):
    @streaming
    def run(self, text: str = "") -> ConcatenateIterator[str]:
        yield "Hello"
"""
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


def at(project: Project) -> Stage:
    """With ports that nobody else has, and a browser that nobody opens."""
    port = free_port()
    return Stage(
        project,
        env={"DISPLAY": "", "WAYLAND_DISPLAY": "", "DOCKER_CONFIG": str(project.directory.parent / "docker")},
        stand_ins={
            "localhost:8393": f"localhost:{port}",
            "cog serve": f"cog serve -p {port}",
            "cog serve --playground": f"cog serve -p {port} --playground --playground-port 0",
        },
    )


@contextmanager
def hello_world(directory: Path) -> Iterator[Stage]:
    """In the smallest example."""
    yield at(hello(directory / "hello"))


@contextmanager
def edited(directory: Path) -> Iterator[Stage]:
    """The same, and somebody changes the model as soon as it is served."""
    stage = at(hello(directory / "hello"))
    model = stage.project.directory / "run.py"
    stage.when["Serving at "] = lambda: model.write_text(model.read_text() + "\n# Changed.\n") and None
    yield stage


@contextmanager
def tour(directory: Path) -> Iterator[Stage]:
    """In an empty folder, as the README begins."""
    (directory / "empty").mkdir()
    stage = at(Project(directory / "empty"))
    stage.exact = True
    yield stage


@contextmanager
def looked_at(directory: Path) -> Iterator[Stage]:
    """Files that no command of the page reads."""
    (directory / "project").mkdir()
    project = Project(directory / "project").write(
        cog__yaml=CONFIG, run__py=MODEL, train__py=MODEL, requirements__txt=""
    )
    stage = at(project)
    stage.looks_at_files = True
    yield stage


@contextmanager
def streamed(directory: Path) -> Iterator[Stage]:
    """With a model that streams."""
    stage = at(hello(directory / "hello"))
    stage.project.write(run__py=STREAMING)
    yield stage


@contextmanager
def packages(directory: Path) -> Iterator[Stage]:
    """In an empty folder, with packages that this machine has."""
    index = directory / "index"
    add_wheel(index, "torch", "2.0.1", ("nvidia-cuda-runtime-cu11==11.7.99",), torch=TORCH)
    add_wheel(index, "transformers", "4.35.0", extra="torch")
    add_wheel(index, "torchlibrosa", "0.1.0", ("audioread",))
    for one in OTHERS.split():
        name, _, version = one.partition("==")
        add_wheel(index, name, version)
    # The store gets its base and its uv with the network as it is.
    hello(directory / "hello").cog("build").works()
    (directory / "project").mkdir()
    stage = at(Project(directory / "project"))
    with serve(index) as address:
        stage.env |= {
            # No base is asked for: no registry can be reached.
            "COG_BASE": "",
            "UV_DEFAULT_INDEX": address,
            "UV_CACHE_DIR": str(directory / "packages"),
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": ",".join(["127.0.0.1", *debian_hosts()]),
        }
        yield stage


@contextmanager
def docker(directory: Path) -> Iterator[Stage]:
    """With a daemon."""
    stage = at(hello(directory / "hello"))
    with Daemon() as daemon:
        programs = directory / "programs"
        programs.mkdir()
        (programs / "docker").symlink_to(daemon.client)
        port, other = free_port(), free_port()
        name = "registry.example.com/team/model:v1"
        stage.env |= {"COG_LOAD": "auto", "DOCKER_HOST": daemon.host, "TOKEN": "secret"}
        stage.env["PATH"] = f"{programs}:{stage.project.environment()['PATH']}"
        stage.project.cog("build", "-t", name, "--load", "docker", **stage.env).works()
        stage.stand_ins |= {
            "-p 5000:5000": f"-p {port}:5000",
            "localhost:5000": f"localhost:{port}",
            "https://model.example.com": f"http://localhost:{port}",
            "--duration 60": "--duration 1",
            "8000": str(other),
            "unix:///var/run/docker.sock": daemon.host,
            "Docker 26.1.5": f"Docker {daemon('version', '--format', '{{.Server.Version}}').strip()}",
        }
        stage.ports = {"docker run": port, "cog exec": other}
        yield stage


@contextmanager
def registry(directory: Path) -> Iterator[Stage]:
    """With a registry that has an older image of the project."""
    stage = at(hello(directory / "hello"))
    with docker_registry(directory / "registry") as running:
        stage.stand_ins["registry.example.com"] = running.host
        stage.env["PASSWORD"] = "secret"
        stage.project.cog("push", f"{running.host}/team/greeter:v0", **stage.env).works()
        model = stage.project.directory / "run.py"
        model.write_text(model.read_text() + "\n# Changed.\n")
        yield stage


@contextmanager
def photo_and_registry(directory: Path) -> Iterator[Stage]:
    """In a folder with a photo, and a registry that has nothing."""
    (directory / "colours").mkdir()
    stage = at(Project(directory / "colours"))
    shutil.copy(REPOSITORY / "examples/blur/photo.jpg", stage.project.directory)
    with docker_registry(directory / "registry") as running:
        stage.stand_ins["registry.example.com"] = running.host
        yield stage


@contextmanager
def nothing(directory: Path) -> Iterator[Stage]:
    """In an empty folder."""
    (directory / "empty").mkdir()
    yield at(Project(directory / "empty"))


@contextmanager
def wheels(directory: Path) -> Iterator[Stage]:
    """In a folder with a wheel, and an index that asks for a password."""
    (directory / "project/wheels").mkdir(parents=True)
    stage = at(Project(directory / "project"))
    index = directory / "index"
    add_wheel(index, "greetings", "1.0", greetings='def greet(name):\n    return f"hello {name}"\n')
    (wheel,) = index.rglob("*.whl")
    shutil.copy(wheel, stage.project.directory / "wheels")
    with serve(index, user=USER, password=PASSWORD) as address:
        (directory / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        (directory / "netrc").chmod(0o600)
        stage.env["NETRC"] = str(directory / "netrc")
        stage.stand_ins["https://packages.example.com/simple"] = address
        yield stage


@contextmanager
def downloads(directory: Path) -> Iterator[Stage]:
    """Where an archive is served, and another one is in `dist`."""
    (directory / "work/scripts").mkdir(parents=True)
    stage = at(Project(directory / "work"))
    installed, script = directory / "installed", REPOSITORY / "scripts/install.sh"
    (stage.project.directory / "scripts/install.sh").symlink_to(script)
    with serving() as site:
        site.offer(version())
        site.files["install.sh"] = script.read_bytes()
        (stage.project.directory / "dist").mkdir()
        for name, content in site.files.items():
            (stage.project.directory / "dist" / name).write_bytes(content)
        stage.env |= {"COG_INSTALL_DIR": str(installed), "HOME": str(directory)}
        stage.stand_ins |= {
            "https://downloads.example.com/cog": site.url,
            "/home/me/.local": str(installed),
            "0.30.0": version(),
            "linux-x86_64": f"linux-{platform.machine()}",
        }
        yield stage
        assert (installed / "bin/cog").is_symlink()


def version() -> str:
    """What the programs under test say."""
    return subprocess.run([COG, "--version"], check=True, capture_output=True, text=True).stdout.split()[2]


#: Where a page is followed, if not in the smallest example.
STAGES: dict[str, Callable[[Path], AbstractContextManager[Stage]]] = {
    "README.md": tour,
    "docs/concepts/server.md": streamed,
    "docs/guides/deploying.md": docker,
    "docs/guides/docker.md": docker,
    "docs/guides/edit-and-run.md": edited,
    "docs/guides/files.md": nothing,
    "docs/guides/first-model.md": photo_and_registry,
    "docs/guides/gpu-models.md": packages,
    "docs/guides/installing.md": downloads,
    "docs/guides/moving.md": packages,
    "docs/guides/playground.md": docker,
    "docs/guides/private-packages.md": wheels,
    "docs/guides/pushing.md": registry,
    "docs/guides/streaming.md": nothing,
    "docs/guides/writing-models.md": looked_at,
    "docs/reference/cog-yaml.md": looked_at,
}
PAGES = {
    str(path.relative_to(REPOSITORY)): blocks(path) for path in [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
}
FOLLOWED = [page for page, found in PAGES.items() if found and page not in GENERATED_PAGES]


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_is_true(tmp_path: Path, page: str) -> None:
    with STAGES.get(page, hello_world)(tmp_path) as stage:
        reader = Reader(stage)
        try:
            for block in PAGES[page]:
                reader.follow(block)
            reader.finish()
        finally:
            reader.stop()


def test_what_is_not_run_is_counted() -> None:
    found = {page: sum(block.not_run is not None for block in PAGES[page]) for page in FOLLOWED}
    assert {page: count for page, count in found.items() if count} == NOT_RUN
    written = {page for page in PAGES if GENERATED in (REPOSITORY / page).read_text()}
    assert written == GENERATED_PAGES
    assert STAGES.keys() <= set(FOLLOWED)


def test_a_block_of_no_kind_is_a_mistake(tmp_path: Path) -> None:
    reader = Reader(Stage(Project(tmp_path)))
    block = Block("page.md", 3, "", "true\n", None)
    with pytest.raises(AssertionError, match=r"page\.md:3: nothing is known"):
        reader.follow(block)
    reader.follow(Block("page.md", 3, "", "true\n", "it would take long"))
    reader.follow(Block("page.md", 3, "text", "never printed\n", None))
    with pytest.raises(AssertionError, match="never printed"):
        reader.finish()


def test_editors_are_led_to_the_schema() -> None:
    (settings,) = [block for block in PAGES["docs/reference/cog-yaml.md"] if block.language == "json"]
    (path,) = json.loads(settings.text)["yaml.schemas"]
    assert (DOCS / "reference" / Path(path).name).is_file()

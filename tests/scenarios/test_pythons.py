"""Which Python serves a project: of this machine, of Debian, or of a mirror of the builds that uv downloads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import package_index
import pytest
import python_builds
from support import STORE, Project

MODEL = """\
import platform
import ssl
import sys
import sysconfig

import yaml
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        cached = [name for name in ("json", "ssl", "sysconfig") if not __import__(name).__cached__]
        where = sysconfig.get_config_var("prefix")
        return f"{platform.python_version()} {sys.base_prefix} {where} {cached} {yaml.__name__} {ssl.HAS_TLSv1_3}"
"""
NOBODY = "http://127.0.0.1:1"


def project(directory: Path, version: str) -> Project:
    directory.mkdir()
    config = f'build:\n  python_version: "{version}"\nrun: "run.py:Runner"\n'
    return Project(directory).write(cog__yaml=config, run__py=MODEL)


def digest(project: Project, name: str) -> str:
    images = json.loads(project.cog("images", "--json").works().stdout)
    [image] = [image for image in images if image["name"] == name or image["name"].endswith(f"/{name}")]
    return str(image["digest"])


def test_a_python_that_debian_lacks_comes_from_a_mirror(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    build = python_builds.build(mirror)
    if isinstance(build, str):
        pytest.skip(build)
    model = project(tmp_path / "project", build.minor)
    name = "python-of-a-mirror:v1"
    with package_index.serve(mirror) as url:
        build.write_list(f"{url}{build.archive.name}")
        env = {"UV_PYTHON_DOWNLOADS_JSON_URL": f"{url}downloads.json"}
        digests = set()
        for _ in range(2):
            # Each downloads and installs it anew, in another place.
            done = model.cog("build", "--no-cache", "-t", name, **env).works()
            assert f"Python {build.minor}" in done.stderr
            digests.add(digest(model, name))
    assert len(digests) == 1
    done = model.cog("run", name).works()
    version, base, prefix, *rest = done.stdout.split(" ")
    assert (version, base, prefix) == (build.version, "/opt/python", "/opt/python"), done
    assert rest == ["[]", "yaml", "True\n"], done
    # Modules of the standard library were compiled when the image was built.
    script = "import json, os; print(os.path.exists(json.__cached__))"
    done = model.cog("exec", "--", f"/opt/python/bin/python{build.minor}", "-c", script, **env).works()
    assert done.stdout == "True\n"


def test_a_python_that_cannot_be_had_says_which_can(tmp_path: Path) -> None:
    model = project(tmp_path / "project", "3.12")
    env = {"UV_PYTHON_INSTALL_MIRROR": NOBODY, "UV_HTTP_RETRIES": "0"}
    done = model.cog("build", "--no-cache", "-t", "no-such-python:v1", **env)
    done.fails_with(
        "no base with Python 3.12: Debian has Python 3.11 and 3.13",
        "Python 3.12 could not be downloaded from `127.0.0.1:1`",
        'set `python_version` to "3.11" or "3.13"',
        "UV_PYTHON_INSTALL_MIRROR",
    )
    assert "packages cannot be installed" not in done.stderr
    nobody_has = project(tmp_path / "other", "3.99")
    nobody_has.cog("build", "-t", "no-such-python:v1", **env).fails_with("uv knows of no build of Python 3.99")


def test_another_patch_is_told_once(tmp_path: Path) -> None:
    model = project(tmp_path / "project", "3.11.99")
    warning = '`python_version: "3.11.99"` is served by Python 3.11.'
    for count in (1, 0):
        done = model.cog("run").works()
        assert done.stderr.count(warning) == count, done
        if count:
            assert "--base python:3.11.99-slim" in done.stderr
    assert done.stdout.startswith("3.11.")


class Machine:
    """A machine whose only interpreters are where tools put them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        (self.home / "bin").mkdir(parents=True)
        self.env = {"HOME": str(self.home), "PATH": str(self.home / "bin"), "COG_ENGINE": "host"}
        self.env |= {"PYENV_ROOT": "", "CONDA_PREFIX": "", "UV_PYTHON_INSTALL_DIR": "", "XDG_DATA_HOME": ""}
        # uv is no Python; it was fetched by the tests before this one otherwise.
        uv = shutil.which("uv") or next(STORE.glob("uv/*/bin/uv"), None)
        if uv is None:
            pytest.skip("needs uv")
        (self.home / "bin/uv").symlink_to(Path(uv).resolve())
        self.cache = {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(STORE / "uv/cache"))}

    def install(self, place: str, interpreter: Path) -> None:
        program = self.home / place / "bin/python3"
        program.parent.mkdir(parents=True)
        program.symlink_to(interpreter.resolve())

    def run(self, model: Project) -> str:
        done = model.cog("run", **self.env, **self.cache).works()
        return done.stderr + done.stdout


def two_pythons() -> tuple[python_builds.Interpreter, python_builds.Interpreter]:
    by_minor = {one.version[1]: one for one in python_builds.interpreters()}
    if len(by_minor) < 2:
        pytest.skip("needs interpreters of pyenv or uv with two minor versions")
    older, newer = sorted(by_minor)[:2]
    return by_minor[older], by_minor[newer]


@pytest.mark.parametrize(
    ("place", "tool"),
    [
        (".pyenv/versions/x", "pyenv"),
        ("miniconda3/envs/x", "conda"),
        (".local/share/uv/python/x", "uv"),
    ],
)
def test_pythons_of_tools_are_found(tmp_path: Path, place: str, tool: str) -> None:
    older, newer = two_pythons()
    machine = Machine(tmp_path)
    machine.install(place, newer.program)
    machine.install(f"{place}-2", older.program)
    model = project(tmp_path / "project", f"3.{older.version[1]}")
    # Which one it is, is said when its environment is made.
    model.store = tmp_path / "store"
    said = machine.run(model)
    assert f"Python {older} of {tool} (`{older.program.resolve()}`)" in said
    assert said.splitlines()[-1].startswith(f"{older} ")
    assert "this machine has no Python" not in said


def test_the_nearest_python_serves_with_a_warning(tmp_path: Path) -> None:
    older, _ = two_pythons()
    machine = Machine(tmp_path)
    machine.install(".pyenv/versions/x", older.program)
    model = project(tmp_path / "project", "3.99")
    said = machine.run(model)
    assert f"this machine has no Python 3.99, using Python {older} of pyenv" in said
    patch = project(tmp_path / "patch", f"3.{older.version[1]}.99")
    warning = f"is served by Python {older} of pyenv"
    assert [machine.run(patch).count(warning) for _ in range(2)] == [1, 0]


def test_no_python_is_said_with_what_there_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    old = Path.home() / ".pyenv/versions"
    too_old = next((path for path in sorted(old.glob("3.[6-9].*/bin/python3"))), None)
    if too_old:
        machine.install(".pyenv/versions/x", too_old)
    model = project(tmp_path / "project", "3.11")
    done = model.cog("run", **machine.env, **machine.cache)
    done.fails_with("no Python 3.10 or newer was found on this machine, neither on PATH nor in the folders of conda")
    if too_old:
        assert f"only Python 3.{too_old.resolve().name.removeprefix('python3.')} (`{too_old.resolve()}`)" in done.stderr

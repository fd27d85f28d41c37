"""`cog.lock`: a build takes what it says, whatever indexes and registries have by then, and a project that it no longer
fits is told so with the line."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import python_builds
from package_index import add_wheel, serve
from registry import Link, Registry, put_image
from support import STORE, Done, Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RegistryBase

CONFIG = """\
build:
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
PYTHON = {"usr/local/bin/python": Link("/usr/bin/python3.11")}
SHOW = "import cogdep, cognum; print(cognum.version, cogdep.version)"
# Packages need not come over the network for each store.
DOWNLOADS = {"UV_CACHE_DIR": str(STORE / "uv/cache")}


@dataclass
class World:
    """What the outside has: a registry with a base, and two indexes of different age."""

    registry: Registry
    old: str
    new: str
    folder: Path
    stores: Path
    # Stores remember what they found under a name.
    tag: str

    @property
    def base(self) -> str:
        return self.registry.reference(self.tag, "own")

    def move_base(self, text: str) -> None:
        """Gives the base's name to another image."""
        put_image(self.registry, self.tag, [{**PYTHON, "etc/moved": text}], {}, "own")

    def project(self, name: str, requirements: str, store: str = "store") -> Project:
        directory = self.folder / name
        directory.mkdir()
        project = Project(directory, self.stores / store)
        files = {"cog__yaml": CONFIG, "run__py": MODEL, "requirements__txt": requirements, "__dockerignore": "*.lock\n"}
        return project.write(**files)

    def cog(self, project: Project, *arguments: object, index: str = "") -> Done:
        env = {"COG_BASE": self.base, "UV_INDEX": index or self.old, **DOWNLOADS}
        return project.cog(*arguments, **env)

    def digest(self, project: Project, *flags: str, index: str = "") -> str:
        """Builds an image."""
        name = "locked:1"
        self.cog(project, "build", "-t", name, *flags, index=index).works()
        images = json.loads(project.cog("images", "--json").works().stdout)
        [digest] = [str(image["digest"]) for image in images if image["name"].endswith(name)]
        return digest

    def versions(self, project: Project, *flags: str, index: str = "") -> str:
        return self.cog(project, "exec", *flags, "python", "-c", SHOW, index=index).works().stdout.strip()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def world(tmp_path: Path, stores: Path, base_in_registry: RegistryBase) -> Iterator[World]:
    registry = base_in_registry.registry
    before = dict(registry.paths)
    old, new = tmp_path / "old-index", tmp_path / "new-index"
    add_packages(old, "1.5")
    shutil.copytree(old, new)
    add_packages(new, "2.0")
    with serve(old) as old_url, serve(new) as new_url:
        world = World(registry, old_url, new_url, tmp_path, stores, f"python-{uuid4().hex}")
        world.move_base("early")
        yield world
    registry.paths = before


def add_packages(root: Path, version: str) -> None:
    add_wheel(root, "cognum", version, ("cogdep",), cognum=f"version = {version!r}\n")
    add_wheel(root, "cogdep", version, cogdep=f"version = {version!r}\n")
    add_wheel(root, "coghelper", version, coghelper=f"version = {version!r}\n")


def lock_of(project: Project, name: str = "cog.lock") -> str:
    return (project.directory / name).read_text()


def test_two_builds_from_one_lock_give_one_image(world: World) -> None:
    one = world.project("one", "cognum\n")
    said = world.cog(one, "lock").works().stderr
    assert "Wrote cog.lock" in said
    lock = lock_of(one)
    first = world.digest(one)

    # Weeks later, somewhere else.
    world.move_base("late")
    two = world.project("two", "cognum\n", store="another-store")
    two.write(cog__lock=lock)
    assert world.digest(two, "--locked", index=world.new) == first
    assert world.versions(two, index=world.new) == "1.5 1.5"
    assert lock_of(two) == lock

    three = world.project("three", "cognum\n", store="another-store")
    assert world.digest(three, index=world.new) != first
    assert world.versions(three, index=world.new) == "2.0 2.0"
    assert not (three.directory / "cog.lock").exists(), "builds do not begin with locking"


def test_a_lock_names_no_machine_and_comes_out_the_same(world: World) -> None:
    one = world.project("one", "cognum\n")
    world.cog(one, "lock").works()
    lock = lock_of(one)
    assert world.old not in lock
    assert "index" not in lock
    assert str(world.folder) not in lock
    assert 'name = "cognum"\nversion = "1.5"\nfiles = [\n    { name = "cognum-1.5-py3-none-any.whl", ' in lock
    assert re.search(r'image = "\S+/own:python-\w+"\ndigest = "sha256:[0-9a-f]{64}"\n', lock)
    assert 'subject = "python"\nvalue = "3.11"\nreason = "`build.python_version`"\n' in lock
    assert "cog.lock is up to date" in world.cog(one, "lock").works().stderr
    assert lock_of(one) == lock
    other = world.project("other", "cognum\n", store="another-store")
    world.cog(other, "lock").works()
    assert lock_of(other) == lock


def test_what_no_longer_fits_is_named_and_brought_up_to_date(world: World) -> None:
    model = world.project("one", "cognum\n")
    missing = ("there is no cog.lock", "make it with `cog lock`")
    world.cog(model, "build", "--locked").fails_with(*missing)
    world.cog(model, "lock", "--check").fails_with(*missing)
    world.cog(model, "lock").works()
    world.cog(model, "lock", "--check").works()

    model.write(requirements__txt="cognum\ncoghelper>1\n")
    before = lock_of(model)
    drift = (
        "cog.lock does not fit the project",
        "requirements.txt has `coghelper>1`, and cog.lock was made without it",
        "`cog lock` brings it up to date",
    )
    for command in [("build", "--locked"), ("lock", "--check"), ("lock", "--locked"), ("run", "--locked")]:
        world.cog(model, *command, index=world.new).fails_with(*drift)
    assert lock_of(model) == before

    built = world.cog(model, "build", "-t", "locked:2", index=world.new).works()
    assert "updating cog.lock: requirements.txt has `coghelper>1`" in built.stderr
    assert "added coghelper 2.0" in built.stderr
    assert world.versions(model, "--locked", index=world.new) == "1.5 1.5", "what still fits stays"

    upgraded = world.cog(model, "lock", "--upgrade", "cognum", index=world.new).works()
    assert "cognum 1.5 -> 2.0" in upgraded.stderr
    assert world.versions(model, "--locked", index=world.new) == "2.0 1.5"
    world.cog(model, "lock", "--upgrade", "nupmy").fails_with("cog.lock has no `nupmy`")
    upgraded = world.cog(model, "lock", "--upgrade", index=world.new).works()
    assert "cogdep 1.5 -> 2.0" in upgraded.stderr
    assert world.versions(model, "--locked", index=world.new) == "2.0 2.0"


def test_an_upgrade_sees_what_has_just_come_out(world: World, tmp_path: Path) -> None:
    """Whatever was asked lately, and may be kept for some minutes, as PyPI lets everybody keep its answers."""
    index = tmp_path / "index"
    add_packages(index, "1.5")
    first, other = world.project("one", "cognum\n"), world.project("two", "cognum\n", store="other")
    with serve(index, max_age=600) as url:
        env = {"COG_BASE": world.base, "UV_INDEX": url, "UV_CACHE_DIR": str(tmp_path / "uv")}
        first.cog("lock", **env).works()
        add_packages(index, "2.0")
        # This is what is kept.
        other.cog("lock", **env).works()
        for model in (first, other):
            assert versions_in(model) == {"cognum": "1.5", "cogdep": "1.5"}
        first.cog("lock", "--upgrade", "cognum", **env).works()
        assert versions_in(first) == {"cognum": "2.0", "cogdep": "1.5"}
        other.cog("lock", "--upgrade", **env).works()
        assert versions_in(other) == {"cognum": "2.0", "cogdep": "2.0"}


def test_an_upgrade_of_one_package_sees_what_came_out_with_it(world: World, tmp_path: Path) -> None:
    """Other versions that it takes now, and packages that it did not need before."""
    index = tmp_path / "index"
    add_packages(index, "1.5")
    one, other = world.project("one", "cognum\ncoghelper\n"), world.project("two", "cogmore\n", store="other")
    add_wheel(index, "cogmore", "1.5")
    with serve(index, max_age=600) as url:
        env = {"COG_BASE": world.base, "UV_INDEX": url, "UV_CACHE_DIR": str(tmp_path / "uv")}
        one.cog("lock", **env).works()
        other.cog("lock", **env).works()
        for name in ["cogdep", "cogmore", "coghelper"]:
            add_wheel(index, name, "2.0")
        add_wheel(index, "cognum", "2.0", ("cogdep>=2", "cogmore>=2"))
        said = one.cog("lock", "--upgrade", "cognum", **env).works().stderr
        assert "cognum 1.5 -> 2.0" in said
        assert versions_in(one) == {"cognum": "2.0", "cogdep": "2.0", "cogmore": "2.0", "coghelper": "1.5"}


def versions_in(project: Project) -> dict[str, str]:
    return dict(re.findall(r'name = "(cog\w+)"\s+version = "([^"]+)"', lock_of(project)))


def test_the_base_is_upgraded_by_its_name(world: World) -> None:
    model = world.project("one", "cognum\n")
    world.cog(model, "lock").works()
    before = lock_of(model)
    world.move_base("late")
    show = ("exec", "cat", "/etc/moved")
    assert world.cog(model, *show).works().stdout == "early"
    said = world.cog(model, "lock", "--upgrade", "base").works().stderr
    assert re.search(r"base \S+/own:python-\w+@\S+ -> \S+/own:python-\w+@\S+", said), said
    assert world.cog(model, *show).works().stdout == "late"
    changed = [
        pair for pair in zip(before.splitlines(), lock_of(model).splitlines(), strict=True) if len(set(pair)) > 1
    ]
    assert [new.split()[0] for _, new in changed] == ["digest"]


def test_another_base_for_one_build_leaves_the_lock_alone(world: World) -> None:
    model = world.project("one", "cognum\n")
    world.cog(model, "lock").works()
    before = lock_of(model)
    put_image(world.registry, "other", [{**PYTHON, "etc/moved": "other"}], {}, "own")
    other = ("--base", world.registry.reference("other", "own"))
    done = world.cog(model, "exec", *other, "python", "-c", SHOW, index=world.new).works()
    assert done.stdout == "1.5 1.5\n", "versions that fit are taken all the same"
    assert "cog.lock is for builds without `--base`" in done.stderr
    assert lock_of(model) == before
    world.cog(model, "exec", *other, "--locked", "true").fails_with("the base is to be", "cog.lock was made for")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "", "cog.lock, line 1: missing field `version`"),
        (lambda text: text.replace("version = 1\n", "version = 9\n"), "cog.lock has format 9"),
        (lambda text: text.replace("[project]", "[project"), r"cog.lock, line \d+: "),
        (lambda text: text.replace("[project]", "<<<<<<< HEAD\n[project]"), r"line \d+: .*conflicts are still in it"),
        (lambda text: text.replace('python = "3.11"', "python = 3.11"), r"cog.lock, line \d+: invalid type"),
        (
            lambda text: text.replace('"cogdep"', '"cogdep -r /etc/passwd"'),
            "not the normalised name of a Python package",
        ),
        (lambda text: text.replace('"cogdep-1.5-py', '"../../cogdep-1.5-py'), "is not the name of a file"),
        (lambda text: text + "#" * (17 << 20), "longer than 16 MiB"),
        (lambda text: text + "[" * 100_000, r"cog.lock, line \d+: "),
    ],
)
def test_a_file_that_is_no_lock_is_told_with_its_line(world: World, change: object, reason: str) -> None:
    model = world.project("one", "cognum\n")
    world.cog(model, "lock").works()
    assert callable(change)
    model.write(cog__lock=change(lock_of(model)))
    for command in ["build", "lock"]:
        done = world.cog(model, command).fails_with("cog.lock")
        assert re.search(reason, done.stderr), done.stderr


def test_debian_packages_are_locked(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    config = CONFIG.replace("build:", "build:\n  system_packages: [tree]")
    model = Project(directory).write(cog__yaml=config, run__py=MODEL, requirements__txt="")
    model.cog("lock").works()
    lock = lock_of(model)
    assert re.search(r'debian = "bookworm"\ndate = "20\d\d-\d\d-\d\dT', lock), lock
    for host in ["http:", "https:", "Origin", str(STORE)]:
        assert host not in lock
    found = re.search(r'\[platform.system_packages\]\nnames = \[\n    "tree",\n\]\npackages = \[\n(.*)\n\]', lock)
    assert found, lock
    assert re.fullmatch(r'    { name = "tree", version = "[^"]+", sha256 = "[0-9a-f]{64}" },', found[1])
    assert model.cog("exec", "--locked", "tree", "--version").works().stdout.startswith("tree v")

    old = re.sub(r'version = "[^"]+", sha256 = "[0-9a-f]{4}', 'version = "0.1-1", sha256 = "0000', found[1])
    model.write(cog__lock=lock.replace(found[1], old))
    gone = ("no longer has `tree` 0.1-1 (but ", "`cog lock --upgrade system` takes what there is now")
    model.cog("build", "--locked").fails_with(*gone)
    said = model.cog("lock", "--upgrade", "tree").works().stderr
    assert "tree 0.1-1 -> " in said
    assert lock_of(model) == lock

    other = re.sub(
        r'(name = "adduser", .*path = ")[^"]+(", .*sha256 = ")[0-9a-f]{4}', r"\1pool/main/none.deb\g<2>0000", lock
    )
    assert other != lock
    model.write(cog__lock=other)
    model.cog("build", "--locked").fails_with(
        "the Debian archive no longer has all packages that cog.lock names",
        "`cog lock --upgrade base` takes the packages that there are now",
        "https://snapshot.debian.org/archive/debian/20",
    )
    # The file is there, and it is another one than the lock says.
    other = re.sub(r'(name = "adduser", .*sha256 = ")[0-9a-f]{4}', r"\g<1>0000", lock)
    model.write(cog__lock=other)
    done = model.cog("build", "--locked").fails_with(
        "a package of the base is not the one that cog.lock names", "if cog.lock was edited or merged"
    )
    assert "no longer has" not in done.stderr


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="makes a package, which takes dpkg-deb")
def test_a_package_that_the_archive_no_longer_has_comes_from_the_cache(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    config = CONFIG.replace("build:", "build:\n  system_packages: [tree]")
    model = Project(directory).write(cog__yaml=config, run__py=MODEL, requirements__txt="")
    model.cog("lock").works()
    # So that its file is in the cache, whatever became of it since the layer was made.
    model.cog("lock", "--upgrade", "system").works()
    lock = lock_of(model)
    found = re.search(r'{ name = "tree", version = "([^"]+)", sha256 = "([0-9a-f]{64})" }', lock)
    assert found, lock
    files = model.store / "debian/files"
    old = tmp_path / "old.deb"
    with_version(files / found[2], old, tmp_path / "unpacked", "0.1-1")
    digest = hashlib.sha256(old.read_bytes()).hexdigest()
    shutil.copy(old, files / digest)
    model.write(cog__lock=lock.replace(found[0], f'{{ name = "tree", version = "0.1-1", sha256 = "{digest}" }}'))
    try:
        show = ("dpkg-query", "-W", "-f", "${Version}", "tree")
        assert model.cog("exec", "--locked", *show).works().stdout == "0.1-1"
    finally:
        (files / digest).unlink()


def with_version(package: Path, changed: Path, folder: Path, version: str) -> None:
    """A copy of the Debian package that says it is another version."""
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(folder)], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(folder), str(changed)], check=True, stdout=subprocess.DEVNULL
    )


def test_a_python_that_is_added_to_the_base_is_locked(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    build = python_builds.build(mirror)
    if isinstance(build, str):
        pytest.skip(build)
    directory = tmp_path / "model"
    directory.mkdir()
    config = CONFIG.replace("3.11", build.minor)
    model = Project(directory).write(cog__yaml=config, run__py=MODEL, requirements__txt="")
    with serve(mirror) as url:
        build.write_list(f"{url}{build.archive.name}")
        env = {"UV_PYTHON_DOWNLOADS_JSON_URL": f"{url}downloads.json"}
        model.cog("lock", **env).works()
        lock = lock_of(model)
        assert f'[platform.base.python]\nversion = "{build.version}"\nsha256 = "' in lock
        # What was made for the lock is there.
        nobody = {"UV_PYTHON_DOWNLOADS_JSON_URL": "http://127.0.0.1:1/"}
        show = ("python", "-c", "import platform; print(platform.python_version())")
        assert model.cog("exec", "--locked", *show, **nobody).works().stdout.strip() == build.version
        start = lock.index("sha256", lock.index("[platform.base.python]"))
        model.write(cog__lock=lock[:start] + re.sub(r'"[0-9a-f]{4}', '"0000', lock[start:], count=1))
        other = f"Python {build.version} comes in another build now than cog.lock names"
        model.cog("build", **env).fails_with(other, "`cog lock --upgrade base` takes the build that there is now")


PYPROJECT = """\
[project]
name = "model"
version = "1"
dependencies = ["cognum"]
"""
UV_LOCK = """\
version = 1
requires-python = ">=3.11"

[[package]]
name = "cogdep"
version = "1.5"
source = {{ registry = "{index}" }}

[[package]]
name = "cognum"
version = "1.5"
source = {{ registry = "{index}" }}
dependencies = [{{ name = "cogdep" }}]

[[package]]
name = "model"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "cognum" }}]
"""


@pytest.mark.parametrize("named", ["pyproject.toml", "uv.lock"])
def test_versions_of_uv_lock_are_taken(world: World, named: str) -> None:
    model = world.project("one", "")
    model.write(
        cog__yaml=CONFIG.replace("requirements.txt", named),
        pyproject__toml=PYPROJECT,
        uv__lock=UV_LOCK.format(index=world.new),
    )
    assert world.versions(model, index=world.new) == "1.5 1.5"
    world.cog(model, "lock", index=world.new).works()
    model.write(uv__lock=UV_LOCK.format(index=world.new).replace('"1.5"', '"2.0"', 1))
    drift = f"{named} has `cogdep==2.0`, and cog.lock was made with `cogdep==1.5`"
    world.cog(model, "lock", "--check").fails_with(drift)
    hashes = 'wheels = [{ url = "x", hash = "sha256:' + "00" * 32 + '" }]\ndependencies'
    model.write(uv__lock=UV_LOCK.format(index=world.new).replace("dependencies", hashes, 1))
    world.cog(model, "lock", "--upgrade", index=world.new).fails_with("no file of `cognum` 1.5 has a hash that", named)
    (model.directory / "uv.lock").unlink()
    if named == "uv.lock":
        world.cog(model, "build").fails_with("file does not exist")
        return
    (model.directory / "cog.lock").unlink()
    assert world.versions(model, index=world.new) == "2.0 2.0"
    model.write(pyproject__toml=PYPROJECT.replace("dependencies = [", 'dynamic = ["dependencies"]\nx = ['))
    world.cog(model, "build").fails_with(
        "pyproject.toml says that its `dependencies` are dynamic: only running its build would tell them",
        "`uv export --no-emit-project --output-file requirements.txt`",
    )

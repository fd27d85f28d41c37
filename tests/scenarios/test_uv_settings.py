"""What the caller has set for uv: where packages come from counts, and what chooses among them does not."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from package_index import add_wheel, serve
from registry import OFFICIAL
from support import STORE, Project, hello

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RegistryBase

SETTINGS = """\
resolution = "lowest"
no-binary = true

[[index]]
url = "{index}"

[pip]
prerelease = "allow"
"""


@pytest.mark.parametrize("place", ["home/.config/uv/uv.toml", "xdg/uv/uv.toml", "named.toml"])
def test_an_index_of_the_users_settings_counts_and_nothing_else(
    tmp_path: Path, base_in_registry: RegistryBase, place: str
) -> None:
    project = Project(hello(tmp_path / "project").directory, tmp_path / "store")
    config = 'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
    project.write(cog__yaml=config, requirements__txt="cognum\n")
    for version in ["1.0", "1.5", "2.0rc1"]:
        add_wheel(tmp_path / "index", "cognum", version, ("cogdep",), cognum="")
    add_wheel(tmp_path / "index", "cogdep", "1.0", cogdep="")
    excluded = tmp_path / "excluded.txt"
    excluded.write_text("cogdep\n")
    settings = tmp_path / place
    settings.parent.mkdir(parents=True, exist_ok=True)
    env = {
        "COG_BASE": base_in_registry.registry.reference(OFFICIAL),
        "HOME": str(tmp_path / "home"),
        "UV_CACHE_DIR": str(STORE / "uv/cache"),
        "UV_EXCLUDE": str(excluded),
        "UV_LINK_MODE": "copy",
        "XDG_CONFIG_HOME": str(tmp_path / "xdg") if place.startswith("xdg") else "",
        "UV_CONFIG_FILE": str(settings) if place == "named.toml" else "",
    }
    with serve(tmp_path / "index", "me", "secret") as url:
        settings.write_text(SETTINGS.format(index=url.replace("://", "://me:secret@")))
        said = project.cog("lock", **env).works().stderr
        lock = (project.directory / "cog.lock").read_text()
        assert 'version = "1.5"' in lock
        assert "cogdep" in lock
        assert "secret" not in lock
        [warning] = [line for line in said.splitlines() if "set for uv" in line]
        for name in ["UV_EXCLUDE", "resolution", "no-binary", "pip.prerelease", str(settings)]:
            assert f"`{name}`" in warning
        assert "UV_LINK_MODE" not in warning
        again = project.cog("lock", **env).works().stderr
        assert "set for uv" not in again

    settings.write_text('index-url = "https://me:secret@localhost" x\n')
    said = project.cog("lock", "--upgrade", **env).fails_with("uv takes settings from").stderr
    assert f"`{settings}`" in said
    assert "line 1" in said
    assert "secret" not in said


def add_source(root: Path) -> None:
    """A source distribution."""
    page = root / "cogsource"
    source = page / "cogsource-1.0"
    source.mkdir(parents=True)
    (source / "setup.py").write_text("from setuptools import setup\nsetup(py_modules=['cogsource'])\n")
    (source / "setup.cfg").write_text("[metadata]\nname = cogsource\nversion = 1.0\n")
    (source / "cogsource.py").write_text("SAID = 'built'\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: cogsource\nVersion: 1.0\n")
    with tarfile.open(page / "cogsource-1.0.tar.gz", "w:gz") as tar:
        tar.add(source, "cogsource-1.0")
    (page / "index.html").write_text('<!DOCTYPE html><html><body><a href="cogsource-1.0.tar.gz">x</a></body></html>')


def test_an_index_of_the_users_settings_counts_in_containers(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    config = 'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
    project.write(cog__yaml=config, requirements__txt="cogsource\n")
    add_source(tmp_path / "index")
    settings = tmp_path / "uv.toml"
    with serve(tmp_path / "index", "me", "secret") as url:
        links = f'find-links = ["{tmp_path}"]\n'
        settings.write_text(links + SETTINGS.format(index=url.replace("://", "://me:secret@")))
        script = "import cogsource; print(cogsource.SAID)"
        said = project.cog("exec", "python", "-c", script, UV_CONFIG_FILE=str(settings)).works()
    assert said.stdout == "built\n"

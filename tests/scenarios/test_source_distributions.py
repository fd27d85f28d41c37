"""Source distributions give the same layer wherever, whenever and by whomever they are built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from uuid import uuid4

from support import Project

CONFIG = """\
build:
  python_version: "3.11"
  system_packages: [tree]
  python_requirements: requirements.txt
environment: [BUILD={build}]
run: "run.py:Runner"
"""
MODEL = "class Runner:\n    def run(self, text: str) -> str:\n        return text\n"
#: One in Python, one in C.
REQUIREMENTS = "--no-binary markupsafe\ndocopt==0.6.2\nmarkupsafe==2.1.5\n"
#: A package of the project. Its build writes the dates of its files into what it makes.
STAMPED = {
    "setup.py": """\
import zipfile

from setuptools import Extension, setup

with zipfile.ZipFile("stamped/data.zip", "w") as archive:
    for name in ("data", "data/a.txt"):
        archive.write(name)
setup(
    name="stamped",
    version="1",
    packages=["stamped"],
    package_data={"stamped": ["data.zip"]},
    ext_modules=[Extension("stamped.stamp", ["stamp.c"])],
)
""",
    "stamp.c": """\
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "stamp", __TIMESTAMP__, -1, NULL};
PyMODINIT_FUNC PyInit_stamp(void) { return PyModule_Create(&module); }
""",
    "stamped/__init__.py": "",
    "data/a.txt": "a",
}


def test_two_builds_give_the_same_layer(tmp_path: Path) -> None:
    one = python_layer(tmp_path / "one", umask="022", TZ="UTC", LANG="C")
    two = python_layer(tmp_path / "another/two", umask="077", TZ="Asia/Tokyo", LANG="tr_TR.UTF-8")
    assert one == two


def test_a_package_of_the_project_is_built_from_files_with_fixed_dates(tmp_path: Path) -> None:
    one = python_layer(tmp_path / "one", umask="022", requirements="./stamped\n")
    two = python_layer(tmp_path / "two", umask="077", requirements="./stamped\n")
    assert one == two


def python_layer(
    directory: Path,
    umask: str,
    requirements: str = REQUIREMENTS,
    **env: str,
) -> str:
    """The digest of the layer with the packages, which have been built just now: what stands on a step with another
    environment is another step, and not in the store."""
    config = CONFIG.format(build=uuid4())
    project_directory = directory / "project"
    project_directory.mkdir(parents=True)
    project = Project(project_directory).write(cog__yaml=config, run__py=MODEL, requirements__txt=requirements)
    for name, content in STAMPED.items():
        path = project_directory / "stamped" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    output = directory / "image"
    under = ("/bin/sh", "-c", f'umask {umask}; exec "$0" "$@"')
    done = project.cog(
        "build", "--output", f"oci-dir={output}", before=under, UV_CACHE_DIR=str(directory / "packages"), **env
    ).works()
    # Done, not found in the store.
    assert re.search(r"^python packages: \d requirements? \(\d", done.stderr, re.MULTILINE), done
    index = json.loads((output / "index.json").read_text())
    manifest = blob(output, index["manifests"][0]["digest"])
    history = blob(output, manifest["config"]["digest"])["history"]
    made = [entry["created_by"] for entry in history if not entry.get("empty_layer")]
    return str(manifest["layers"][made.index("cog: python packages")]["digest"])


def blob(output: Path, digest: str) -> dict:
    return json.loads((output / "blobs" / digest.replace(":", "/")).read_text())

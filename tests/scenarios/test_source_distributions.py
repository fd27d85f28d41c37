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


def test_two_builds_give_the_same_layer(tmp_path: Path) -> None:
    one = python_layer(tmp_path / "one", umask="022", TZ="UTC", LANG="C")
    two = python_layer(tmp_path / "another/two", umask="077", TZ="Asia/Tokyo", LANG="tr_TR.UTF-8")
    assert one == two


def python_layer(directory: Path, umask: str, **env: str) -> str:
    """The digest of the layer with the packages, which have been built just now: what stands on a step with another
    environment is another step, and not in the store."""
    config = CONFIG.format(build=uuid4())
    project_directory = directory / "project"
    project_directory.mkdir(parents=True)
    project = Project(project_directory).write(cog__yaml=config, run__py=MODEL, requirements__txt=REQUIREMENTS)
    output = directory / "image"
    under = ("/bin/sh", "-c", f'umask {umask}; exec "$0" "$@"')
    done = project.cog(
        "build", "--output", f"oci-dir={output}", before=under, UV_CACHE_DIR=str(directory / "packages"), **env
    ).works()
    # Done, not found in the store.
    assert re.search(r"^python packages: 2 requirements \(\d", done.stderr, re.MULTILINE), done
    index = json.loads((output / "index.json").read_text())
    manifest = blob(output, index["manifests"][0]["digest"])
    history = blob(output, manifest["config"]["digest"])["history"]
    made = [entry["created_by"] for entry in history if not entry.get("empty_layer")]
    return str(manifest["layers"][made.index("cog: python packages")]["digest"])


def blob(output: Path, digest: str) -> dict:
    return json.loads((output / "blobs" / digest.replace(":", "/")).read_text())

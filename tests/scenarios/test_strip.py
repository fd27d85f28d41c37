"""`cog build --strip`: libraries of real wheels lose their debugging symbols and still load."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support import STORE, Project

if TYPE_CHECKING:
    from pathlib import Path

# Both have symbols in their libraries; those of Pillow were changed after they were linked, to find others beside them.
REQUIREMENTS = "markupsafe==3.0.2\npillow==11.0.0\n"
CONFIG = """\
build:
  python_version: "3.11"
  python_requirements: requirements.txt
run: "run.py:Runner"
"""
MODEL = """\
import base64
import hashlib
import importlib.metadata
import json

from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        from markupsafe import _speedups, escape
        from PIL import Image, _imagingft, features

        escape("<" + Image.new("L", (8, 8)).resize((4, 4)).mode)
        sizes = {}
        for name in ["markupsafe", "pillow"]:
            for file in importlib.metadata.files(name):
                if ".so" not in file.name:
                    continue
                content = file.locate().read_bytes()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert (file.hash.value, file.size) == (digest, len(content)), file
                sizes[str(file)] = len(content)
        return json.dumps({"sizes": sizes, "works": [features.check("freetype2"), features.check("jpg")]})
"""


def built(project: Project, name: str, *flags: str) -> tuple[dict[str, int], str]:
    """The sizes of libraries in the image, and its digest."""
    done = project.cog("build", "-t", name, *flags).works()
    assert "ignored" not in done.stderr
    answer = json.loads(project.cog("run", name).works().stdout)
    assert answer["works"] == [True, True]
    index = json.loads((STORE / "index.json").read_text())
    [found] = [one for one in index["manifests"] if name in json.dumps(one.get("annotations", {}))]
    return answer["sizes"], found["digest"]


def test_libraries_are_smaller_and_load(tmp_path: Path) -> None:
    project = Project(tmp_path).write(cog__yaml=CONFIG, run__py=MODEL, requirements__txt=REQUIREMENTS)
    usual, _ = built(project, "strip-usual")
    stripped, digest = built(project, "strip-stripped", "--strip")
    assert stripped.keys() == usual.keys()
    assert all(stripped[file] <= usual[file] for file in usual)
    for name in ["markupsafe/_speedups", "PIL/_imagingft"]:
        [file] = [file for file in usual if file.startswith(name)]
        assert stripped[file] < usual[file], file
    assert sum(stripped.values()) < sum(usual.values())
    _, again = built(project, "strip-stripped", "--strip", "--no-cache")
    assert again == digest

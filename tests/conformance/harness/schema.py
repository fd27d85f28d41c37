"""The OpenAPI document of a model, as `cog schema` makes it from the source."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .target import REPOSITORY

CACHE = REPOSITORY / ".cache/conformance"


def document(files: dict[str, str], references: dict[str, str]) -> dict[str, Any]:
    """The document of a project with these files; `references` are the `run` and `train` of its cog.yaml."""
    program = cog()
    made_by = program.resolve().stat()
    key = json.dumps([files, references, made_by.st_mtime_ns, made_by.st_size], sort_keys=True)
    cached = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if not cached.exists():
        text = generate(program, files, references)
        CACHE.mkdir(parents=True, exist_ok=True)
        # Several test processes share the cache: a file appears complete or not at all.
        with tempfile.NamedTemporaryFile("w", dir=CACHE, delete=False) as file:
            file.write(text)
        Path(file.name).replace(cached)
    return json.loads(cached.read_text())  # type: ignore[no-any-return]


def cog() -> Path:
    program = Path(os.environ.get("COG", REPOSITORY / "dist/debug/cog"))
    if not program.exists():
        raise FileNotFoundError(f"{program}: run `make conformance`, or name the program in COG")
    return program


def generate(program: Path, files: dict[str, str], references: dict[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="cog-schema-") as project:
        # JSON is YAML.
        config = json.dumps({"build": {"python_version": "3.11"}, **references})
        for name, content in {**files, "cog.yaml": config}.items():
            path = Path(project, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        done = subprocess.run(
            [str(program), "schema"], cwd=project, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode != 0:
            raise RuntimeError(f"`cog schema` failed for {references}:\n{done.stderr}")
        return done.stdout

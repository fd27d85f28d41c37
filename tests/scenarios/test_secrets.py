"""What is secret is neither shown nor kept: build secrets, variables of a command, and inputs of that type."""

from __future__ import annotations

import gzip
import os
import tarfile
from typing import TYPE_CHECKING

from support import STORE, Done, Project

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RegistryBase

# Each is made of words that nothing else has.
FILE, VARIABLE = "of-a-file-83e1f0", "of-a-variable-55c2d7"
ENV, TOKEN = "of-the-command-9b07aa", "of-an-input-6f4e21"
SECRETS = (FILE, VARIABLE, ENV, TOKEN)

CONFIG = """\
build:
  python_version: "3.11"
  run:
    - command: test -s /run/secrets/file && test -s /run/secrets/variable
      mounts:
        - {type: secret, id: file, target: /run/secrets/file}
        - {type: secret, id: variable, target: /run/secrets/variable}
run: "run.py:Runner"
"""
MODEL = """\
import os

from cog import BaseRunner, Secret


class Runner(BaseRunner):
    def setup(self) -> None:
        print("setup has", len(os.environ["KEY"]), "letters")

    def run(self, token: Secret, fail: bool = False) -> int:
        print("the token is", token.get_secret_value())
        if fail:
            raise ValueError("cannot use " + token.get_secret_value())
        return len(token.get_secret_value())
"""


def holds(content: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in content]


def files_with_secrets(folder: Path) -> dict[str, list[str]]:
    found = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    if secrets := holds(file.read()):
                        found[path] = secrets
    return found


def test_secrets_are_neither_shown_nor_kept(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    directory = tmp_path / "project"
    directory.mkdir()
    project = Project(directory, tmp_path / "store").write(cog__yaml=CONFIG, run__py=MODEL)
    (tmp_path / "secret").write_text(FILE)
    env = {"COG_BASE": base_in_registry.registry.base, "UV_CACHE_DIR": str(STORE / "uv/cache"), "MY_TOKEN": VARIABLE}
    secrets = (f"--secret=id=file,src={tmp_path / 'secret'}", "--secret=type=env,id=variable,env=MY_TOKEN")
    archive = tmp_path / "image.tar"
    layout = ("--compression=gzip", f"--output=docker-archive={archive}")

    done: list[Done] = [
        project.cog("--debug", "build", "-t", "secrets:v1", "--sbom", "--provenance", *secrets, *layout, **env).works(),
        project.cog("--debug", "exec", "-e", f"KEY={ENV}", "--", "sh", "-c", 'test -n "$KEY"', **env).works(),
        project.cog("--debug", "run", "-e", f"KEY={ENV}", "-i", f"token={TOKEN}", **env).works(),
        project.cog("--debug", "run", "-e", f"KEY={ENV}", "-i", f"token={TOKEN}", "-i", "fail=true", **env),
        project.cog("run", "secrets:v1", "-e", f"KEY={ENV}", "--json", f'{{"token": "{TOKEN}"}}', **env).works(),
        # What is wrong with it is told, and not what it is.
        project.cog("run", "-e", f"KEY={ENV}", "--json", f'{{"token": ["{TOKEN}"]}}', **env).fails_with("token"),
        project.cog("inspect", "secrets:v1", "--json", **env).works(),
    ]
    assert f"setup has {len(ENV)} letters" in done[2].stderr + done[3].stderr + done[4].stderr, done[2]
    assert done[2].stdout == f"{len(TOKEN)}\n"
    assert done[3].status == 1, done[3]
    assert "the token is ****" in done[3].stderr, done[3]
    assert "ValueError: cannot use ****" in done[3].stderr, done[3]
    for one in done:
        assert not holds((one.stdout + one.stderr).encode()), one
    assert files_with_secrets(tmp_path / "store") == {}
    assert files_with_secrets(directory) == {}
    with tarfile.open(archive) as image:
        for member in image:
            if member.isfile() and (file := image.extractfile(member)):
                assert not holds(unpacked(file.read())), member.name


def unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content

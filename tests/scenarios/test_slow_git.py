"""A repository that Git takes its time with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from support import hello

if TYPE_CHECKING:
    from pathlib import Path


def test_what_git_does_not_say_in_time_is_told_once(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    (project.directory / ".git").mkdir()
    git = tmp_path / "bin/git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\nexec sleep 60\n")
    git.chmod(0o755)
    path = {"PATH": f"{git.parent}{os.pathsep}{os.environ['PATH']}"}
    said = project.cog("build", "-t", "slow-git:1", **path).works().stderr
    assert said.count("Git did not say within 3 seconds") == 1
    assert "git status" in said
    again = project.cog("build", "-t", "slow-git:1", **path).works().stderr
    assert "Git did not" not in again

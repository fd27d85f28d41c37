"""`cog completion`, in the shells that it is for: what they complete when somebody presses Tab."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import COG, Project
from terminals import Terminal

#: What is typed, and a word that it is completed to, or that is offered.
CASES = [
    ("cog serv", "serve"),
    ("cog run --eng", "--engine"),
    ("cog run --engine emb", "embedded"),
    ("cog bench --concurr", "--concurrency"),
    ("cog completion f", "fish"),
    ("cog serve --wat", "--watch"),
]
#: Hidden, and not offered.
HIDDEN = "cog predic"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07|.\x08")


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def script(name: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Project(path.parent).cog("completion", name).works().stdout)
    return path


def output(*command: object) -> str:
    words = [str(word) for word in command]
    # Of fish, files of the folder are offered as well.
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def test_bash(tmp_path: Path) -> None:
    path = script("bash", tmp_path / "cog")
    for typed, word in [*CASES, (HIDDEN, "")]:
        words = typed.split()
        line = f"COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}; _cog cog {words[-1]} {words[-2]}"
        offered = output(shell("bash"), "-c", f"source {path}; {line}; echo ${{COMPREPLY[@]}}").split()
        assert word in offered if word else not offered, (typed, offered)


def test_fish(tmp_path: Path) -> None:
    path = script("fish", tmp_path / "cog.fish")
    for typed, word in CASES:
        said = output(shell("fish"), "--no-config", "-c", f"source {path}; complete -C '{typed}'")
        offered = [line.partition("\t")[0] for line in said.splitlines()]
        assert word in offered, (typed, said)
    said = output(shell("fish"), "--no-config", "-c", f"source {path}; complete -C '{HIDDEN}'")
    assert "predict" not in said


def test_zsh(tmp_path: Path) -> None:
    program = shell("zsh")
    folder = script("zsh", tmp_path / "functions/_cog").parent
    environment = {**os.environ, "TERM": "xterm", "PATH": f"{COG.parent}:{os.environ['PATH']}"}
    with Terminal([program, "-f", "-i"], tmp_path, environment, columns=200) as terminal:
        # Nothing is asked about, marked or drawn that a reader has to know.
        setup = f"PS1='rea''dy> ' PROMPT_EOL_MARK=; unsetopt zle_bracketed_paste; fpath=({folder} $fpath)"
        terminal.type(f"{setup}; autoload -U compinit; compinit -u -D\n".encode())
        terminal.until(b"ready> ")
        for typed, word in CASES:
            terminal.type(f"{typed}\t".encode())
            completed = typed.rpartition(" ")[0] + " " + word
            seen = ""
            while completed not in seen:
                seen += re.sub(ESCAPES, "", terminal.until(word[-1].encode()).decode())
            # Whatever is on the line goes, and the next one begins.
            terminal.type(b"\x15\n")
            terminal.until(b"ready> ")
        terminal.type(b"exit\n")
        assert terminal.ends() == 0

"""The projects of tests/corpus/projects.jsonl: as folders, as what `cog debug` makes of them, and as a question to uv.

Run as a program (`scripts/corpus-table`), it compares tests/corpus/resolution.csv with what the default package index
answers, or writes that table anew.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support import REPOSITORY, STORE, Done, Project

PROJECTS = REPOSITORY / "tests/corpus/projects.jsonl"
TABLE = REPOSITORY / "tests/corpus/resolution.csv"

# Packages that came later don't change the answers.
NEWEST = "2026-11-01"
PLATFORM = "x86_64-manylinux_2_28"
TORCH_HOST = "download.pytorch.org"
OLDEST_PYTHON = (3, 10)
OLDEST_PYTHON_WITH_CONCURRENCY = (3, 11)
TIME_LIMIT_SECONDS = 300

MODEL = """\
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, text: str) -> str:
        return "hello " + text
"""


class NoAnswer(Exception):
    """The default package index was not reached, or does not say what the table needs."""


@dataclass(frozen=True)
class Facts:
    """A line of the corpus."""

    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def id(self) -> str:
        return self["id"]

    @property
    def python(self) -> str:
        return self["python_version"]

    @property
    def requirements(self) -> list[str]:
        return self["requirements"]

    @property
    def commands(self) -> list[str]:
        return [one if isinstance(one, str) else one["command"] for one in self["run"]]

    @property
    def refused(self) -> str | None:
        """What the published tool refuses it for."""
        version = tuple(int(part) for part in self.python.split(".")[:2])
        if version < OLDEST_PYTHON:
            return f'invalid build.python_version "{self.python}": minimum supported Python version is 3.10'
        if self["concurrency"] is not None and version < OLDEST_PYTHON_WITH_CONCURRENCY:
            return "concurrency requires Python 3.11 or higher"
        return None

    def without_commands(self) -> Facts:
        """The same without what `build.run` does, which mostly fetches something."""
        return Facts({**self.values, "run": []})

    def project(self, directory: Path, store: Path = STORE, python: str | None = None) -> Project:
        """The project in a new folder, with a trivial model."""
        names = ["gpu", "cuda", "cudnn", "system_packages", "run"]
        build = {name: self[name] for name in names if self[name] is not None}
        build |= {"python_version": python or self.python, "python_requirements": "requirements.txt"}
        config = {"build": build, "run": "run.py:Runner"}
        config |= {name: self[name] for name in ["environment", "concurrency"] if self[name]}
        directory.mkdir()
        requirements = "".join(f"{line}\n" for line in self.requirements)
        # JSON is YAML.
        written = json.dumps(config, indent=2)
        return Project(directory, store).write(cog__yaml=written, run__py=MODEL, requirements__txt=requirements)


def corpus() -> list[Facts]:
    return [Facts(json.loads(line)) for line in PROJECTS.read_text().splitlines()]


def dockerfile(project: Project) -> Done:
    """What `cog debug` says without a prebuilt base, which would leave things out."""
    return project.cog("debug", "--use-cog-base-image=false")


def requirement_lines(dockerfile: str) -> list[str]:
    """The lines that a Dockerfile installs, as `cog` has written them."""
    found = re.search(r"^COPY <<'EOF' /tmp/requirements\.txt\n(.*?)^EOF\n", dockerfile, re.MULTILINE | re.DOTALL)
    return found[1].splitlines() if found else []


def allowed_python(refusal: str) -> str | None:
    """The Python that a refusal says would do."""
    found = re.search(r'(?:allow|write) `python_version: "([0-9.]+)"`', refusal)
    return found[1] if found else None


# --- uv ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the table: what became of resolving a project's requirements for a Python."""

    id: str
    python: str
    outcome: str
    detail: str
    distributions: str


RESOLVED = "resolved"
REFUSED = "refused"
UNREACHABLE = "index not reachable"
NEEDS_BUILD = "needs build"
NO_WHEEL = "no wheel"
NO_SUCH_VERSION = "no such version"
CONFLICT = "conflict"
NOTHING = "nothing to resolve"

NO_CONNECTION = (
    "error sending request",
    "dns error",
    "Could not connect",
    "Could not resolve host",
    "Failed to connect to",
    "HTTP status server error",
    "operation timed out",
)


def rows(facts: Facts, folder: Path) -> list[Row]:
    """What the table says of a project: one line, and another for the Python that it would be allowed."""
    done = dockerfile(facts.project(folder / facts.id))
    if done.status == 0:
        return [resolution(facts, facts.python, done.stdout, folder / facts.id)]
    allowed = allowed_python(done.stderr)
    refused = Row(facts.id, facts.python, REFUSED, f"allowed: {allowed}" if allowed else "", "")
    if allowed is None:
        return [refused]
    again = folder / f"{facts.id}-{allowed}"
    done = dockerfile(facts.project(again, python=allowed)).works()
    return [refused, resolution(facts, allowed, done.stdout, again)]


def resolution(facts: Facts, python: str, dockerfile: str, folder: Path) -> Row:
    lines = [line for line in requirement_lines(dockerfile) if TORCH_HOST not in line]
    if not lines:
        return Row(facts.id, python, NOTHING, "", "0")
    done = compile_requirements(lines, python, folder)
    if done.status == 0:
        pins = [line for line in done.stdout.splitlines() if re.match(r"[A-Za-z0-9]", line)]
        torch = [pin.split()[0] for pin in pins if re.match(r"torch(==| @)", pin)]
        return Row(facts.id, python, RESOLVED, " ".join(torch), str(len(pins)))
    outcome, detail = explain(done.stderr, lines)
    return Row(facts.id, python, outcome, detail, "")


def compile_requirements(lines: list[str], python: str, folder: Path) -> Done:
    """Asks uv as `cog` does, but never builds a source distribution, which would run its code here."""
    (folder / "requirements.in").write_text("".join(f"{line}\n" for line in lines))
    command = [
        *[uv_program(), "pip", "compile", "--no-header", "--no-annotate", "--index-strategy", "unsafe-best-match"],
        *["--only-binary", ":all:", "--python-version", python, "--python-platform", PLATFORM],
        *["--exclude-newer", NEWEST, *prereleases(lines), "requirements.in"],
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=uv_environment(),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def prereleases(lines: list[str]) -> list[str]:
    return ["--prerelease", "allow"] if any("--pre" in line.split() for line in lines) else []


def uv_program() -> str:
    """The pinned one beside this Python, or the one on PATH."""
    beside = Path(sys.executable).parent / "uv"
    program = str(beside) if beside.is_file() else shutil.which("uv")
    assert program, "there is no `uv`: run `make setup`"
    return program


def uv_environment() -> dict[str, str]:
    """The caller's, of whose settings for uv only the index counts."""
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV"))}
    kept |= {"UV_DEFAULT_INDEX": index} if index else {}
    return kept | {
        "UV_CACHE_DIR": str(STORE / "uv/cache"),
        "UV_HTTP_RETRIES": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "true",
        "NO_COLOR": "1",
    }


def explain(stderr: str, lines: list[str]) -> tuple[str, str]:
    """The outcome that uv's words stand for, and its subject: a host, or packages."""
    # uv breaks long sentences.
    said = " ".join(stderr.split())
    if any(text in said for text in NO_CONNECTION):
        host = failed_host(said)
        if not any(host in line for line in lines):
            raise NoAnswer(f"the default package index cannot be reached: {stderr}")
        return UNREACHABLE, host
    if "missing an upload date" in said:
        raise NoAnswer(f"the default package index does not say how old its files are: {stderr}")
    because = re.search(r"Because (.*?),? we can conclude", said)
    reason = because[1] if because else said
    if "building from source is disabled" in said:
        wanted = re.findall(r"Wheels are required for `([^`]+)`", said)
        return NEEDS_BUILD, " ".join(sorted(set(wanted)))
    if "has no wheels with a matching" in said:
        return NO_WHEEL, subject(reason)
    if "depends on" in said or "And because" in said:
        return CONFLICT, " ".join(sorted({name for pair in depends(said) for name in pair}))
    if re.search(r"no versions? of|was not found in|(is|are) available", said):
        return NO_SUCH_VERSION, subject(reason)
    if "you require" in said:
        return CONFLICT, subject(reason)
    raise AssertionError(f"what uv says stands for nothing that is known here: {stderr}")


def failed_host(said: str) -> str:
    found = re.search(r"(?:Failed to fetch: |for url \(|unable to access )['`]?(https?://[^\s'`()]+)", said)
    assert found, said
    return urlsplit(found[1]).netloc


def depends(said: str) -> list[tuple[str, str]]:
    name = r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?[^\s]*"
    return re.findall(rf"{name} depends on {name}", said)


def subject(reason: str) -> str:
    """The package, with its version, that a sentence of uv's begins with."""
    words = re.sub(r"^(there (is|are) no versions? of|you require|all versions of|only) ", "", reason).split()
    return words[0]


# --- the table --------------------------------------------------------------------------------------------------


def read_table() -> list[Row]:
    with TABLE.open(newline="") as file:
        return [Row(**line) for line in csv.DictReader(file)]


def write_table(table: list[Row]) -> None:
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([one.name for one in fields(Row)])
        writer.writerows(astuple(row) for row in table)


def main(arguments: list[str]) -> int:
    """Makes every line of the table; `--write` keeps them, otherwise those that differ are printed."""
    say = sys.stdout.write
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        found = []
        for facts in corpus():
            for row in rows(facts, Path(folder)):
                say(",".join(astuple(row)) + "\n")
                found.append(row)
    if arguments == ["--write"]:
        write_table(found)
        return 0
    known = read_table()
    differences = [f"- {row}\n" for row in known if row not in found] + [
        f"+ {row}\n" for row in found if row not in known
    ]
    say("\n" + "".join(differences) if differences else "\nall as in the table\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

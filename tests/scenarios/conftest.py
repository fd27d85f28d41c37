"""Collects `*.scenario` files as tests. What such a file may hold is in README.md."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from registry import Registry, registry_with_base

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
TIME_LIMIT_SECONDS = 600
DEBIAN = "debian"
REGISTRY = "registry"
RUNNING = pytest.StashKey["RegistryBase"]()


@dataclass
class Step:
    line: int
    command: str
    stdin: list[str] = field(default_factory=list)
    status: int = 0
    stdout: list[str] | None = None
    stdout_contains: list[str] = field(default_factory=list)
    stderr_contains: list[str] = field(default_factory=list)
    stderr_lacks: list[str] = field(default_factory=list)


@dataclass
class Scenario:
    engines: list[str] = field(default_factory=lambda: ["embedded"])
    bases: list[str] = field(default_factory=lambda: [DEBIAN])
    copy: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


class Mismatch(Exception):
    """What a command did is not what the scenario says."""


def parse(text: str) -> Scenario:
    scenario = Scenario()
    current_file: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("-- ") and line.endswith(" --"):
            current_file = line[3:-3]
            scenario.files[current_file] = ""
        elif current_file is not None:
            scenario.files[current_file] += line + "\n"
        else:
            parse_line(scenario, number, line)
    return scenario


def parse_line(scenario: Scenario, number: int, line: str) -> None:
    key, _, value = line.partition(" ")
    step = scenario.steps[-1] if scenario.steps else None
    match key, step:
        case "engines:", None:
            scenario.engines = value.split()
        case "bases:", None:
            scenario.bases = value.split()
        case "copy:", None:
            scenario.copy = value
        case "env:", None:
            name, _, content = value.partition("=")
            scenario.env[name] = content
        case "$", _:
            scenario.steps.append(Step(number, value))
        case "<", Step():
            step.stdin.append(value)
        case "?", Step():
            step.status = int(value)
        case ">", Step():
            step.stdout = [*(step.stdout or []), value]
        case ">~", Step():
            step.stdout_contains.append(value)
        case "2>", Step():
            step.stderr_contains.append(value)
        case "2!", Step():
            step.stderr_lacks.append(value)
        case _ if step is not None and line.strip():
            raise ValueError(f"line {number} is no scenario line: {line!r}")


def check(step: Step, done: subprocess.CompletedProcess[str]) -> None:
    problems = []
    if done.returncode != step.status:
        problems.append(f"exit status {done.returncode}, expected {step.status}")
    if step.stdout is not None and done.stdout.splitlines() != step.stdout:
        problems.append(f"stdout is not {step.stdout}")
    problems += [f"stdout lacks {text!r}" for text in step.stdout_contains if text not in done.stdout]
    problems += [f"stderr lacks {text!r}" for text in step.stderr_contains if text not in done.stderr]
    problems += [f"stderr has {text!r}" for text in step.stderr_lacks if text in done.stderr]
    if problems:
        said = f"--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
        raise Mismatch(f"line {step.line}: $ {step.command}\n" + "\n".join(problems) + f"\n{said}")


@dataclass
class RegistryBase:
    """A registry with a base image, and a store that knew nothing of it when the tests began."""

    registry: Registry
    store: Path


def registry_base(config: pytest.Config) -> RegistryBase:
    """Made when the first test needs it."""
    if RUNNING not in config.stash:
        factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
        folder = factory.mktemp("registry")
        environment = {**os.environ, **environment_of(cog_program()), "COG_ENGINE": "embedded"}
        registry = registry_with_base(folder, cog_program(), environment)
        config.stash[RUNNING] = RegistryBase(registry, folder / "store")
    return config.stash[RUNNING]


@pytest.fixture
def base_in_registry(request: pytest.FixtureRequest) -> RegistryBase:
    """For tests that are no scenario files."""
    return registry_base(request.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNNING in config.stash:
        config.stash[RUNNING].registry.stop()


def cog_program() -> Path:
    cog = Path(os.environ.get("COG", REPOSITORY / "dist/debug/cog"))
    if not cog.exists():
        pytest.fail(f"{cog} does not exist: run `make test-scenarios`, or name the program in COG")
    return cog


def environment_of(cog: Path) -> dict[str, str]:
    return {
        "PATH": f"{cog.parent}{os.pathsep}{os.environ['PATH']}",
        "COG_CACHE_DIR": os.environ.get("COG_TEST_CACHE_DIR", str(REPOSITORY / ".cache/tests")),
        "COG_NO_UPDATE_CHECK": "1",
        "COG_LOAD": "none",
        "COG_BASE": DEBIAN,
        "NO_COLOR": "1",
    }


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> pytest.Collector | None:
    if file_path.suffix == ".scenario":
        collected: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
        return collected
    return None


class ScenarioFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        scenario = parse(self.path.read_text())
        for engine in scenario.engines:
            # The host engine has no base.
            for base in scenario.bases if engine == "embedded" else [DEBIAN]:
                name = engine if base == DEBIAN else f"{engine}-{base}"
                yield ScenarioItem.from_parent(self, name=name, scenario=scenario, engine=engine, base=base)


class ScenarioItem(pytest.Item):
    def __init__(self, *, scenario: Scenario, engine: str, base: str, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.scenario = scenario
        self.engine = engine
        self.base = base

    def runtest(self) -> None:
        cog = cog_program()
        factory: pytest.TempPathFactory = self.config._tmp_path_factory  # type: ignore[attr-defined]
        project = factory.mktemp("scenario", numbered=True) / self.path.stem
        if self.scenario.copy:
            shutil.copytree(
                REPOSITORY / self.scenario.copy,
                project,
                ignore=shutil.ignore_patterns(".cog"),
            )
        project.mkdir(exist_ok=True)
        for name, content in self.scenario.files.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        for step in self.scenario.steps:
            check(step, self.execute(step, project, cog))

    def execute(self, step: Step, project: Path, cog: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", step.command],
            cwd=project,
            env={**os.environ, **self.environment(cog), **self.scenario.env},
            input="".join(f"{line}\n" for line in step.stdin),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )

    def environment(self, cog: Path) -> dict[str, str]:
        environment = environment_of(cog)
        if self.engine != "none":
            environment["COG_ENGINE"] = self.engine
        if self.base == REGISTRY:
            base = registry_base(self.config)
            # The new store is about layers; packages need not come over the network again.
            downloads = Path(environment["COG_CACHE_DIR"]) / "uv/cache"
            environment |= {
                "COG_BASE": base.registry.base,
                "COG_CACHE_DIR": str(base.store),
                "UV_CACHE_DIR": str(downloads),
            }
        return environment

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, Mismatch):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.stem}[{self.name}]"

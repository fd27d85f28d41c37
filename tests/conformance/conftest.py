"""Fixtures of the conformance suite, and the known differences as expected failures. README.md says how to run it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import differences
from harness.receiver import Received, Receiver, Reply
from harness.server import Model, Server
from harness.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TARGET = pytest.StashKey[Target]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", help="command of the server under test (default: the build of this repository)")


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[TARGET] = Target.from_command_line(config.getoption("--server"))
        known = differences.load()
    except (OSError, ValueError) as error:
        raise pytest.UsageError(str(error)) from error
    if unknown := differences.unknown_tests(known):
        raise pytest.UsageError(f"{differences.TABLE.name} names tests that do not exist: {', '.join(unknown)}")


def pytest_report_header(config: pytest.Config) -> str:
    target = config.stash[TARGET]
    return f"server: {' '.join(target.command)} ({target.name}, {target.version()})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = differences.load()
    for item in items:
        for difference in known:
            if difference.covers(item.name, config.stash[TARGET].name):
                item.add_marker(pytest.mark.xfail(reason=difference.reason, strict=difference.always))


class Serve(Protocol):
    """Starts a server; `env` and `arguments` are added to the model's."""

    def __call__(self, run: str | None = None, **options: Any) -> Server: ...


def make_model(run: str | None, options: dict[str, Any]) -> Model:
    env = tuple((name, str(value)) for name, value in sorted(options.pop("env", {}).items()))
    return Model(run, env=env, **options)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    return request.config.stash[TARGET]


@pytest.fixture
def start(target: Target) -> Iterator[Serve]:
    """Starts servers for one test, and does not wait for their setup."""
    servers: list[Server] = []

    def start(run: str | None = None, **options: Any) -> Server:
        servers.append(Server(target, make_model(run, options)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def serve(start: Serve) -> Serve:
    """Starts servers for one test, and waits until they are ready."""

    def serve(run: str | None = None, **options: Any) -> Server:
        return start(run, **options).until_ready()

    return serve


@pytest.fixture(scope="module")
def shared(target: Target) -> Iterator[Serve]:
    """Ready servers that the tests of a file share: for models that no test leaves changed."""
    servers: dict[Model, Server] = {}

    def shared(run: str | None = None, **options: Any) -> Server:
        model = make_model(run, options)
        if model not in servers:
            servers[model] = Server(target, model)
        return servers[model].until_ready()

    yield shared
    for server in servers.values():
        server.stop()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Starts servers that get webhooks and uploads, and serve files."""
    receivers: list[Receiver] = []

    def receive(answer: Callable[[Received], Reply] | None = None) -> Receiver:
        receivers.append(Receiver(answer))
        return receivers[-1]

    yield receive
    for receiver in receivers:
        receiver.close()


@pytest.fixture
def receiver(receive: Callable[..., Receiver]) -> Receiver:
    """One that says 200 to everything."""
    return receive()

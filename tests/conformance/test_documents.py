"""Requests made from the models' own documents, good and bad: no 5xx, and answers as the document says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from harness.target import REPOSITORY
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

if TYPE_CHECKING:
    from conftest import Serve

EXAMPLES = REPOSITORY / "examples"
SETTINGS: dict[str, Any] = {
    "max_examples": 60,
    "deadline": None,
    # The same requests every time, and nothing left in the folder.
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
LOADED: dict[str, tuple[str, ...]] = {"hello-world": (), "hello-async": (), "streaming-text": ("corpus.txt",)}


@pytest.fixture(scope="module", params=LOADED)
def document(request: pytest.FixtureRequest, shared: Serve) -> Any:
    name = request.param
    server = shared("run.py:Runner", project=EXAMPLES / name, copied=LOADED[name])
    loaded = schemathesis.openapi.from_dict(server.get("/openapi.json").expect(200))
    loaded.config.update(base_url=f"http://127.0.0.1:{server.port}")
    return loaded


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_document(document: Any, mode: GenerationMode) -> None:
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(**SETTINGS)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_documented(case: schemathesis.Case) -> None:
            hurry(case.body)
            response = case.call()
            checks = [not_a_server_error]
            # Mistakes in the envelope are answered with text.
            if response.headers.get("content-type", [""])[0].startswith("application/json"):
                checks.append(response_schema_conformance)
            case.validate_response(response, checks=checks)

        if mode is GenerationMode.POSITIVE or operation.body:
            answers_as_documented()


def hurry(body: Any) -> None:
    """Shortens what a model is asked to wait."""
    delay = body.get("input", {}).get("delay") if isinstance(body, dict) and isinstance(body.get("input"), dict) else 0
    if isinstance(delay, int | float) and 0 < delay <= 60:
        body["input"]["delay"] = delay / 10_000

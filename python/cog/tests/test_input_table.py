"""The SDK's rules for inputs against the table of cases that the command line and the server are checked by too."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from cog.introspection import check_input, inspect_model

TABLE = Path(__file__).parents[3] / "crates/cog-inputs/tests/cases.json"
CASES: list[dict[str, Any]] = json.loads(TABLE.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["parameter"] for case in CASES])
def test_values_fit_as_the_table_says(case: dict[str, Any]) -> None:
    module = types.ModuleType("model_of_the_table")
    sys.modules[module.__name__] = module
    source = f"from typing import *\nfrom cog import *\ndef run(x: {case['parameter']}) -> str: ..."
    # Without the postponed annotations of this file.
    exec(compile(source, module.__name__, "exec", dont_inherit=True), vars(module))
    inputs = inspect_model(module.run).inputs

    def takes(values: dict[str, Any]) -> bool:
        try:
            check_input(inputs, values)
        except ValueError:
            return False
        return True

    assert takes({}) == (case["omitted"] in ("both", "sdk"))
    for listed, expected in (("fits", True), ("only_sdk", True), ("refused", False), ("only_server", False)):
        for value in case.get(listed, []):
            assert takes({"x": value}) == expected, (listed, value)
    schema = inputs["x"].type.schema()
    if "components" not in case:
        assert schema.items() <= case["property"].items()

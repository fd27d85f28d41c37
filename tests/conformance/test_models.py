"""Ways to write a model: cases 64-68 and 72 of the runtime specification, some of the SDK's."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from harness.server import MODELS

if TYPE_CHECKING:
    from conftest import Serve
    from harness.server import Server

TRAIN_MODE = ("--x-mode", "train")


def data_url(text: str) -> str:
    return f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"


def test_case_64_module_state(serve: Serve) -> None:
    server = serve("handlers.py:Keeps")
    assert [server.output(letter=letter) for letter in "abc"] == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_case_65_model_in_a_subdirectory(serve: Serve) -> None:
    server = serve("my-subdir/predict.py:Predictor", project=MODELS / "layout", copied=("helper.py",))
    assert server.output(s="hello") == "HELLO"


@pytest.mark.parametrize("name", ["Plain", "greet", "run"])
def test_case_66_without_a_base_class(shared: Serve, name: str) -> None:
    assert shared(f"echo.py:{name}").output(s="x") == "hello x"


def train(server: Server, path: str) -> None:
    done = server.finish({"input": {"steps": 3}}, path=path)
    assert done["status"] == "succeeded", done
    assert done["output"] == {"weights": data_url("3 steps"), "steps": 3}
    assert done["logs"] == "training\n"


def test_case_67_train_function(serve: Serve) -> None:
    train(serve(train="trainer.py:train", arguments=TRAIN_MODE), "/trainings")


def test_case_67_train_class(serve: Serve) -> None:
    server = serve("echo.py:Runner", train="trainer.py:Trainer", arguments=TRAIN_MODE, has_schema=False)
    train(server, "/trainings")
    assert "setting up" in server.setup_logs()


def test_case_67_predictions_train_too(serve: Serve) -> None:
    train(serve(train="trainer.py:train", arguments=TRAIN_MODE, has_schema=False), "/predictions")


def test_case_67_train_raises(serve: Serve) -> None:
    server = serve(train="trainer.py:failing", arguments=TRAIN_MODE)
    done = server.finish({"input": {"steps": 3}}, path="/trainings")
    assert done["status"] == "failed"
    assert "ValueError: bad thing" in done["error"]


def test_section_18_trainings_are_validated(serve: Serve) -> None:
    server = serve("echo.py:Runner", train="trainer.py:train", arguments=TRAIN_MODE)
    (found,) = server.post("/trainings", {"input": {"steps": "x"}}).expect(422)["detail"]
    assert found["loc"] == ["body", "input", "steps"]


def test_section_18_trainings_in_predict_mode(shared: Serve) -> None:
    server = shared("pair.py:run", train="pair.py:train")
    assert server.finish({"input": {"s": "x"}}, path="/trainings")["output"] == "predicted x"


def test_section_18_class_without_train(start: Serve) -> None:
    server = start(train="trainer.py:NoTrainer", arguments=TRAIN_MODE, has_schema=False)
    health = server.until_status("READY", "SETUP_FAILED")
    message = "Training not supported by this predictor"
    if health["status"] == "SETUP_FAILED":
        assert message in health["setup"]["logs"]
    else:
        done = server.finish({"input": {"steps": 3}}, path="/trainings")
        assert message in done["error"]


def test_case_68_postponed_annotations(shared: Serve) -> None:
    assert shared("postponed.py:Runner").output(path=data_url("text")) == data_url("TEXT")


def test_case_72_environment(serve: Serve) -> None:
    server = serve("echo.py:Variable", env={"MY_SETTING": "value", "COG_WEIGHTS": "w"})
    assert server.output(name="MY_SETTING") == "value"
    assert server.output(name="COG_WEIGHTS") == "w"
    assert server.output(name="NOT_SET_ANYWHERE") == "unset"


@pytest.mark.parametrize("model", ["OnlyPredict", "Legacy"])
def test_sdk_case_03_predict(serve: Serve, model: str) -> None:
    assert serve(f"classes.py:{model}").output(s="x") == "predicted x"


def test_sdk_case_09_inherited_run(serve: Serve) -> None:
    assert serve("classes.py:Inherits").output(s="x") == "inherited x"


def test_sdk_case_06_own_init(serve: Serve) -> None:
    server = serve("classes.py:OwnInit")
    assert [server.output() for _ in range(3)] == [10, 20, 30]
    assert server.predict(amount=5)["metrics"]["count"] == 35


def test_sdk_case_14_default(shared: Serve) -> None:
    server = shared("inputs.py:Defaults")
    assert server.output() == "int:10 str:text"
    assert server.output(n=3, s="x") == "int:3 str:x"


def test_sdk_case_22_any(shared: Serve) -> None:
    server = shared("inputs.py:Anything")
    value = {"a": {"b": [1, "c", None, True, 1.5]}}
    assert server.output(value=value) == value


def test_sdk_case_29_emit_metric(serve: Serve) -> None:
    server = serve("classes.py:EmitsMetric")
    assert server.predict()["metrics"]["tokens"] == 3
    assert "cog: emit_metric() is deprecated" in str(server.log) + server.setup_logs()

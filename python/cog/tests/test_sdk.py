"""What models import."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path as PosixPath
from typing import Any, Optional

import cog
import pytest
from cog import BaseModel, BasePredictor, BaseRunner, File, Input, Path, Secret, URLFile
from cog._scope import Scope, check_name
from cog.predictor import load_predictor_from_ref


def test_everything_promised_is_exported() -> None:
    for name in cog.__all__:
        assert getattr(cog, name) is not None
    with pytest.raises(AttributeError, match="module 'cog' has no attribute 'NoSuchAttribute'"):
        cog.NoSuchAttribute  # noqa: B018


def test_importing_needs_no_other_package() -> None:
    code = "import sys, cog; print([m for m in sys.modules if m.split('.')[0] in ('requests','pydantic','yaml')])"
    env = {**os.environ, "PYTHONPATH": str(PosixPath(cog.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_run_and_predict_stand_for_each_other() -> None:
    class Upper(BaseRunner):
        def run(self, text: str) -> str:
            return text.upper()

    class Old(BaseRunner):
        def predict(self, text: str) -> str:
            return text.upper()

    assert Upper().run(text="hello") == "HELLO"
    with pytest.warns(DeprecationWarning, match=r"Upper.predict\(\) is deprecated"):
        assert Upper().predict("hello") == "HELLO"
    assert Old().run("hello") == "HELLO"
    with pytest.raises(NotImplementedError):
        BaseRunner().run()
    assert issubclass(BasePredictor, BaseRunner)


@pytest.mark.parametrize(
    ("source", "ref", "expected"),
    [
        ("class Runner:\n def run(self): pass", "m.py", "Runner"),
        ("class Predictor:\n def predict(self): pass", "m.py:Predictor", "Predictor"),
        ("class Runner:\n def run(self): pass\n def predict(self): pass", "m.py", ValueError),
        ("class Runner: pass", "m.py", ValueError),
        ("Runner = 42", "m.py", TypeError),
        ("x = 1", "m.py", AttributeError),
    ],
)
def test_models_are_found_by_reference(
    tmp_path: PosixPath, monkeypatch: pytest.MonkeyPatch, source: str, ref: str, expected: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(expected, str):
            assert type(load_predictor_from_ref(ref)).__name__ == expected
        else:
            with pytest.raises(expected):
                load_predictor_from_ref(ref)


def test_decorators_return_the_function() -> None:
    def plain() -> None: ...

    async def waits() -> None: ...

    assert cog.streaming(plain) is plain
    assert cog.streaming()(plain) is plain
    assert cog.concurrent(max=3)(waits).__cog_concurrent_max__ == 3  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="requires an async function"):
        cog.concurrent(max=2)(plain)
    with pytest.raises(ValueError, match="at least 1"):
        cog.concurrent(max=0)


def test_input_describes_a_field() -> None:
    field = Input(description="d", ge=0)
    assert (field.default, field.description, field.ge) == (None, "d", 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        field.default = 1
    with pytest.raises(TypeError, match="default_factory is not supported"):
        Input(default_factory=list)


def test_secrets_do_not_show() -> None:
    secret = Secret("k")
    assert (str(secret), repr(secret), secret.get_secret_value()) == (
        "*" * 10,
        "Secret(**********)",
        "k",
    )
    assert (str(Secret()), Secret().get_secret_value()) == ("", None)


def test_files_come_from_urls() -> None:
    stream = io.BytesIO(b"x")
    assert File.validate(stream) is stream
    assert File.validate("data:text/plain;base64,SGVsbG8gV29ybGQ=").read() == b"Hello World"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="'ftp' is not a valid URL scheme"):
        File.validate("ftp://x")
    remote = URLFile("https://example.com/image.jpg")
    assert remote.name == "image.jpg"  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(remote)).name == "image.jpg"
    assert isinstance(Path("/tmp/test.txt"), PosixPath)
    assert str(Path.validate("https://example.com/a.txt")) == "https://example.com/a.txt"


def test_field_infos_behave_as_dataclasses() -> None:
    field = cog.Input(3, description="how many", ge=1)
    assert field == cog.Input(3, description="how many", ge=1) != cog.Input(3)
    assert hash(field) == hash(cog.Input(3, description="how many", ge=1))
    assert dataclasses.asdict(field)["description"] == "how many"
    assert dataclasses.replace(field, ge=2).ge == 2


def test_small_models_load_no_large_modules() -> None:
    slow = "{'typing', 'dataclasses', 'inspect', 'pathlib', 'asyncio', 'cog.introspection'}"
    code = f"import sys, cog._worker.main; print(sorted({slow} & {{*sys.modules}}))"
    env = {**os.environ, "PYTHONPATH": str(PosixPath(cog.__file__).parents[1])}
    loaded = subprocess.run([sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_models_are_dataclasses() -> None:
    class Output(BaseModel):
        text: str
        maybe: Optional[str] = None  # noqa: UP045

    assert dataclasses.asdict(Output(text="a")) == {"text": "a", "maybe": None}
    with pytest.raises(TypeError, match="Primary base class"):

        class Bad(dict, BaseModel):  # type: ignore[type-arg]
            pass

    class Plain(BaseModel, auto_dataclass=False):
        pass

    assert not dataclasses.is_dataclass(Plain)


@pytest.mark.parametrize("name", ["temperature", "TTFT", "T2I_latency", "x", "a.b.c.d", "foo.bar_baz", "a" * 128])
def test_good_metric_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".foo",
        "foo.",
        "foo..bar",
        "_foo",
        "foo_",
        "foo__bar",
        "1a",
        "a b",
        "a!",
        "a-b",
        "predict_time",
        "cog.x",
        "a.b.c.d.e",
        "a" * 129,
    ],
)
def test_bad_metric_names(name: str) -> None:
    with pytest.raises(ValueError):
        check_name(name)


def test_metrics_keep_their_type() -> None:
    sent: list[tuple[str, Any, str]] = []
    scope = Scope({}, lambda *metric: sent.append(metric))
    scope.record_metric("count", 1, "incr")
    scope.metrics["label"] = "a"
    with pytest.raises(TypeError, match="Metric 'count' has type int, cannot set to str"):
        scope.record_metric("count", "x")
    del scope.metrics["count"]
    scope.record_metric("count", "x")
    with pytest.raises(TypeError, match="Invalid metric mode: 'x'"):
        scope.record_metric("count", 1, "x")
    assert sent == [
        ("count", 1, "increment"),
        ("label", "a", "replace"),
        ("count", None, "replace"),
        ("count", "x", "replace"),
    ]


def test_outside_a_prediction_metrics_are_silent() -> None:
    cog.current_scope().record_metric("anything goes", object())
    assert cog.current_scope().context == {}


def test_cancelation_is_no_ordinary_exception() -> None:
    import cog.exceptions

    assert cog.CancelationException is cog.exceptions.CancelationException
    assert not issubclass(cog.CancelationException, Exception)


def test_the_opaque_marker_names_itself() -> None:
    assert repr(cog.Opaque) == "cog.Opaque"


def test_a_scratch_directory_lives_as_long_as_its_scope(tmp_path: Path) -> None:
    scope = Scope(scratch=str(tmp_path / "1"))
    assert not (tmp_path / "1").exists()
    assert scope.scratch_dir == scope.scratch_dir == tmp_path / "1"
    assert isinstance(scope.scratch_dir, cog.Path) and scope.scratch_dir.is_dir()
    assert scope.close()
    assert not Scope(scratch=str(tmp_path / "2")).close()
    for without in (scope, Scope(), cog.current_scope()):
        with pytest.raises(RuntimeError, match="while a prediction runs"):
            _ = without.scratch_dir

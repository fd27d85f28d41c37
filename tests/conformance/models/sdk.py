"""What the SDK promises to models, checked in the worker: the output is the name of the check that was passed."""

import contextlib
import dataclasses
import io
import pathlib
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path as PlainPath
from typing import Any, Optional

import cog
from cog import BaseModel, BasePredictor, BaseRunner, File, Input, Path, Secret, URLFile
from cog.predictor import load_predictor_from_ref

EXPORTS = """__version__ BaseRunner BasePredictor BaseModel Input FieldInfo Path File Secret URLFile URLPath
ConcatenateIterator AsyncConcatenateIterator Opaque CancelationException current_scope streaming concurrent
ExperimentalFeatureWarning emit_metric"""


class Checks(BaseRunner):
    def run(self, check: str) -> str:
        globals()[check]()
        return check


@contextlib.contextmanager
def raises(kind: type[BaseException], text: str = "") -> Iterator[None]:
    try:
        yield
    except kind as error:
        assert text in str(error), f"`{text}` is not in `{error}`"
    else:
        raise AssertionError(f"no {kind.__name__}")


def warned(work: Callable[[], Any]) -> list[str]:
    """The warnings that it gives, each as `Class: text`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


def loaded(source: str, name: str = "") -> Any:
    """The model that a file with this source holds."""
    PlainPath("loaded_by_check.py").write_text(f"from cog import *\n{source}")
    return load_predictor_from_ref(f"loaded_by_check.py{name}")


def exports() -> None:
    for name in EXPORTS.split():
        assert name in cog.__all__, name
        assert getattr(cog, name) is not None, name
    namespace: dict[str, Any] = {}
    exec("from cog import *", namespace)
    assert set(EXPORTS.split()) <= set(namespace)
    with raises(AttributeError, "module 'cog' has no attribute 'NoSuchAttribute'"):
        _ = cog.NoSuchAttribute


class Upper(BaseRunner):
    def run(self, text: str) -> str:
        return text.upper()


def run_and_predict() -> None:
    assert Upper().run(text="hello") == "HELLO"
    for call in (lambda: Upper().predict("hello"), lambda: Upper().predict(text="hello")):
        (warning,) = warned(call)
        assert warning.startswith("DeprecationWarning: Upper.predict() is deprecated")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Upper().predict(text="hello") == "HELLO"


def nothing_implemented() -> None:
    with raises(NotImplementedError, "run has not been implemented by parent class."):
        BaseRunner().run()

    def predict() -> None:
        with raises(NotImplementedError):
            BasePredictor().predict()

    (warning,) = warned(predict)
    assert "BasePredictor.predict() is deprecated" in warning
    assert issubclass(BasePredictor, BaseRunner)


class Weighted(Upper):
    def setup(self, weights: Any = None) -> None:
        self.weights = weights


def setup() -> None:
    assert Upper().setup() is None
    for weights in ("/p", Path("/p")):
        model = Weighted()
        model.setup(weights=weights)
        assert model.weights is weights


RUNNER = "class Runner(BaseRunner):\n def run(self): ...\n"
PREDICTOR = "class Predictor(BaseRunner):\n def run(self): ...\n"


def references_without_a_name() -> None:
    assert type(loaded(RUNNER)).__name__ == "Runner"
    assert type(loaded(PREDICTOR)).__name__ == "Predictor"
    assert type(loaded(RUNNER + PREDICTOR)).__name__ == "Runner"
    assert warned(lambda: loaded(RUNNER)) == []
    assert "DeprecationWarning: Predictor is deprecated; use Runner instead" in warned(lambda: loaded(PREDICTOR))
    (both,) = warned(lambda: loaded(RUNNER + PREDICTOR))
    assert both.startswith("UserWarning: Both Runner and Predictor are defined; using Runner.")


def run_and_predict_at_once() -> None:
    with raises(ValueError, "Runner must define either run() or predict(), not both"):
        loaded(RUNNER + " def predict(self): ...\n", ":Runner")
    with raises(ValueError, "run or predict method not found: Runner"):
        loaded("class Runner(BaseRunner): ...", ":Runner")


def inherited_handlers() -> None:
    assert warned(lambda: loaded(RUNNER + "class Child(Runner): ...", ":Child")) == []
    predict = "class Parent(BaseRunner):\n def predict(self): ...\nclass Child(Parent): ...\n"
    assert "DeprecationWarning: Child.predict() is deprecated; use run() instead" in warned(
        lambda: loaded(predict, ":Child")
    )
    legacy = "class Child(BasePredictor):\n def run(self): ...\n"
    assert "DeprecationWarning: BasePredictor is deprecated; use BaseRunner instead" in warned(
        lambda: loaded(legacy, ":Child")
    )


def runner_that_is_no_model() -> None:
    with raises(TypeError, "Runner exists but is not a class or callable"):
        loaded("Runner = 42")
    with raises(AttributeError, "has no Runner or Predictor"):
        loaded("")


def plain(text: str) -> str:
    return text


async def waits() -> None: ...


async def yields() -> Any:
    yield 1


def concurrent() -> None:
    for decorate in (cog.concurrent, cog.concurrent(), cog.concurrent(max=1)):
        decorated = decorate(lambda: None)
        assert decorated.__cog_concurrent_max__ == 1
    for function in (waits, yields):
        assert cog.concurrent(max=3)(function) is function
        assert function.__cog_concurrent_max__ == 3
    with raises(TypeError, "concurrent max greater than 1 requires an async function"):
        cog.concurrent(max=2)(plain)
    for wrong in (0, -1):
        with raises(ValueError, "concurrent max must be at least 1"):
            cog.concurrent(max=wrong)
    for wrong in ("2", 1.5, True):
        with raises(TypeError, "concurrent max must be an integer"):
            cog.concurrent(max=wrong)
    with raises(TypeError, "concurrent must be used as @concurrent or @concurrent(max=...)"):
        cog.concurrent(5)


def streaming() -> None:
    before = dict(vars(plain))
    assert cog.streaming(plain) is plain
    assert cog.streaming()(plain) is plain
    assert vars(plain) == before


def fields() -> None:
    field = Input(description="d")
    assert isinstance(field, cog.FieldInfo)
    assert (field.default, field.description) == (None, "d")
    given = {
        "ge": 1,
        "le": 2,
        "min_length": 3,
        "max_length": 4,
        "regex": "r",
        "choices": ["a", "b"],
        "deprecated": True,
    }
    field = Input(**given, accept="image/*")
    assert {name: getattr(field, name) for name in given} == given
    assert field.accept == "image/*"
    assert dataclasses.is_dataclass(field)
    with raises(dataclasses.FrozenInstanceError):
        field.default = 1
    for default in ((1, 2), frozenset({1}), None, False, [1]):
        assert Input(default).default is default
        assert Input(default=default).default is default
    with raises(TypeError, "default_factory is not supported in Input()."):
        Input(default_factory=list)


def secrets() -> None:
    secret = Secret("k")
    assert (str(secret), secret.get_secret_value()) == ("*" * 10, "k")
    assert "k" not in repr(secret)
    assert (str(Secret()), Secret().get_secret_value()) == ("", None)
    with raises(dataclasses.FrozenInstanceError):
        secret.secret_value = "other"


def files() -> None:
    stream = io.BytesIO(b"x")
    assert File.validate(stream) is stream
    opened = File.validate("data:text/plain;base64,SGVsbG8gV29ybGQ=")
    assert isinstance(opened, io.BytesIO)
    assert opened.read() == b"Hello World"
    with raises(ValueError, "'ftp' is not a valid URL scheme. 'data', 'http', or 'https' is supported."):
        File.validate("ftp://example.com/x")


def files_behind_urls() -> None:
    file = URLFile("https://example.invalid/image.jpg")
    assert file.name == "image.jpg"
    assert URLFile("https://example.invalid/image.jpg", filename="other.jpg").name == "other.jpg"
    assert pickle.loads(pickle.dumps(file)).name == "image.jpg"
    with raises(ValueError, "URLFile requires URL to conform to HTTP or HTTPS protocol"):
        URLFile("ftp://example.invalid/image.jpg")


def paths() -> None:
    path = Path("/tmp/test.txt")
    assert str(path) == "/tmp/test.txt"
    assert isinstance(path, pathlib.PosixPath)


class Inner(BaseModel):
    file: Path
    note: Optional[str] = None  # noqa: UP045


class Outer(BaseModel):
    inner: Inner
    size: int = 3


class Child(Outer):
    name: str = "child"


def models() -> None:
    inner = Inner(file=Path("/a"))
    assert dataclasses.is_dataclass(Inner)
    assert (inner.file, inner.note) == (Path("/a"), None)
    assert Outer(inner).size == 3
    child = Child(inner=inner, size=4)
    assert dataclasses.asdict(child) == {"inner": {"file": Path("/a"), "note": None}, "size": 4, "name": "child"}
    with raises(TypeError):
        Outer()


def models_that_are_refused() -> None:
    @dataclasses.dataclass
    class Data:
        a: int = 1

    class Other: ...

    with raises(TypeError, 'Primary base class of "Bad" must inherit from BaseModel'):
        type("Bad", (Other, BaseModel), {})
    with raises(TypeError, "Cannot mixin dataclass"):
        type("Bad", (Outer, Data), {})

    class Plain(BaseModel, auto_dataclass=False):
        def __init__(self, a: int) -> None:
            self.a = a

    assert not dataclasses.is_dataclass(Plain)
    assert Plain(2).a == 2
    with raises(ValueError, "auto_dataclass=False"):
        type("Bad", (Outer,), {}, auto_dataclass=False)


def opaque_marker() -> None:
    assert repr(cog.Opaque) == "cog.Opaque"


def deprecated_names() -> None:
    code = """
import warnings
from cog import ExperimentalFeatureWarning, emit_metric
assert issubclass(ExperimentalFeatureWarning, FutureWarning)
warnings.filterwarnings("ignore", category=ExperimentalFeatureWarning)
emit_metric("tokens", 3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cog: ExperimentalFeatureWarning is deprecated" in done.stderr
    assert "cog: emit_metric() is deprecated" in done.stderr


def import_without_pydantic() -> None:
    blocked = "import sys; sys.modules['pydantic'] = None; import cog; cog.BaseModel; cog.Path"
    subprocess.run([sys.executable, "-c", blocked], check=True)


def import_with_pydantic() -> None:
    subprocess.run([sys.executable, "-c", "import pydantic, cog; cog.BaseModel; cog.Path"], check=True)


def cancelation() -> None:
    assert issubclass(cog.CancelationException, BaseException)
    assert not issubclass(cog.CancelationException, Exception)


def cancelation_module() -> None:
    from cog.exceptions import CancelationException

    assert CancelationException is cog.CancelationException

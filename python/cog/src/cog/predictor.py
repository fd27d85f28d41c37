"""Base classes of models, and how a model is found in its file."""

from __future__ import annotations

import os
import sys
import warnings

from ._decorators import unwrapped
from ._scope import current_scope

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._scope import Scope


class BaseRunner:
    """Base of models: ``setup()`` runs once, ``run()`` for each prediction."""

    def setup(self, weights: Any = None) -> None:
        """Loads what predictions need. Does nothing unless overridden."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """One prediction."""
        if type(self).predict not in _FRAMEWORK_PREDICT:
            return self.predict(*args, **kwargs)
        raise NotImplementedError("run has not been implemented by parent class.")

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Deprecated name of :meth:`run`."""
        name = type(self).__name__
        warnings.warn(f"{name}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=2)
        return self.run(*args, **kwargs)

    @property
    def scope(self) -> Scope:
        """The running prediction."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Records a metric of the running prediction."""
        self.scope.record_metric(key, value, mode)


_FRAMEWORK_PREDICT = (BaseRunner.predict,)


class BasePredictor(BaseRunner):
    """Deprecated: use :class:`BaseRunner`."""


def handler_name(cls: type) -> str:
    """Which of ``run`` and ``predict`` a class defines; ValueError for both or none."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base in (BaseRunner, BasePredictor, object):
            break
        found.update(name for name in ("run", "predict") if callable(getattr(base, name, None)) and name in vars(base))
    if len(found) == 2:
        raise ValueError(f"{cls.__name__} must define either run() or predict(), not both")
    if not found:
        raise ValueError(f"run or predict method not found: {cls.__name__}")
    return found.pop()


def load_predictor_from_ref(ref: str) -> Any:
    """The model that ``path.py:Name`` (or ``path.py``) refers to: classes are instantiated."""
    path, _, name = ref.partition(":")
    module = _load_module(path)
    target = getattr(module, name) if name else _default_target(module)
    return _instantiate(target) if isinstance(target, type) else target


def _load_module(path: str) -> Any:
    import importlib.util

    name = os.path.basename(path)
    name = name[: -len(".py")] if name.endswith(".py") else name
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"`{path}` is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _instantiate(cls: type) -> Any:
    name = handler_name(cls)
    if name == "predict":
        _deprecated(f"{cls.__name__}.predict() is deprecated; use run() instead")
    if issubclass(cls, BasePredictor):
        _deprecated("BasePredictor is deprecated; use BaseRunner instead")
    return cls()


def _default_target(module: Any) -> Any:
    runner = getattr(module, "Runner", None)
    predictor = getattr(module, "Predictor", None)
    problem = _problem(module, runner)
    if problem is None:
        if predictor is not None:
            warnings.warn(
                "Both Runner and Predictor are defined; using Runner. Remove Predictor.",
                UserWarning,
                stacklevel=4,
            )
        return runner
    if predictor is not None:
        _deprecated("Predictor is deprecated; use Runner instead")
        return predictor
    raise problem


def _problem(module: Any, runner: Any) -> Exception | None:
    if not hasattr(module, "Runner"):
        return AttributeError(f"module '{module.__name__}' has no Runner or Predictor")
    if isinstance(runner, type):
        try:
            handler_name(runner)
        except ValueError as error:
            return error
    elif not callable(runner):
        return TypeError("Runner exists but is not a class or callable")
    return None


def _deprecated(text: str) -> None:
    warnings.warn(text, DeprecationWarning, stacklevel=5)


def has_setup_weights(model: Any) -> bool:
    """Whether its ``setup`` has a parameter ``weights``."""
    setup: Callable[..., Any] | None = getattr(model, "setup", None)
    code = getattr(unwrapped(setup), "__code__", None)
    if code is None:
        return False
    return "weights" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def extract_setup_weights(model: Any) -> str | None:
    """What ``setup`` gets as ``weights``: the variable ``COG_WEIGHTS``, as it is."""
    return os.environ.get("COG_WEIGHTS") or None

"""The methods of a model: whether they have the form that a server can call, and what they take and give."""

from __future__ import annotations

import inspect
import sys
import types
import typing
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..coder import Coder
from ..predictor import handler_name
from .inputs import InputField, input_field
from .outputs import OutputType, output_type

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NEVER = {
    inspect.Parameter.VAR_POSITIONAL: "*args",
    inspect.Parameter.VAR_KEYWORD: "**kwargs",
    inspect.Parameter.KEYWORD_ONLY: "keyword-only args",
}


@dataclass(frozen=True)
class ModelSignature:
    """What a model takes and gives."""

    inputs: dict[str, InputField]
    output: OutputType


def inspect_model(model: type | Callable[..., Any]) -> ModelSignature:
    """The signature of a model, a class or a function; ValueError says what is wrong with it."""
    register_coders(sys.modules.get(model.__module__))
    if not isinstance(model, type):
        return _signature(model, is_method=False)
    name = handler_name(model)
    if name == "predict":
        warnings.warn(f"{model.__name__}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=2)
    check_setup(getattr(model, "setup", None))
    return _signature(getattr(model, name), is_method=True)


def check_setup(setup: Any) -> None:
    """Raises ValueError for a ``setup`` that no server could call."""
    if setup is None:
        return
    if not inspect.isfunction(setup):
        raise ValueError("setup() must have 'self' as first argument")
    parameters = _parameters(setup, is_method=True)
    unexpected = [
        name for name, parameter in parameters.items() if parameter.default is parameter.empty and name != "weights"
    ]
    if unexpected:
        raise ValueError(f"unexpected setup() arguments: {', '.join(unexpected)}")
    # Not `get_type_hints`: the types of other parameters need not exist at run time.
    if setup.__annotations__.get("return") not in (None, "None"):
        raise ValueError("setup() must return None")


def register_coders(module: types.ModuleType | None) -> None:
    """Makes the coders known that a module defines or imports, itself or through a module that it imports."""
    for name, value in vars(module).items() if module else ():
        visible = vars(value).values() if isinstance(value, types.ModuleType) and name != "cog" else (value,)
        for found in visible:
            if isinstance(found, type) and issubclass(found, Coder) and not inspect.isabstract(found):
                Coder.register(found)


def _signature(handler: Callable[..., Any], *, is_method: bool) -> ModelSignature:
    name = handler.__name__
    parameters = _parameters(handler, is_method=is_method)
    hints = typing.get_type_hints(handler, include_extras=True)
    if hints.get("return", type(None)) is type(None):
        raise ValueError(f"{name}() must have a return type annotation")
    return ModelSignature(
        {name: _field(parameter, hints) for name, parameter in parameters.items()}, output_type(hints["return"])
    )


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> InputField:
    if parameter.name not in hints:
        raise ValueError(f"missing type annotation for input: {parameter.name}")
    default = None if parameter.default is parameter.empty else parameter.default
    return input_field(parameter.name, hints[parameter.name], default)


def _parameters(function: Callable[..., Any], *, is_method: bool) -> dict[str, inspect.Parameter]:
    """Those after ``self``."""
    name = function.__name__
    parameters = list(inspect.signature(function).parameters.values())
    if is_method and (not parameters or parameters[0].kind not in _POSITIONAL or parameters.pop(0).name != "self"):
        raise ValueError(f"{name}() must have 'self' as first argument")
    for parameter in parameters:
        if parameter.kind in _NEVER:
            raise ValueError(f"{name}() must not have {_NEVER[parameter.kind]}")
    return {parameter.name: parameter for parameter in parameters}

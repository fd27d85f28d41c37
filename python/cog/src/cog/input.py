"""What a parameter of a model accepts."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` and `dataclasses` would be the slowest imports of a small model
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

_FIELDS = (
    "default",
    "description",
    "ge",
    "le",
    "min_length",
    "max_length",
    "regex",
    "choices",
    "deprecated",
    "accept",
)


class _DataclassFields:
    """What `dataclasses` asks a class for; made when it asks."""

    def __get__(self, _instance: object, _owner: type) -> dict[str, Any]:
        import dataclasses

        made = dataclasses.make_dataclass("FieldInfo", [(name, "object", None) for name in _FIELDS])
        fields: dict[str, Any] = vars(made)["__dataclass_fields__"]
        return fields


class FieldInfo:
    """Metadata of one parameter, made by :func:`Input`. Its ``default`` is what the model gets when none is sent.

    A frozen dataclass in all that it does.
    """

    __dataclass_fields__ = _DataclassFields()
    default: Any
    description: str | None
    ge: float | None
    le: float | None
    min_length: int | None
    max_length: int | None
    regex: str | None
    choices: Sequence[str | int] | None
    deprecated: bool | None
    accept: str | None

    def __init__(
        self,
        default: Any = None,
        description: str | None = None,
        ge: float | None = None,
        le: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        regex: str | None = None,
        choices: Sequence[str | int] | None = None,
        deprecated: bool | None = None,
        accept: str | None = None,
    ) -> None:
        values = (default, description, ge, le, min_length, max_length, regex, choices, deprecated, accept)
        self.__dict__.update(zip(_FIELDS, values, strict=True))

    def _values(self) -> tuple[Any, ...]:
        return tuple(self.__dict__[name] for name in _FIELDS)

    def __repr__(self) -> str:
        return f"FieldInfo({', '.join(f'{name}={self.__dict__[name]!r}' for name in _FIELDS)})"

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, FieldInfo) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __setattr__(self, name: str, _value: Any) -> NoReturn:
        _refuse("assign to", name)

    def __delattr__(self, name: str) -> NoReturn:
        _refuse("delete", name)


def _refuse(verb: str, name: str) -> NoReturn:
    import dataclasses

    raise dataclasses.FrozenInstanceError(f"cannot {verb} field {name!r}")


def Input(
    default: Any = None,
    *,
    default_factory: Any = None,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    regex: str | None = None,
    choices: Sequence[str | int] | None = None,
    deprecated: bool | None = None,
    accept: str | None = None,
) -> Any:
    """Describes a parameter. Bounds are inclusive, lengths count characters, ``accept`` is as in HTML's file inputs."""
    if default_factory is not None:
        raise TypeError(
            "default_factory is not supported in Input(). Give the default itself; a mutable one is not shared."
        )
    return FieldInfo(
        default=default,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        regex=regex,
        choices=choices,
        deprecated=deprecated,
        accept=accept,
    )

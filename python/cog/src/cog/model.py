"""Structured outputs."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any


class BaseModel:
    """Base of output classes: a subclass becomes a dataclass of its annotations."""

    def __init_subclass__(cls, *, auto_dataclass: bool = True, init: bool = True, **options: Any) -> None:
        super().__init_subclass__()
        primary = cls.__mro__[1]
        if not issubclass(primary, BaseModel):
            raise TypeError(f'Primary base class of "{cls.__name__}" must inherit from BaseModel')
        parent_is_auto = bool(primary.__dict__.get("__cog_auto_dataclass__", False))
        if auto_dataclass:
            for base in cls.__mro__[1:]:
                if (
                    base.__name__ != "BaseModel"
                    and not issubclass(base, BaseModel)
                    and hasattr(base, "__dataclass_fields__")
                ):
                    raise TypeError(f'Cannot mixin dataclass "{base.__name__}" while inheriting from `BaseModel`')
            cls.__cog_auto_dataclass__ = True  # type: ignore[attr-defined]
            import dataclasses

            dataclasses.dataclass(init=init, **options)(cls)
        elif parent_is_auto:
            raise ValueError(
                f'"{cls.__name__}" has auto_dataclass=False, but inherits from "{primary.__name__}", '
                "which has auto_dataclass=True"
            )
        else:
            cls.__cog_auto_dataclass__ = False  # type: ignore[attr-defined]

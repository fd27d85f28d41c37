"""Custom types in signatures: how they appear in the schema."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from typing import Any


class Coder(ABC):
    """Translates a type to a JSON object and back."""

    _registered: set[type[Coder]] = set()  # noqa: RUF012 - shared by design

    @staticmethod
    def register(coder: type[Coder]) -> None:
        """Makes the coder known to :meth:`lookup`."""
        Coder._registered.add(coder)

    @staticmethod
    def lookup(tpe: type) -> Coder | None:
        """The coder for a type: the first whose factory gives one."""
        for coder in Coder._registered:
            found = coder.factory(tpe)
            if found is not None:
                return found
        return None

    @staticmethod
    @abstractmethod
    def factory(tpe: type) -> Coder | None:
        """A coder for this type, or None."""

    @abstractmethod
    def encode(self, x: Any) -> dict[str, Any]:
        """The value as a JSON object."""

    @abstractmethod
    def decode(self, x: dict[str, Any]) -> Any:
        """The value of a JSON object."""

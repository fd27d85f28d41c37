"""Decorators that say how a model is served."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would be the slowest import of a small model
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(function):
        """As in `typing`, as far as it matters when the program runs."""
        return function


@overload
def streaming(function: F) -> F: ...
@overload
def streaming() -> Callable[[F], F]: ...  # noqa: F811
def streaming(function: F | None = None) -> F | Callable[[F], F]:  # noqa: F811
    """Lets clients read the output as server-sent events. Read from the source when an image is built."""
    return (lambda decorated: decorated) if function is None else function


@overload
def concurrent(function: F) -> F: ...
@overload
def concurrent(*, max: int = 1, threads: bool = False) -> Callable[[F], F]: ...  # noqa: F811
def concurrent(  # noqa: F811
    function: F | None = None, *, max: int = 1, threads: bool = False
) -> F | Callable[[F], F]:
    """How many predictions may run at once.

    More than one needs an async function, or ``threads=True``: a function that is not async, and may be called from
    several threads at the same time.
    """
    if not isinstance(max, int) or isinstance(max, bool):
        raise TypeError("concurrent max must be an integer")
    if max < 1:
        raise ValueError("concurrent max must be at least 1")

    if not isinstance(threads, bool):
        raise TypeError("concurrent threads must be True or False")

    def decorate(decorated: F) -> F:
        if threads and is_async(decorated):
            raise TypeError("concurrent threads=True is for functions that are not async")
        if max > 1 and not threads and not is_async(decorated):
            raise TypeError("concurrent max greater than 1 requires an async function")
        decorated.__cog_concurrent_max__ = max  # type: ignore[attr-defined]
        if threads:
            decorated.__cog_concurrent_threads__ = True  # type: ignore[attr-defined]
        return decorated

    if function is None:
        return decorate
    if not callable(function):
        raise TypeError("concurrent must be used as @concurrent or @concurrent(max=...)")
    return decorate(function)


_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine or an async generator (CPython's code flags; `inspect` is slow to load)."""
    code = getattr(unwrapped(function), "__code__", None)
    return bool(code and code.co_flags & (_COROUTINE | _ASYNC_GENERATOR))


def unwrapped(function: Any) -> Any:
    """The plain function behind methods and partial applications."""
    while True:
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None:
            return function
        function = inner

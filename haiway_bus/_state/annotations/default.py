"""The mark of an argument that was not given, and `Default`, the factory of a field's default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, final, overload

__all__ = ("MISSING", "Default", "Factory", "Missing")

Value = TypeVar("Value")


@final
class Missing:
    """The type of `MISSING`. One instance, so that identity tells whether an argument came."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<missing>"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


@final
class Factory:
    """What `Default(factory=...)` leaves in the class body: how to make a field's default."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make: Callable[[], Any] = make

    def __repr__(self) -> str:
        return f"Default(factory={getattr(self.make, '__qualname__', self.make)!s})"


@overload
def Default(*, default: Value) -> Value: ...
@overload
def Default(*, factory: Callable[[], Value]) -> Value: ...
def Default(*, default: Any = MISSING, factory: Any = MISSING) -> Any:  # noqa: N802 - reads as a type
    """Describe the default of a State field.

    Args:
        default: the value itself, the same as writing it after the annotation.
        factory: called without arguments for each instance that is made without the field.

    Returns:
        What the class statement of a State takes as the field's default.

    Raises:
        TypeError: both or neither are given, or the factory cannot be called.

    Contract 7.5.
    """
    if (default is MISSING) == (factory is MISSING):
        raise TypeError("Default() takes either default=value or factory=callable")
    if factory is MISSING:
        return default
    if not callable(factory):
        raise TypeError(f"Default(factory=...) needs a callable, given {factory!r}")
    return Factory(factory)

"""MISSING, for an argument that was not given, and `Default`, for the default of a field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, final, overload

__all__ = ("MISSING", "Default", "Factory", "Missing")

Value = TypeVar("Value")


@final
class Missing:
    """The type of `MISSING`, its only instance: `value is MISSING` tells that an argument was not given.

    A State takes it so, too: a field given MISSING gets its default. So no field can hold it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<missing>"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


@final
class Factory:
    """The value of `Default(factory=...)` in a class body: makes the default of a field for each instance."""

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
        default: the default itself, the same as a value after the annotation.
        factory: a function without arguments. It is called for each instance that is made without a
            value for the field, and makes the value.

    Returns:
        An object for the class body of a State, to stand after the annotation.

    Raises:
        TypeError: both or neither are given, or the factory cannot be called.
    """
    if (default is MISSING) == (factory is MISSING):
        raise TypeError("Default() takes either default=value or factory=callable")
    if factory is MISSING:
        return default
    if not callable(factory):
        raise TypeError(f"Default(factory=...) needs a callable, given {factory!r}")
    return Factory(factory)

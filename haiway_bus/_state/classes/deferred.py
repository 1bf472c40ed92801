"""Methods that are written for a class when code first asks for them.

Compiling one method costs as much as everything else in a class statement, and most classes are never hashed, shown or
updated. Where C makes the instances, hardly any code asks for `__new__` either.
"""

from __future__ import annotations

from typing import Any

__all__ = ("METHODS", "Constructor", "Deferred")

METHODS = ("__eq__", "__hash__", "__repr__", "updated")
"""The methods that each class gets for its own fields, unless its author wrote them. `__new__` is always deferred."""


class Deferred:
    """Stands in a class for a method that is not written yet.

    Any look-up of the name has the method written and put into the class instead, also a look-up that the interpreter
    makes for an operator.
    """

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner: Any = owner
        self.name: str = name

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        return self.owner.__state__.write(self.name).__get__(instance, cls)


class Constructor(staticmethod):  # type: ignore[type-arg]
    """A `__new__` of the package. A class that is carried by value gets another."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Deferred, (None, "__new__")

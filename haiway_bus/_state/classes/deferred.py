"""Methods that are written for a class when somebody first asks for them.

To compile a method costs more than everything else that makes a class, and most classes are never hashed, shown or
updated. Where the instances are made in C, nobody asks for `__new__` either.
"""

from __future__ import annotations

from typing import Any

__all__ = ("METHODS", "Deferred")

METHODS = ("__eq__", "__hash__", "__repr__", "updated")
"""The methods that each class gets for its own fields, unless somebody wrote one. So does `__new__`, always."""


class Deferred:
    """Stands in a class for a method that is not written yet.

    A look-up by that name, also one that the interpreter makes for an operator, has the method written and put here
    in its place.
    """

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner: Any = owner
        self.name: str = name

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        return self.owner.__state__.write(self.name).__get__(instance, cls)

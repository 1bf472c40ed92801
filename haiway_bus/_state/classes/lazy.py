"""Methods that a class gets when they are first called.

Compiling a method costs more than everything else that makes a class, and most classes are never
hashed, shown or updated. So only the constructor is compiled with the class; the other methods are
these stand-ins, which have the class's own compiled and put in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from haiway_bus._state.classes.source import is_generated

__all__ = ("STAND_INS", "replaceable", "stands_in")

Method = TypeVar("Method", bound=Callable[..., Any])


def stands_in(method: Method) -> Method:
    """Mark a method of State that says nothing of its own: each class makes it anew."""
    method.__stands_in__ = True  # type: ignore[attr-defined]
    return method


def replaceable(method: Any) -> bool:
    """Whether a method is object's, State's or generated, and none that somebody wrote."""
    return (
        getattr(method, "__stands_in__", False)
        or is_generated(method)
        or method is getattr(object, getattr(method, "__name__", ""), None)
    )


def made(instance: Any, name: str) -> Any:
    """The method of the class whose stand-in was called, which from now on takes its place.

    That is the first class in the order of inheritance that still has one: a method above it that
    somebody wrote may have come here by super().
    """
    holder: Any
    for holder in type(instance).__mro__:
        if vars(holder).get(name) is STAND_INS[name]:
            return holder.__state__.install_method(name)
    # Another thread was faster.
    return getattr(type(instance), name)


def __eq__(self: Any, other: object, /) -> Any:  # noqa: N807 - a method, in the making
    return made(self, "__eq__")(self, other)


def __hash__(self: Any, /) -> Any:  # noqa: N807
    return made(self, "__hash__")(self)


def __repr__(self: Any, /) -> Any:  # noqa: N807
    return made(self, "__repr__")(self)


def updated(self: Any, /, **changes: Any) -> Any:
    return made(self, "updated")(self, **changes)


STAND_INS = {method.__name__: stands_in(method) for method in (__eq__, __hash__, __repr__, updated)}
"""What a class statement puts where nobody wrote a method."""

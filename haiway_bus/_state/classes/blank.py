"""The second class that a State class needs where its constructor is written in Python.

A State refuses assignments, also those of its constructor. So the constructor makes a blank: an instance of a second
class, which has the same slots in the same places and allows assignments. It stores the values in the blank and makes
the blank an instance of the State class by one more assignment, to `__class__`.

The setters of the slots would need no second class, but one call for each field: a construction with three fields then
takes 460 ns instead of 355 (3.11), with ten fields 947 instead of 622. The constructor in C writes to the slots
itself and needs no blank.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

__all__ = ("Shield", "blank_of")


class Shield:
    """The base of a blank's class before the State class: it allows assignments again.

    Invariants: it has no slots, so that a blank has the layout of its State class. It keeps the
    class of a blank from the user's `__init_subclass__`.
    """

    __slots__ = ()

    __setattr__: Final = object.__setattr__
    __delattr__: Final = object.__delattr__

    def __init_subclass__(cls, **options: Any) -> None:
        pass


def blank_of(owner: Any) -> Callable[[], Any]:
    """Make the class of the blanks of a State class.

    Returns:
        A function, or the class itself, that makes one blank.
    """
    body = {
        "__slots__": (),
        "__new__": object.__new__,
        "__module__": owner.__module__,
        "__qualname__": owner.__qualname__,
    }
    blank: type = type.__new__(type(owner), owner.__name__, (Shield, owner), body)
    if type(owner).__call__ is type.__call__:
        return blank
    # The metaclass has a `__call__`, which is for the calls that users make.
    return partial(object.__new__, blank)

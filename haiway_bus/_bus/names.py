"""The name of a subscription in logs and errors. A cold path: both twins use it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from haiway_bus._common.printable import described

__all__ = ("caller", "name_of")

# The modules of the frames between the code that subscribes and here. Only the pure twin has such frames.
_BUS: Final = __name__.rpartition(".")[0] + "."


def name_of(given: Any) -> str:
    """Return the name that a subscription was given. Raise TypeError or ValueError if it is no name."""
    if not issubclass(type(given), str):
        raise TypeError(f"subscribe() takes a str for name=, not {described(given)}")
    name = str.__str__(given)
    if not name:
        raise ValueError("subscribe() takes a name that is not empty, not '': or none at all")
    return name


def caller() -> str | None:
    """The file and line of the code that subscribes, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith(_BUS):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None

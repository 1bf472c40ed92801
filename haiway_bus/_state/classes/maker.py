"""Whether instances are made in C: by the compiled twin of the written constructor, where it was built.

`HAIWAY_BUS_PURE=1` asks for the written one. A compiled module that is there but cannot be imported is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from os import environ
from typing import Any

__all__ = ("equip", "made_in_c", "updated_of")


def _not_compiled(*arguments: Any) -> Any:
    raise RuntimeError("there is no compiled module to make instances with")


equip: Callable[[type, tuple[Any, ...]], object] = _not_compiled
"""Lets a class make its instances in C. The class holds on to what is returned."""

updated_of: Callable[[type], Any] = _not_compiled
"""Gives the method `updated` of a class that was equipped."""

_compiled = False

if environ.get("HAIWAY_BUS_PURE") != "1":
    try:
        from haiway_bus._state.classes._maker_c import equip, updated_of  # type: ignore[import-not-found, no-redef, unused-ignore]

        _compiled = True
    except ModuleNotFoundError as _missing:
        if _missing.name != "haiway_bus._state.classes._maker_c":
            raise


def made_in_c(owner: Any) -> bool:
    """Whether C makes the instances of the class. It does not where that would pass a metaclass's `__call__`."""
    return _compiled and type(owner).__call__ is type.__call__

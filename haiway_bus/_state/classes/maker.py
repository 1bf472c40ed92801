"""Whether instances are made in C: the compiled twin of the generated constructor, where it was built.

`HAIWAY_BUS_PURE=1` asks for the generated one. A compiled module that is there but cannot be imported is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from os import environ
from typing import Any

__all__ = ("equip", "updated_of")


def _nothing(owner: type, fields: tuple[Any, ...]) -> None:
    return None


equip: Callable[[type, tuple[Any, ...]], object] = _nothing
"""Makes a class construct in C; returns what the class has to hold on to, None where Python constructs."""

updated_of: Callable[[type], Any] | None = None
"""Gives the method `updated` of a class that was equipped."""

if environ.get("HAIWAY_BUS_PURE") != "1":
    try:
        from haiway_bus._state.classes._maker_c import equip, updated_of  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ModuleNotFoundError as _missing:
        if _missing.name != "haiway_bus._state.classes._maker_c":
            raise

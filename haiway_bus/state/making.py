"""Whether instances are made in C: the compiled twin of the generated constructor, where it was built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haiway_bus._values.switches import compiled_module

__all__ = ("equip", "updated_of")


def _nothing(owner: type, fields: tuple[Any, ...]) -> None:
    return None


equip: Callable[[type, tuple[Any, ...]], object] = _nothing
"""Makes a class construct in C; returns what the class has to hold on to, None where Python constructs."""

updated_of: Callable[[type], Any] | None = None
"""Gives the method `updated` of a class that was equipped."""

if compiled_module("haiway_bus.state._make_c") is not None:
    from haiway_bus.state._make_c import equip, updated_of  # type: ignore[import-not-found, no-redef, unused-ignore]

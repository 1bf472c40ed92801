"""What hypothesis loads when it is imported, by the entry point `hypothesis`: strategies for State classes.

This module stands beside the package, as the pytest plugin does: hypothesis must not import the package.
"""

from __future__ import annotations

from typing import Any


def register() -> None:
    from hypothesis.strategies._internal import types

    # What hypothesis asks about a type that it does not know, where a module of this name was imported.
    resolvers: dict[str, Any] = getattr(types, "_global_extra_lookup", {})
    resolvers["haiway_bus"] = strategy_of


def strategy_of(thing: Any) -> Any:
    """Give the strategy of a State class, and None for any other type."""
    if (
        not isinstance(thing, type)
        or not hasattr(thing, "__state__")
        or not hasattr(thing, "to_mapping")
    ):
        return None
    from haiway_bus._bridges.hypothesis import instances

    return instances(thing)

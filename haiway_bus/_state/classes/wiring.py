"""Lets a State class convert plain data: in C where C makes its instances, or else by written source."""

from __future__ import annotations

from typing import Any

from haiway_bus._state.classes.maker import made_in_c, wired
from haiway_bus._state.classes.wire_source import written_dump, written_load
from haiway_bus._state.kinds.mismatch import Mismatch
from haiway_bus._state.wire.unclear import unclear
from haiway_bus.errors import StateError

__all__ = ("wire",)


def wire(blueprint: Any) -> None:
    """Give a Blueprint its `load` and `dump`.

    Raises:
        Mismatch: plain data cannot tell the members of a union apart.
        StateError: the class is a mix-in, or an annotation names something that does not exist.
    """
    if blueprint.mixin:
        raise StateError(f"{blueprint.owner.__name__} is a mix-in: it has no instances")
    blueprint.complete()
    problems = unclear(blueprint)
    if problems:
        raise Mismatch(problems)
    if made_in_c(blueprint.owner):
        blueprint.wired = wired(blueprint)
        blueprint.load, blueprint.dump = blueprint.wired.load, blueprint.wired.dump
    else:
        blueprint.load, blueprint.dump = written_load(blueprint), written_dump(blueprint)

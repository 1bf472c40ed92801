"""Lets a State class convert plain data: in C where C makes its instances, or else by written source."""

from __future__ import annotations

from typing import Any

from haiway_bus._state.classes.maker import made_in_c, wired
from haiway_bus._state.classes.wire_source import written_dump, written_load
from haiway_bus._state.kinds.mismatch import Mismatch
from haiway_bus._state.wire.unclear import unclear

__all__ = ("wire",)


def wire(blueprint: Any) -> None:
    """Give a Blueprint its `load` and `dump`.

    Raises:
        Mismatch: plain data cannot tell the members of a union apart, or the class has no instances.
        StateError: an annotation names something that does not exist.
    """
    if not blueprint.makes:
        raise Mismatch([("", "has no instances, it is a mix-in or abstract: use a derived class")])
    blueprint.complete()
    problems = unclear(blueprint)
    if problems:
        raise Mismatch(problems)
    if made_in_c(blueprint.owner):
        blueprint.wired = wired(blueprint)
        blueprint.load, blueprint.dump = blueprint.wired.load, blueprint.wired.dump
    else:
        blueprint.load, blueprint.dump = written_load(blueprint), written_dump(blueprint)

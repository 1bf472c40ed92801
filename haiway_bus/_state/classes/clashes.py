"""Fields that cannot be together: two fields with the same key, and a field that needs an instance of its own class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haiway_bus._state.annotations.field import Field
from haiway_bus._state.kinds.mismatch import Problem

__all__ = ("clashes",)


def clashes(owner: Any, fields: Sequence[Field]) -> list[Problem]:
    """List the problems between the fields of a State class, and between its fields and other classes."""
    problems: list[Problem] = []
    keys: dict[str, str] = {}
    for field in fields:
        other = keys.setdefault(field.key, field.name)
        if other != field.name:
            problems.append((f".{field.name}", f"has the key {field.key!r}, and so has {other}"))
        for needed in field.kind.requires():
            path = cycle(owner, needed, [f"{owner.__name__}.{field.name}"], set())
            if path is not None:
                reason = (
                    f"a cycle, so that no first instance can be made: {path}; "
                    f"make it {field.kind.expected} | None, or a Sequence"
                )
                problems.append((f".{field.name}", reason))
    return problems


def cycle(owner: Any, needed: Any, path: list[str], seen: set[Any]) -> str | None:
    """Find a way of required fields from `needed` back to `owner`.

    Args:
        owner: the class that is being completed.
        needed: a class of which each instance of the last field in `path` holds an instance.
        path: the fields on the way so far.
        seen: the classes that were looked at.

    Returns:
        The way as text, or None.
    """
    if needed is owner:
        return " -> ".join([*path, owner.__name__])
    needed.__state__.complete(final=False)
    fields = needed.__state__.fields_or_none
    if needed in seen or fields is None:
        # A class that still looks ahead asks the same when it is complete.
        return None
    seen.add(needed)
    for field in fields:
        for further in field.kind.requires():
            found = cycle(owner, further, [*path, f"{needed.__name__}.{field.name}"], seen)
            if found is not None:
                return found
    return None

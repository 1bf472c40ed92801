"""The kind of a TypedDict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from haiway_bus._state.kinds.containers import ContainerKind
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.kind import Entry, Kind, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch, Problem, listed, mismatch, part_of

__all__ = ("TypedDictKind",)


class TypedDictKind(ContainerKind):
    """A mapping with exactly the declared keys, kept as a FrozenMap."""

    __slots__ = ("entries",)

    entries: dict[str, Entry]
    reads = frozenset({dict})
    kept = (FrozenMap,)

    def __init__(self, expected: str, entries: dict[str, Entry]) -> None:
        self.entries = entries
        super().__init__(expected, *self.parts())

    def parts(self) -> Iterable[Kind]:
        return (entry.kind for entry in self.entries.values())

    def convert(self, method: str, source: Any) -> Any:
        """Check, dump or load a mapping."""
        if not isinstance(source, Mapping):
            raise mismatch(self.expected, source)
        problems: list[Problem] = []
        converted: dict[str, Any] = {}
        for key, value in source.items():
            entry = self.entries.get(key)
            if entry is None:
                if len(problems) <= LIMIT:
                    reason = f"no such key, {self.expected} has {listed(self.entries)}"
                    problems.append((part_of(key), reason))
                continue
            kind = entry.kind if method == "check" else entry.kind.wire
            try:
                converted[key] = getattr(kind, method)(value)
            except Mismatch as wrong:
                if len(problems) <= LIMIT:
                    problems += wrong.under(part_of(key))
        for key, entry in self.entries.items():
            if entry.required and key not in source:
                problems.append((f"[{key!r}]", f"missing, expected {entry.kind.expected}"))
        if problems:
            raise Mismatch(problems)
        return converted if method == "dump" else FrozenMap(converted)

    def check(self, value: Any) -> Any:
        checked = self.convert("check", value)
        if type(value) is FrozenMap and all(checked[key] is value[key] for key in checked):
            return value
        return checked

    def schema(self, book: SchemaBook) -> Schema:
        return {
            "type": "object",
            "properties": {key: entry.kind.schema(book) for key, entry in self.entries.items()},
            "required": [key for key, entry in self.entries.items() if entry.required],
            "additionalProperties": False,
        }

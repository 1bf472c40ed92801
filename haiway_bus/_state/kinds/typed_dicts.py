"""The kind of a TypedDict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.kind import Entry, Kind, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch, Problem, listed, mismatch, part_of

__all__ = ("TypedDictKind",)


class TypedDictKind(Kind):
    """A mapping with exactly the declared keys, kept as a FrozenMap."""

    __slots__ = ("entries",)

    entries: dict[str, Entry]
    reads = frozenset({dict})
    kept = (FrozenMap,)

    def __init__(self, expected: str, entries: dict[str, Entry]) -> None:
        super().__init__(expected)
        self.entries = entries

    def parts(self) -> Iterable[Kind]:
        return (entry.kind for entry in self.entries.values())

    def each(
        self, convert: Callable[[Kind], Callable[[Any], Any]], source: Mapping[Any, Any]
    ) -> dict[str, Any]:
        problems: list[Problem] = []
        converted: dict[str, Any] = {}
        for key, value in source.items():
            entry = self.entries.get(key)
            if entry is None:
                if len(problems) <= LIMIT:
                    reason = f"no such key, {self.expected} has {listed(self.entries)}"
                    problems.append((part_of(key), reason))
                continue
            try:
                converted[key] = convert(entry.kind)(value)
            except Mismatch as wrong:
                if len(problems) <= LIMIT:
                    problems += wrong.under(part_of(key))
        for key, entry in self.entries.items():
            if entry.required and key not in source:
                problems.append((f"[{key!r}]", f"missing, expected {entry.kind.expected}"))
        if problems:
            raise Mismatch(problems)
        return converted

    def check(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise mismatch(self.expected, value)
        checked = self.each(lambda kind: kind.check, value)
        if type(value) is FrozenMap and all(checked[key] is value[key] for key in checked):
            return value
        return FrozenMap(checked)

    def dump(self, value: Any) -> Plain:
        return self.each(lambda kind: kind.wire.dump, value)

    def load(self, plain: Plain) -> Any:
        if not isinstance(plain, Mapping):
            raise mismatch(self.expected, plain)
        return FrozenMap(self.each(lambda kind: kind.wire.load, plain))

    def schema(self, book: SchemaBook) -> Schema:
        return {
            "type": "object",
            "properties": {key: entry.kind.schema(book) for key, entry in self.entries.items()},
            "required": [key for key, entry in self.entries.items() if entry.required],
            "additionalProperties": False,
        }

"""Tags: the key by whose value the mappings of a union are told apart, `kind: Literal["card"]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from haiway_bus._state.kinds.kind import Kind, Wire
from haiway_bus._state.kinds.mismatch import Mismatch, mismatch
from haiway_bus._state.kinds.objects import LiteralKind

__all__ = ("Tag", "tag_of")


class Tag:
    """The key, and the member of the union for each value of it.

    Invariants: each value belongs to one member. So a mapping is read by one member at most, however
    deep it nests. Where the key may be missing in one member alone, that member reads mappings
    without it.
    """

    __slots__ = ("expected", "key", "members", "path", "table", "unnamed")

    def __init__(self, key: str, members: Sequence[Kind]) -> None:
        entries = [member.entries[key] for member in members]
        self.key: str = key
        self.path: str = entries[0].path
        self.members: list[tuple[Kind, Wire]] = [
            (entry.kind, member.wire) for member, entry in zip(members, entries, strict=True)
        ]
        self.table: dict[str, Wire] = {
            form: wire
            for kind, wire in self.members
            if isinstance(kind, LiteralKind)
            for form_type, form in kind.forms
            if form_type is str
        }
        self.expected: str = " | ".join(kind.expected for kind, _ in self.members)
        optional = [m for m, entry in zip(members, entries, strict=True) if not entry.required]
        self.unnamed: Wire | None = optional[0].wire if len(optional) == 1 else None

    def choose(self, plain: Mapping[Any, Any]) -> Wire:
        """Give what reads the mapping. Raises Mismatch when the value of the key belongs to no member."""
        if self.key not in plain:
            if self.unnamed is not None:
                return self.unnamed
            raise Mismatch([(self.path, f"missing, expected {self.expected}")])
        found = plain[self.key]
        if type(found) is str and found in self.table:
            return self.table[found]
        for kind, member in self.members:
            try:
                kind.load(found)
            except Mismatch:
                continue
            return member
        raise Mismatch(mismatch(self.expected, found).under(self.path))


def tag_of(members: Sequence[Kind]) -> Tag | None:
    """Find the first key that is a Literal in each member, with values that no other member has."""
    for key, entry in members[0].entries.items():
        if isinstance(entry.kind, LiteralKind) and all(key in member.entries for member in members):
            kinds = [member.entries[key].kind for member in members]
            values = [kind.forms for kind in kinds if isinstance(kind, LiteralKind)]
            if len(values) == len(kinds) and len(set().union(*values)) == sum(map(len, values)):
                return Tag(key, members)
    return None

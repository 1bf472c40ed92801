"""Unions that are fine in memory, and that plain data cannot tell apart: `str | datetime`, `A | B` with equal keys.

What a union writes, it has to read as the same value (guarantee 7.7). So the members are compared in pairs: may an
earlier member read, as something else, what a later member writes? Then the union is refused when plain data is first
used, and the error says what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

from haiway_bus._state.kinds.containers import MappingKind, SetKind
from haiway_bus._state.kinds.json_value import JsonKind
from haiway_bus._state.kinds.kind import Kind, Outer
from haiway_bus._state.kinds.mismatch import Mismatch, Problem
from haiway_bus._state.kinds.objects import EnumKind, LiteralKind, StateKind
from haiway_bus._state.kinds.scalars import AnyKind, FloatKind, IntKind, StrKind
from haiway_bus._state.kinds.unions import UnionKind

__all__ = ("unclear",)


def unclear(subject: Any) -> list[Problem]:
    """List the unions that plain data cannot tell apart, in a Kind or a Blueprint, and in the classes within it."""
    problems: list[Problem] = []
    seen: set[int] = set()

    def visit(kind: Kind, path: str, as_key: bool = False) -> None:
        if id(kind) in seen:
            return
        seen.add(id(kind))
        if isinstance(kind, UnionKind):
            for first, second in combinations(kind.members, 2):
                if Pairs(as_key).confused(first, second):
                    problems.append((path, refusal(kind, first, second, as_key)))
                    return
        if isinstance(kind, StateKind):
            visit_fields(kind.owner.__state__, path)
        for index, part in enumerate(kind.parts()):
            visit(part, path, as_key=isinstance(kind, MappingKind) and index == 0)

    def visit_fields(state: Any, path: str) -> None:
        if id(state) in seen:
            return
        seen.add(id(state))
        state.complete(final=False)
        for field in state.plain_fields:
            visit(field.kind, f"{path}.{field.name}")

    if isinstance(subject, Kind):
        visit(subject, "")
    else:
        visit_fields(subject, "")
    return problems


def refusal(union: UnionKind, first: Kind, second: Kind, as_key: bool) -> str:
    if not Pairs(as_key).confused(second, first):
        way_out = f"write {second.expected} before {first.expected}"
    elif dict in first.reads & second.reads:
        way_out = 'give each a field of its own that tells them apart, such as kind: Literal["..."]'
    else:
        way_out = (
            'annotate only one of them, or put each into a State with a field kind: Literal["..."]'
        )
    return (
        f"{union.expected} is fine in memory, but {first.expected} would read the plain data "
        f"that {second.expected} writes: {way_out}"
    )


class Pairs:
    """Compares kinds in pairs.

    Invariants: a pair that is being compared counts as clear. So kinds that contain themselves end.

    as_key: whether the kinds are those of keys, which are text in JSON.
    """

    def __init__(self, as_key: bool = False) -> None:
        self.as_key: bool = as_key
        self.seen: set[tuple[int, int]] = set()

    def confused(self, first: Kind, second: Kind, within: bool = False) -> bool:
        """Whether `first` may read what `second` writes, as another value.

        Args:
            first: the kind that is asked first.
            second: the kind of the value.
            within: whether they are elements. A number on its own goes to the member of its exact
                type, whatever the order.
        """
        first, second = bare(first), bare(second)
        if same(first, second) or (id(first), id(second)) in self.seen:
            return False
        self.seen.add((id(first), id(second)))
        if isinstance(first, UnionKind) or isinstance(second, UnionKind):
            pairs = product(members(first), members(second))
            return any(self.confused(one, other, within) for one, other in pairs)
        if self.as_key and isinstance(first, IntKind) != isinstance(second, IntKind):
            return True
        if not first.reads & second.reads:
            return False
        if first.plain and second.plain:
            return within and isinstance(first, IntKind) and isinstance(second, FloatKind)
        for one, other in ((second, first), (first, second)):
            if isinstance(one, EnumKind | LiteralKind):
                return any(reads_as_other(other, form, value) for form, value in forms(one))
        if isinstance(first, AnyKind | JsonKind) or isinstance(second, AnyKind | JsonKind):
            return not (first.plain or second.plain)
        if dict in first.reads & second.reads:
            return self.mappings_confused(first, second)
        if list in first.reads & second.reads:
            if isinstance(first, SetKind) != isinstance(second, SetKind):
                return True
            pairs = product(first.parts(), second.parts())
            return any(self.confused(one, other, within=True) for one, other in pairs)
        return may_read(first, second)

    def mappings_confused(self, first: Kind, second: Kind) -> bool:
        if isinstance(first, MappingKind) and isinstance(second, MappingKind):
            return Pairs(as_key=True).confused(first.key, second.key) or self.confused(
                first.value, second.value, within=True
            )
        if isinstance(first, MappingKind):
            written = [entry.kind for entry in second.entries.values() if entry.written]
            return all(may_read(first.value, kind) for kind in written)
        if isinstance(second, MappingKind):
            needed = [entry.kind for entry in first.entries.values() if entry.required]
            return all(may_read(kind, second.value) for kind in needed)
        for key, entry in first.entries.items():
            other = second.entries.get(key)
            if other is None:
                if entry.required and not keeps_keys(second):
                    return False
            elif other.written and not may_read(entry.kind, other.kind):
                return False
        return not first.closed_keys or not any(
            entry.written and key not in first.entries for key, entry in second.entries.items()
        )


def keeps_keys(kind: Kind) -> bool:
    """Whether the kind writes keys that are none of its entries."""
    return isinstance(kind, StateKind) and kind.owner.__state__.unknown == "keep"


def bare(kind: Kind) -> Kind:
    """Give the kind without its constraints, and in place of a name what the name stands for."""
    while isinstance(kind, Outer):
        kind = kind.inner
    return kind


def members(kind: Kind) -> tuple[Kind, ...]:
    return kind.members if isinstance(kind, UnionKind) else (kind,)


def same(first: Kind, second: Kind) -> bool:
    """Whether both kinds are of the same class."""
    return first is second or (
        type(first) is type(second) and bool(first.exact) and first.exact == second.exact
    )


def forms(kind: EnumKind | LiteralKind) -> Iterator[tuple[Any, Any]]:
    """Give the plain form of each value of the kind, and the value."""
    values = kind.values.values() if isinstance(kind, LiteralKind) else kind.owner
    for value in values:
        try:
            yield kind.dump(value), value
        except Mismatch:
            continue


def reads_as_other(kind: Kind, form: Any, value: Any) -> bool:
    if type(form) not in kind.reads:
        return False
    try:
        found = kind.load(form)
    except Mismatch:
        return False
    return type(found) is not type(value) or found != value


def may_read(first: Kind, second: Kind) -> bool:
    """Whether `first` may read anything that `second` writes, as whatever value."""
    first, second = bare(first), bare(second)
    if isinstance(first, UnionKind) or isinstance(second, UnionKind):
        return any(may_read(*pair) for pair in product(members(first), members(second)))
    shared = first.reads & second.reads
    if isinstance(second, EnumKind | LiteralKind):
        return any(reads(first, form) for form, _ in forms(second))
    if isinstance(first, EnumKind | LiteralKind):
        return any(reads(second, form) for form, _ in forms(first))
    if shared == {str} and not isinstance(first, StrKind) and not isinstance(second, StrKind):
        return any(reads(first, sample) for sample in second.samples)
    return bool(shared)


def reads(kind: Kind, form: Any) -> bool:
    if type(form) not in kind.reads:
        return False  # not asked: a State that is asked looks for its own unclear unions first, which may be this one
    try:
        kind.load(form)
    except Mismatch:
        return False
    return True

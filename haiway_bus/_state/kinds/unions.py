"""The kinds of unions, and of types that contain their own name."""

from __future__ import annotations

from typing import Any

from haiway_bus._state.kinds.kind import Kind, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import Mismatch, mismatch

__all__ = ("RecursiveKind", "UnionKind")

UNAMBIGUOUS = frozenset({bool, int, float, type(None)})
"""The types of plain values that mean one type only. Text may also be a date or a UUID."""


class UnionKind(Kind):
    """A | B | C.

    A value of an exact type of a member belongs to that member. Any other value goes to the members
    in the order of the annotation, and to the first that accepts it: `float | str` makes 1.0 of 1,
    and `int | float` keeps 1. Loading follows the same order. A number, true, false and null go to
    the member of exactly that type, if the union has it.
    """

    __slots__ = ("anything", "closed", "immutable", "members", "sole")

    anything: bool
    closed: bool
    immutable: bool

    def __init__(self, expected: str, members: tuple[Kind, ...]) -> None:
        super().__init__(expected, (kind for member in members for kind in member.exact))
        self.members: tuple[Kind, ...] = members
        self.anything = any(member.anything for member in members)
        self.closed = all(member.closed for member in members)
        self.immutable = all(member.immutable for member in members)
        # T | None: the error tells the problems of T, with their paths.
        others = [member for member in members if member.exact != (type(None),)]
        self.sole: Kind | None = others[0] if len(others) == 1 else None

    def check(self, value: Any) -> Any:
        if type(value) in self.exact_set:
            return value
        return self.first("check", value)

    def first(self, method: str, value: Any) -> Any:
        inner: list[tuple[str, str]] = []
        for member in self.members:
            try:
                return getattr(member, method)(value)
            except Mismatch as wrong:
                if member is self.sole:
                    inner = [problem for problem in wrong.problems if problem[0]]
        if inner:
            raise Mismatch(inner)
        raise mismatch(self.expected, value)

    def dump(self, value: Any) -> Plain:
        kind = type(value)
        for member in self.members:
            if kind in member.exact_set:
                return member.dump(value)
        for member in self.members:
            try:
                accepted = member.check(value)
            except Mismatch:
                continue
            if accepted is value:
                return member.dump(value)
        raise mismatch(self.expected, value)

    def dump_key(self, value: Any) -> str:
        for member in self.members:
            if type(value) in member.exact_set:
                return member.dump_key(value)
        return super().dump_key(value)

    def load(self, plain: Plain) -> Any:
        if type(plain) in UNAMBIGUOUS and type(plain) in self.exact_set:
            return plain
        return self.first("load", plain)

    def load_key(self, plain: str) -> Any:
        return self.first("load_key", plain)

    def schema(self, book: SchemaBook) -> Schema:
        return {"anyOf": [member.schema(book) for member in self.members]}


class RecursiveKind(Kind):
    """A type alias or a TypedDict that contains its own name: `type Json = str | Sequence[Json]`."""

    __slots__ = ("alias", "target")

    closed = False

    def __init__(self, alias: Any) -> None:
        super().__init__(alias.__name__)
        self.alias: Any = alias
        self.target: Kind | None = None

    @property
    def known(self) -> Kind:
        if self.target is None:
            raise RuntimeError(f"{self.expected} is used before it is known")
        return self.target

    def check(self, value: Any) -> Any:
        return self.known.check(value)

    def dump(self, value: Any) -> Plain:
        return self.known.dump(value)

    def load(self, plain: Plain) -> Any:
        return self.known.load(plain)

    def schema(self, book: SchemaBook) -> Schema:
        reference, new = book.reference(self.alias)
        if new:
            book.define(self.alias, self.known.schema(book))
        return reference

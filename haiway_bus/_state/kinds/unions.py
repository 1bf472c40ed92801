"""The kinds of unions, and of types that contain their own name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from haiway_bus._state.kinds.kind import Kind, Outer, Plain, Schema, SchemaBook, Wire
from haiway_bus._state.kinds.mismatch import Mismatch, mismatch
from haiway_bus._state.kinds.tags import Tag, tag_of

__all__ = ("RecursiveKind", "UnionKind", "apart")


class Attempts(threading.local):
    """What the unions made of the values within one load or check, by union, method and value."""

    made: dict[Any, tuple[Any, Any]] | None = None


_attempts = Attempts()


def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call what the author of a class wrote. It may check a list, change it, and check it again."""
    outer = _attempts.made
    _attempts.made = None
    try:
        return call(*arguments)
    finally:
        _attempts.made = outer


class UnionKind(Kind):
    """A | B | C.

    A value of an exact type of a member belongs to that member. Any other value goes to the members
    in the order of the annotation, and to the first that accepts it: `float | str` makes 1.0 of 1,
    and `int | float` keeps 1.

    Loading asks the members that read the JSON type of the plain form, in the same order. A number,
    text, true, false and null go to the member of exactly that type, if there is one. Mappings that
    have a tag (`tags.py`) go to the member of that tag, others to the member whose keys they have.

    Invariants: `attempt` asks the members once for a value, and remembers the answer as long as the
    value around it is read. So unions within unions cost the sum of their members, not the product.
    """

    __slots__ = (
        "anything",
        "closed",
        "immutable",
        "members",
        "orders",
        "readers",
        "sole",
        "tag",
        "writers",
    )

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
        self.orders: dict[type[Any], list[Kind]] | None = None
        # Filled when plain data is first used. Before, a member may name a class that does not exist yet.
        self.readers: dict[type[Any], Wire] | None = None
        self.writers: dict[type[Any], Wire] = {}
        self.tag: Tag | Alternatives | None = None

    @property
    def reads(self) -> frozenset[type[Any]]:  # type: ignore[override] # an attribute of other kinds
        return frozenset(kind for member in self.members for kind in member.reads)

    @property
    def kept(self) -> tuple[type[Any], ...]:
        return tuple(kind for member in self.members for kind in member.kept)

    def parts(self) -> Iterable[Kind]:
        return self.members

    def check(self, value: Any) -> Any:
        if type(value) in self.exact_set:
            return value
        if self.sole is not None:
            return self.first("check", (self.sole,), value)
        if self.orders is None:
            # A tuple belongs to the member that keeps tuples, before a Set that would take it, too.
            self.orders = {
                kept: sorted(self.members, key=lambda member, kept=kept: kept not in member.kept)  # type: ignore[misc]
                for kept in self.kept
            }
        return self.attempt("check", self.orders.get(type(value), self.members), value)

    def attempt(self, method: str, members: Iterable[Kind], value: Any) -> Any:
        """Give what the first member that accepts the value makes of it. Raises Mismatch."""
        outer = _attempts.made
        made = _attempts.made = {} if outer is None else outer
        key = (id(self), method, id(value))
        try:
            if key not in made:
                # With the value, which stays alive so that no other value gets its id.
                made[key] = (value, self.first(method, members, value))
        except Mismatch as wrong:
            # Without its traceback, which holds frames.
            made[key] = (value, Mismatch(wrong.problems))
        finally:
            _attempts.made = outer
        result = made[key][1]
        if type(result) is Mismatch:
            raise Mismatch(result.problems)
        return result

    def first(self, method: str, members: Iterable[Kind], value: Any) -> Any:
        inner: list[tuple[str, str]] = []
        for member in members:
            try:
                return getattr(member, method)(value)
            except Mismatch as wrong:
                if member is self.sole:
                    inner = [problem for problem in wrong.problems if problem[0]]
        raise Mismatch(inner) if inner else mismatch(self.expected, value)

    def prepare(self) -> dict[type[Any], Wire]:
        """Find out which members read and write which types, and by which tag."""
        readers: dict[type[Any], list[Kind]] = {}
        writers: dict[type[Any], list[Kind]] = {}
        for member in self.members:
            for plain in member.reads:
                readers.setdefault(plain, []).append(member)
            for kept in member.kept:
                writers.setdefault(kept, []).append(member)
        for plain, found in readers.items():
            readers[plain] = [m for m in found if m.plain and plain in m.exact_set][:1] or found
        self.writers = {kept: found[0].wire for kept, found in writers.items() if len(found) == 1}
        if len(readers.get(dict, ())) > 1:
            self.tag = tag_of(readers[dict]) or Alternatives(self, readers[dict])
        self.readers = {
            plain: found[0].wire if len(found) == 1 else Alternatives(self, found)
            for plain, found in readers.items()
        }
        return self.readers

    def choose(self, plain: Plain) -> Wire:
        """Give what loads the plain form. Raises Mismatch when its tag belongs to no member."""
        readers = self.prepare() if self.readers is None else self.readers
        found = readers.get(type(plain))
        if found is None and isinstance(plain, Mapping):
            found = readers.get(dict)
        if self.tag is not None and found is readers.get(dict):
            return self.tag.choose(plain)
        if found is None and self.sole is not None:
            return self.sole.wire  # T | None: T refuses, in its own words, as where C converts
        return Alternatives(self, self.members) if found is None else found

    def load(self, plain: Plain) -> Any:
        return self.choose(plain).load(plain)

    def writer(self, value: Any) -> Wire:
        """Give what dumps the value. Raises Mismatch."""
        if self.readers is None:
            self.prepare()
        found = self.writers.get(type(value))
        if found is not None:
            return found
        return self.keeper(value).wire

    def keeper(self, value: Any) -> Kind:
        """Give the first member that keeps the value as it is. Raises Mismatch."""
        for member in self.members:
            try:
                if member.check(value) is value:
                    return member
            except Mismatch:
                continue
        raise mismatch(self.expected, value)

    def dump(self, value: Any) -> Plain:
        return self.writer(value).dump(value)

    def dump_key(self, value: Any) -> str:
        for member in self.members:
            if type(value) in member.exact_set:
                return member.dump_key(value)
        return self.keeper(value).dump_key(value)

    def load_key(self, plain: str) -> Any:
        return self.attempt("load_key", self.members, plain)

    def schema(self, book: SchemaBook) -> Schema:
        schema: Schema = {"anyOf": [member.schema(book) for member in self.members]}
        if self.readers is None:
            self.prepare()
        if isinstance(self.tag, Tag) and self.tag.unnamed is None:
            # Also where it has a default in each member: nothing else tells them apart.
            schema["required"] = [self.tag.key]
        return schema


class Alternatives:
    """The members of a union that read the same JSON type and have no tag."""

    __slots__ = ("members", "needed", "union")

    def __init__(self, union: UnionKind, members: Iterable[Kind]) -> None:
        self.union: UnionKind = union
        self.members: Iterable[Kind] = members
        self.needed: list[tuple[frozenset[str], Wire]] = [
            (frozenset(key for key, entry in member.entries.items() if entry.required), member.wire)
            for member in members
        ]

    def choose(self, plain: Mapping[Any, Any]) -> Wire:
        """Give the only member whose required keys the mapping has: no other reads it, and the error is about this."""
        able = [wire for needed, wire in self.needed if plain.keys() >= needed]
        return able[0] if len(able) == 1 else self

    def dump(self, value: Any, /) -> Plain:
        return self.union.dump(value)

    def load(self, plain: Plain, /) -> Any:
        return self.union.attempt("load", self.members, plain)


class RecursiveKind(Outer):
    """A type alias or a TypedDict that contains its own name: `type Json = str | Sequence[Json]`."""

    __slots__ = ("alias",)

    closed = False
    wire = property(attrgetter("inner.wire"))
    choose = property(attrgetter("inner.choose"))
    writer = property(attrgetter("inner.writer"))

    def __init__(self, alias: Any) -> None:
        super().__init__(alias.__name__)
        self.alias: Any = alias

    def schema(self, book: SchemaBook) -> Schema:
        reference, new = book.reference(self.alias)
        if new:
            book.define(self.alias, self.inner.schema(book))
        return reference

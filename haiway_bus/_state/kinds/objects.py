"""Kinds of objects: nested States, members of Enums, Literals, protocols, classes, callables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, Flag
from operator import attrgetter
from typing import Any

from haiway_bus._state.kinds.kind import Instance, Kind, Plain, Schema, SchemaBook, not_json
from haiway_bus._state.kinds.mismatch import Mismatch, describe, mismatch

__all__ = ("CallableKind", "EnumKind", "LiteralKind", "ProtocolKind", "StateKind", "TypeKind")

JSON_TYPES = frozenset({bool, int, float, str, type(None)})


def as_number(plain: Any) -> Any:
    """Give the int for 1.0, which is the same number in JSON."""
    return int(plain) if type(plain) is float and plain.is_integer() else plain


def read_as(types: Iterable[type]) -> frozenset[type]:
    """The types of plain data in which JSON can carry values of these types."""
    found = frozenset(kind for kind in types if kind in JSON_TYPES)
    return found | {int, float} if found & {int, float} else found


class ProtocolKind(Instance):
    """A runtime-checkable protocol, or an abstract class: accepts what isinstance accepts."""

    __slots__ = ()

    closed = False


class StateKind(Instance):
    """A nested State. Its plain form is a mapping, which the class of the annotation reads and writes."""

    __slots__ = ()

    reads = frozenset({dict})
    wire = property(attrgetter("owner.__state__"))
    entries = property(attrgetter("owner.__state__.entries"))

    @property
    def closed_keys(self) -> bool:  # type: ignore[override] # an attribute of other kinds
        return self.owner.__state__.unknown == "refuse"  # type: ignore[no-any-return]

    def dump(self, value: Any) -> Plain:
        return self.wire.dump(value)

    def load(self, plain: Plain) -> Any:
        return self.wire.load(plain)

    def schema(self, book: SchemaBook) -> Schema:
        return self.owner.__state__.schema(book)  # type: ignore[no-any-return]

    def requires(self) -> Iterable[type]:
        return (self.owner,)


class EnumKind(Instance):
    """A member of an Enum; its value in JSON. `texts`: the members by their values that are text."""

    __slots__ = ("reads", "texts")

    immutable = True
    reads: frozenset[type[Any]]

    def __init__(self, owner: type[Enum]) -> None:
        super().__init__(owner)
        values = owner._value2member_map_
        self.reads = read_as(type(value) for value in values)
        self.texts: dict[str, Any] = {v: m for v, m in values.items() if type(v) is str}

    def dump(self, value: Any) -> Plain:
        plain = value.value
        if isinstance(plain, int) and isinstance(value, Flag):
            return int(plain)
        if type(plain) not in JSON_TYPES:
            raise not_json(f"{value}, whose value is {describe(plain)}")
        return plain

    def load(self, plain: Plain) -> Any:
        if isinstance(plain, self.owner):
            return plain
        number = as_number(plain)
        flag = issubclass(self.owner, Flag)
        try:
            # A Flag keeps what it makes of a number: False would then be its 0.
            member = None if flag and type(number) is not int else self.owner(number)
        except Exception:  # of a `_missing_` of the class, or of the repr of a value
            member = None
        # In Python True == 1. JSON tells them apart. A Flag may make another value of a number, or none of its own.
        if not isinstance(member, self.owner) or (
            type(as_number(member.value)) is not type(number) or (flag and member.value != number)
        ):
            raise mismatch(self.expected, plain)
        return member

    def schema(self, book: SchemaBook) -> Schema:
        if issubclass(self.owner, Flag):
            most = 0
            for member in self.owner.__members__.values():
                most |= member.value
            try:
                self.load(2 * most + 1)
            except Mismatch:
                return {"type": "integer", "minimum": 0, "maximum": most}
            return {"type": "integer", "minimum": 0}
        reference, new = book.reference(self.owner)
        if new:
            members = list(self.owner)  # type: ignore[call-overload]
            book.define(self.owner, {"enum": [self.dump(member) for member in members]})
        return reference


class LiteralKind(Kind):
    """One of the named values. Type and value both have to agree: True is not 1."""

    __slots__ = ("forms", "reads", "texts", "values")

    immutable = True
    reads: frozenset[type[Any]]

    def __init__(self, expected: str, values: tuple[Any, ...]) -> None:
        super().__init__(expected)
        self.values: dict[tuple[type[Any], Any], Any] = {
            (type(value), value): value for value in values
        }
        forms: dict[tuple[type, Any], Any] = {}
        for value in values:
            form = as_number(value.value if isinstance(value, Enum) else value)
            if type(form) in JSON_TYPES:
                forms.setdefault((type(form), form), value)
        self.forms: dict[tuple[type[Any], Any], Any] = forms
        self.reads = read_as(kind for kind, _ in forms)
        self.texts: dict[str, Any] = {v: member for (t, v), member in forms.items() if t is str}

    def check(self, value: Any) -> Any:
        try:
            return self.values[type(value), value]
        except (KeyError, TypeError):
            raise mismatch(self.expected, value) from None

    def dump(self, value: Any) -> Plain:
        form = value.value if isinstance(value, Enum) else value
        if self.forms.get((type(form), as_number(form))) is not value:
            raise not_json(describe(value))
        return form

    def load(self, plain: Plain) -> Any:
        form = as_number(plain)
        try:
            return self.forms[type(form), form]
        except (KeyError, TypeError):
            return self.check(plain)

    def schema(self, book: SchemaBook) -> Schema:
        return {"enum": [form for _, form in self.forms]}


class TypeKind(Kind):
    """type[T]: accepts T and the classes derived from it. For a union, T is any of its members."""

    __slots__ = ("bounds",)

    immutable = True

    def __init__(self, expected: str, bounds: tuple[type, ...]) -> None:
        super().__init__(expected)
        self.bounds: tuple[type[Any], ...] = bounds

    def check(self, value: Any) -> Any:
        if isinstance(value, type) and issubclass(value, self.bounds):
            return value
        raise mismatch(self.expected, value)


class CallableKind(Kind):
    """Callable[...]: accepts objects that can be called. The parameters are not checked."""

    __slots__ = ()

    def check(self, value: Callable[..., Any]) -> Any:
        if callable(value):
            return value
        raise mismatch(self.expected, value)

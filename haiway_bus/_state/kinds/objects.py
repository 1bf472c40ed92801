"""Kinds of objects: nested States, members of Enums, Literals, protocols, classes, callables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, Flag
from typing import Any

from haiway_bus._state.kinds.kind import Entry, Instance, Kind, Plain, Schema, SchemaBook, Wire, not_json
from haiway_bus._state.kinds.mismatch import Mismatch, describe, mismatch

__all__ = ("CallableKind", "EnumKind", "LiteralKind", "ProtocolKind", "StateKind", "TypeKind")

JSON_TYPES = frozenset({bool, int, float, str, type(None)})


class ProtocolKind(Kind):
    """A runtime-checkable protocol, or an abstract class: accepts what isinstance accepts."""

    __slots__ = ("owner",)

    closed = False

    def __init__(self, owner: type) -> None:
        super().__init__(owner.__name__, (owner,))
        self.owner: type[Any] = owner

    def check(self, value: Any) -> Any:
        if isinstance(value, self.owner):
            return value
        raise mismatch(self.expected, value)


class StateKind(Instance):
    """A nested State. Its plain form is a mapping, which the class of the annotation reads and writes."""

    __slots__ = ()

    reads = frozenset({dict})

    def __init__(self, owner: type) -> None:
        super().__init__(owner)

    @property
    def wire(self) -> Wire:
        return self.owner.__state__  # type: ignore[no-any-return]

    @property
    def entries(self) -> dict[str, Entry]:
        return self.owner.__state__.entries  # type: ignore[no-any-return]

    def dump(self, value: Any) -> Plain:
        return self.owner.__state__.dump(value)

    def load(self, plain: Plain) -> Any:
        return self.owner.__state__.load(plain)

    def schema(self, book: SchemaBook) -> Schema:
        return self.owner.__state__.schema(book)  # type: ignore[no-any-return]

    def requires(self) -> Iterable[type]:
        return (self.owner,)


class EnumKind(Instance):
    """A member of an Enum; its value in JSON."""

    __slots__ = ()

    immutable = True

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
        try:
            member = self.owner(plain)
        except (ValueError, TypeError):
            raise mismatch(self.expected, plain) from None
        # In Python True == 1 == 1.0. In JSON these are three values.
        if not isinstance(member, Flag) and type(member.value) is not type(plain):
            raise mismatch(self.expected, plain)
        return member

    def schema(self, book: SchemaBook) -> Schema:
        if issubclass(self.owner, Flag):
            return {"type": "integer"}
        reference, new = book.reference(self.owner)
        if new:
            members = list(self.owner)  # type: ignore[call-overload]
            book.define(self.owner, {"enum": [self.dump(member) for member in members]})
        return reference


class LiteralKind(Kind):
    """One of the named values. Type and value both have to agree: True is not 1."""

    __slots__ = ("plain", "values")

    immutable = True

    def __init__(self, expected: str, values: tuple[Any, ...]) -> None:
        super().__init__(expected)
        self.values: dict[tuple[type[Any], Any], Any] = {
            (type(value), value): value for value in values
        }
        plain: dict[tuple[type, Any], Any] = {}
        for value in values:
            form = value.value if isinstance(value, Enum) else value
            if type(form) in JSON_TYPES:
                plain.setdefault((type(form), form), value)
        self.plain: dict[tuple[type[Any], Any], Any] = plain

    def check(self, value: Any) -> Any:
        try:
            return self.values[type(value), value]
        except (KeyError, TypeError):
            raise mismatch(self.expected, value) from None

    def dump(self, value: Any) -> Plain:
        form = value.value if isinstance(value, Enum) else value
        if self.plain.get((type(form), form)) is not value:
            raise not_json(describe(value))
        return form

    def load(self, plain: Plain) -> Any:
        try:
            return self.plain[type(plain), plain]
        except (KeyError, TypeError):
            return self.check(plain)

    def schema(self, book: SchemaBook) -> Schema:
        return {"enum": [form for _, form in self.plain]}


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

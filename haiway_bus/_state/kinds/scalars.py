"""Kinds of the built-in values: None, bool, numbers, text, bytes; and of Any."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from haiway_bus._state.kinds.kind import Instance, Kind, Plain, Schema, SchemaBook, not_json
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch, Problem, describe, mismatch, part_of

__all__ = ("EXPONENT", "INT_KEY", "SCALARS", "AnyKind", "FloatKind", "ordinary", "text_schema")

INT_KEY: Final = "0|-?[1-9][0-9]*"
"""An int as the key of a JSON object: as int writes it, so that no two texts stand for one key."""

BASE64: Final = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"


def text_schema(pattern: str) -> Schema:
    """Give the schema of the texts that match the pattern from end to end.

    A pattern has nothing that some validator's regular expressions lack, such as a lookahead. In Python's, `$` lets a
    line break pass at the end, which the second pattern refuses.
    """
    return {"type": "string", "pattern": f"^(?:{pattern})$", "not": {"pattern": r"\n"}}


class AnyKind(Kind):
    """Any and object: accepts every value as it is. JSON carries a value that is plain data already."""

    __slots__ = ()

    anything = True
    closed = False
    reads = frozenset({type(None), bool, int, float, str, list, dict})

    def __init__(self) -> None:
        super().__init__("anything")

    def check(self, value: Any) -> Any:
        return value

    def dump(self, value: Any) -> Plain:
        kind = type(value)
        if value is None or kind is bool or kind is int or kind is str:
            return value
        if kind is float:
            return finite(value)
        problems: list[Problem] = []
        plain: Any
        if kind is list or kind is tuple:
            plain = []
            for index, item in enumerate(value):
                try:
                    plain.append(self.dump(item))
                except Mismatch as wrong:
                    problems += wrong.under(f"[{index}]")
                    if len(problems) > LIMIT:
                        break
        elif isinstance(value, Mapping) and all(type(key) is str for key in value):
            plain = {}
            for key, item in value.items():
                try:
                    plain[key] = self.dump(item)
                except Mismatch as wrong:
                    problems += wrong.under(part_of(key))
                    if len(problems) > LIMIT:
                        break
        else:
            raise Mismatch([("", f"JSON cannot carry {describe(value)}; annotate its type")])
        if problems:
            raise Mismatch(problems)
        return plain

    def schema(self, book: SchemaBook) -> Schema:
        return {}


class PlainKind(Instance):
    """None and bool, which JSON carries as they are. Numbers and text derive from it.

    name: the type in the JSON schema.
    """

    __slots__ = ("name", "reads")

    immutable = True
    plain = True
    reads: frozenset[type[Any]]

    def __init__(self, owner: type, name: str, also: type | None = None) -> None:
        super().__init__(owner, "None" if owner is type(None) else None)
        self.name: str = name
        self.reads = frozenset({owner} if also is None else {owner, also})

    def dump(self, value: Any) -> Plain:
        return value

    def schema(self, book: SchemaBook) -> Schema:
        return {"type": self.name}


class IntKind(PlainKind):
    """int. A bool is refused, although Python derives bool from int."""

    __slots__ = ()

    def check(self, value: Any) -> Any:
        if isinstance(value, int) and type(value) is not bool:
            return value
        raise mismatch("int", value)

    def dump(self, value: Any) -> Plain:
        return int.__int__(value)

    def load(self, plain: Plain) -> Any:
        # JSON has numbers only: 1.0 and 1e3 are integers to its schema.
        if type(plain) is float and plain.is_integer():
            return int(plain)
        return self.check(plain)

    def dump_key(self, value: Any) -> str:
        return str(int.__int__(value))

    def load_key(self, plain: str) -> Any:
        if re.fullmatch(INT_KEY, plain):
            try:
                return int(plain)
            except ValueError:  # more digits than Python converts
                pass
        raise mismatch("int", plain)


class WideKind(Instance):
    """A type of numbers that accepts a number of a narrower type, which becomes one of this type."""

    __slots__ = ()

    immutable = True
    narrower: type[Any] | tuple[type[Any], ...] = int

    def check(self, value: Any) -> Any:
        if isinstance(value, self.owner):
            return value
        if isinstance(value, self.narrower) and type(value) is not bool:
            try:
                return self.owner(value)
            except OverflowError:
                name = self.expected
                reason = f"expected {name}, given an int too large for a {name}"
                raise Mismatch([("", reason)]) from None
        raise mismatch(self.expected, value)


class FloatKind(WideKind, PlainKind):
    __slots__ = ()

    def dump(self, value: Any) -> Plain:
        return finite(float.__float__(value))

    def load(self, plain: Plain) -> Any:
        # JSON text such as 1e999 is read as infinity.
        return finite(self.check(plain))


class ComplexKind(WideKind):
    __slots__ = ()

    narrower = (int, float)


class StrKind(PlainKind):
    __slots__ = ()

    def dump(self, value: Any) -> Plain:
        # Not str(value): for a member of an Enum that derives from str, that is the member's name.
        return str.__str__(value)


class BytesKind(Instance):
    """bytes; base64 in JSON."""

    __slots__ = ()

    immutable = True
    reads = frozenset({str})
    samples = ("", "abcd", "P10D", "1200", "20260101", "1" * 32)
    """As in TextKind."""

    def dump(self, value: Any) -> Plain:
        return b64encode(value).decode("ascii")

    def load(self, plain: Plain) -> Any:
        if type(plain) is not str:
            return self.check(plain)
        try:
            value = b64decode(plain, validate=True)
            # It lets "=" pass that do not belong there.
            if len(plain) == -(-len(value) // 3) * 4:
                return value
        except ValueError:
            pass
        raise mismatch("bytes in base64", plain)

    def schema(self, book: SchemaBook) -> Schema:
        return {**text_schema(BASE64), "contentEncoding": "base64"}


EXPONENT: list[object] = [None]
"""Tells whoever writes JSON of a float that Python writes with an exponent, as 1e+16, where others write 1e16.

The element is another object after each such float.
"""


def ordinary(value: float) -> bool:
    """Whether the number is finite, and Python writes it without an exponent."""
    return 1e-4 <= value < 1e16 or value == 0 or -1e16 < value <= -1e-4


def finite(value: float) -> float:
    """Give the number, and refuse infinity and NaN, which JSON does not have."""
    if not isfinite(value):
        raise not_json(repr(value))
    if not ordinary(value):
        EXPONENT[0] = object()
    return value


SCALARS: dict[type | None, Kind] = {
    bool: PlainKind(bool, "boolean"),
    int: IntKind(int, "integer", float),
    float: FloatKind(float, "number", int),
    complex: ComplexKind(complex),
    str: StrKind(str, "string"),
    bytes: BytesKind(bytes),
    object: AnyKind(),
}
"""The kinds by class, for the classes that determine their kind."""

SCALARS[None] = SCALARS[type(None)] = PlainKind(type(None), "null")

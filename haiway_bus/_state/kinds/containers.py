"""Kinds of containers. A sequence is kept as a tuple, a set as a frozenset, a mapping as a FrozenMap.

`dump` and `load` of a sequence and of a mapping convert the elements in their own frame. So a text that is nested
900 levels deep needs no more frames than levels, and Python allows 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from operator import is_
from typing import Any

from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.kind import Kind, Plain, Schema, SchemaBook, Wire
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch, Problem, describe, mismatch, part_of
from haiway_bus._state.kinds.scalars import INT_KEY, text_schema

__all__ = ("ContainerKind", "MappingKind", "SequenceKind", "SetKind", "TupleKind", "is_array")

TEXTS = (str, bytes, bytearray, memoryview)
"""Sequences by their methods. Who annotates a Sequence does not mean the letters of a word."""


def is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, TEXTS)


def each(convert: Callable[[Any], Any], values: Iterable[Any], part: str = "[{}]") -> list[Any]:
    """Convert every value. The Mismatch lists all values that do not fit, and not the first alone.

    `part` is the part of a path for a value, given its index.
    """
    converted: list[Any] = []
    problems: list[Problem] = []
    for value in values:
        try:
            converted.append(convert(value))
        except Mismatch as wrong:
            problems += wrong.under(part.format(len(converted)))
            converted.append(None)
            if len(problems) > LIMIT:
                break
    if problems:
        raise Mismatch(problems)
    return converted


class ContainerKind(Kind):
    """A kind whose `convert` dumps and loads."""

    __slots__ = ("dump", "immutable", "load")

    immutable: bool

    def __init__(self, expected: str, *parts: Kind) -> None:
        super().__init__(expected)
        # Partial: Python has no frame for them, so that a level takes the frame of `convert` alone.
        self.dump: Callable[[Any], Plain] = partial(self.convert, "dump")  # type: ignore[assignment]
        self.load: Callable[[Plain], Any] = partial(self.convert, "load")  # type: ignore[assignment]
        self.immutable = all(part.immutable for part in parts)

    def convert(self, method: str, source: Any, /) -> Any:
        raise NotImplementedError


class SequenceKind(Kind):
    """Sequence[T], kept as a tuple."""

    # No partial as in a ContainerKind: it is a call from C, which 3.12 nests 725 deep and not 900.
    __slots__ = ("immutable", "item")

    immutable: bool
    reads = frozenset({list})
    kept = (tuple,)

    def __init__(self, expected: str, item: Kind) -> None:
        super().__init__(expected)
        self.item: Kind = item
        self.immutable = item.immutable

    def parts(self) -> Iterable[Kind]:
        return (self.item,)

    def check(self, value: Any) -> Any:
        if type(value) is not tuple:
            if not is_array(value):
                raise mismatch(self.expected, value)
            value = tuple(value)
        item = self.item
        # All in C: no Python code runs for an element of an exact type.
        if item.anything or item.exact_set.issuperset(map(type, value)):
            return value
        checked = each(item.check, value)
        return value if all(map(is_, checked, value)) else tuple(checked)

    def dump(self, value: Any) -> Plain:
        writer, dump = self.item.writer, self.item.wire.dump
        converted: list[Any] = []
        problems: list[Problem] = []
        for item in value:
            try:
                converted.append(dump(item) if writer is None else writer(item).dump(item))
            except Mismatch as wrong:
                problems += wrong.under(f"[{len(converted)}]")
                converted.append(None)
                if len(problems) > LIMIT:
                    break
        if problems:
            raise Mismatch(problems)
        return converted

    def load(self, plain: Plain) -> Any:
        if not is_array(plain):
            raise mismatch(self.expected, plain)
        choose, load = self.item.choose, self.item.wire.load
        converted: list[Any] = []
        problems: list[Problem] = []
        for item in plain:
            try:
                converted.append(load(item) if choose is None else choose(item).load(item))
            except Mismatch as wrong:
                problems += wrong.under(f"[{len(converted)}]")
                converted.append(None)
                if len(problems) > LIMIT:
                    break
        if problems:
            raise Mismatch(problems)
        return tuple(converted)

    def schema(self, book: SchemaBook) -> Schema:
        return {"type": "array", "items": self.item.schema(book)}


class TupleKind(ContainerKind):
    """tuple[A, B], tuple[T, ...], and tuple[A, *tuple[T, ...], B]: a head, a middle, a tail.

    A list is accepted as for a Sequence. From JSON comes a list, too.
    """

    __slots__ = ("head", "middle", "tail")

    reads = frozenset({list})
    kept = (tuple,)

    def __init__(self, expected: str, head: list[Kind], middle: Kind | None, tail: list[Kind]):
        self.head: list[Kind] = head
        self.middle: Kind | None = middle
        self.tail: list[Kind] = tail
        super().__init__(expected, *self.kinds(0))

    def parts(self) -> Iterable[Kind]:
        return self.kinds(0)

    def kinds(self, length: int) -> list[Kind]:
        """Give the kind of each element of a tuple of that length. For length 0: each kind once."""
        fixed = len(self.head) + len(self.tail)
        if self.middle is None:
            return self.head + self.tail
        return self.head + [self.middle] * (max(length - fixed, 0) if length else 1) + self.tail

    def convert(self, method: str, values: Any) -> Any:
        """Check, dump or load a tuple."""
        if not isinstance(values, tuple | list):
            raise mismatch(self.expected, values)
        values = tuple(values)  # no other thread changes this one
        length = len(values)
        fixed = len(self.head) + len(self.tail)
        if length != fixed and (self.middle is None or length < fixed):
            least = "at least " if self.middle is not None else ""
            raise Mismatch([("", f"expected {self.expected}, {least}{fixed} long, given {length}")])
        converted: list[Any] = []
        problems: list[Problem] = []
        for kind, value in zip(self.kinds(length) if length else (), values, strict=True):
            try:
                converted.append(getattr(kind if method == "check" else kind.wire, method)(value))
            except Mismatch as wrong:
                problems += wrong.under(f"[{len(converted)}]")
                converted.append(None)
                if len(problems) > LIMIT:
                    break
        if problems:
            raise Mismatch(problems)
        return converted if method == "dump" else tuple(converted)

    def check(self, value: Any) -> Any:
        checked = self.convert("check", value)
        return value if type(value) is tuple and all(map(is_, checked, value)) else checked

    def schema(self, book: SchemaBook) -> Schema:
        fixed = len(self.head) + len(self.tail)
        schema: Schema = {"type": "array", "minItems": fixed}
        if self.head:
            schema["prefixItems"] = [kind.schema(book) for kind in self.head]
        if self.middle is None:
            schema["maxItems"] = fixed
        else:
            # How long the middle is, JSON schema cannot tell.
            rest = [kind.schema(book) for kind in (self.middle, *self.tail)]
            schema["items"] = {"anyOf": rest} if self.tail else rest[0]
        return schema

    def requires(self) -> Iterable[type]:
        for kind in self.head + self.tail:
            yield from kind.requires()


class SetKind(Kind):
    """Set[T] of collections.abc, or frozenset[T], kept as a frozenset. A list or a tuple is accepted, too."""

    __slots__ = ("immutable", "item")

    immutable: bool
    reads = frozenset({list})
    kept = (frozenset,)

    def __init__(self, expected: str, item: Kind) -> None:
        super().__init__(expected)
        self.item: Kind = item
        self.immutable = item.immutable

    def parts(self) -> Iterable[Kind]:
        return (self.item,)

    def check(self, value: Any) -> Any:
        kept: list[Any] = []
        if type(value) is not frozenset:
            if not isinstance(value, AbstractSet | list | tuple):
                raise mismatch(self.expected, value)
            value = kept = list(value)
        item = self.item
        if not (item.anything or item.exact_set.issuperset(map(type, value))):
            kept = kept or list(value)
            checked = each(item.check, kept, "{{}}")
            if value is kept or not all(map(is_, checked, kept)):
                value = checked
        return self.gathered(value)

    def gathered(self, values: Iterable[Any]) -> frozenset[Any]:
        try:
            return frozenset(values)
        except TypeError as wrong:
            raise Mismatch([("", f"expected {self.expected}: {wrong}")]) from None

    def dump(self, value: Any) -> Plain:
        # Sorted, so that the JSON of a set does not change from run to run.
        plain = each(self.item.dump, value, "{{}}")
        try:
            return sorted(plain)
        except TypeError:
            return sorted(plain, key=repr)

    def load(self, plain: Plain) -> Any:
        if isinstance(plain, AbstractSet):
            plain = list(plain)
        if not isinstance(plain, list | tuple):
            raise mismatch(self.expected, plain)
        loaded = self.gathered(counted(each(self.item.load, plain)))
        if len(loaded) != len(plain):
            raise Mismatch([("", f"expected {self.expected}, given an element twice")])
        return loaded

    def schema(self, book: SchemaBook) -> Schema:
        return {"type": "array", "items": self.item.schema(book), "uniqueItems": True}


class MappingKind(ContainerKind):
    """Mapping[K, V], kept as a FrozenMap."""

    __slots__ = ("key", "value")

    reads = frozenset({dict})
    kept = (FrozenMap,)

    def __init__(self, expected: str, key: Kind, value: Kind) -> None:
        super().__init__(expected, key, value)
        self.key: Kind = key
        self.value: Kind = value

    def parts(self) -> Iterable[Kind]:
        return (self.key, self.value)

    def check(self, value: Any) -> Any:
        if type(value) is not FrozenMap:
            if not isinstance(value, Mapping):
                raise mismatch(self.expected, value)
            # Copied before the check, so that the checked items are the kept ones.
            value = FrozenMap(value)
        key, item = self.key, self.value
        if (key.anything or key.exact_set.issuperset(map(type, value))) and (
            item.anything or item.exact_set.issuperset(map(type, value.values()))
        ):
            return value
        checked = self.convert("check", value)
        entries = zip(checked.items(), value.items(), strict=True)
        if all(new is old and name is key for (name, new), (key, old) in entries):
            return value
        return checked

    def convert(self, method: str, source: Mapping[Any, Any]) -> Any:
        """Check, dump or load a mapping."""
        if not isinstance(source, Mapping):
            raise mismatch(self.expected, source)
        of_key: Callable[[Any], Any]
        of_value: Callable[[Any], Any]
        choose: Callable[[Any], Wire] | None = None
        if method == "check":
            of_key, of_value = self.key.check, self.value.check
        elif method == "load":
            of_key, of_value, choose = self.load_key, self.value.wire.load, self.value.choose
        else:
            of_key, of_value, choose = self.key.dump_key, self.value.wire.dump, self.value.writer
        converted: dict[Any, Any] = {}
        hashes: dict[int, int] = {}
        problems: list[Problem] = []
        for key, value in source.items():
            try:
                name = of_key(key)
                if name in converted:
                    problems.append((part_of(key), f"key: {describe(name)} stands twice"))
                if type(name) is not str:
                    count_hash(hashes, name)
            except Mismatch as wrong:
                problems += [
                    (part_of(key) + path, f"key: {reason}") for path, reason in wrong.problems
                ]
                name = key
            try:
                if choose is not None:
                    of_value = getattr(choose(value), method)
                converted[name] = of_value(value)
            except Mismatch as wrong:
                problems += wrong.under(part_of(key))
            if len(problems) > LIMIT:
                break
        if problems:
            raise Mismatch(problems)
        return converted if method == "dump" else FrozenMap(converted)

    def load_key(self, plain: Any) -> Any:
        return self.key.load_key(plain) if type(plain) is str else self.key.load(plain)

    def schema(self, book: SchemaBook) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self.value.schema(book)}
        names = self.names(self.key.schema(book))
        if names and names != {"type": "string"}:
            schema["propertyNames"] = names
        return schema

    def names(self, key: Schema) -> Schema:
        """Give the schema of the keys. A number is written as text there, which its own schema does not describe."""
        if "anyOf" in key and "type" not in key:
            return {**key, "anyOf": [self.names(member) for member in key["anyOf"]]}
        if key.get("type", "string") not in ("string", "integer"):
            raise Mismatch([("", f"JSON keys are strings, {self.key.expected} is none")])
        return text_schema(INT_KEY) if "type" in key and key["type"] == "integer" else key


def count_hash(hashes: dict[int, int], value: Any) -> None:
    """Count the hash of a value. Raises Mismatch when too many values have it.

    An int is its own hash, modulo 2 ** 61 - 1. So a text can have 50,000 keys of one hash, and a dict compares each of
    these with all others.
    """
    number = hash(value)
    found = hashes[number] = hashes.get(number, 0) + 1
    if found > LIMIT:
        raise Mismatch([("", f"the hash of {LIMIT} others is the same")])


def counted(values: Iterable[Any]) -> Iterable[Any]:
    """Give the values, of which not too many may have one hash. Raises Mismatch."""
    hashes: dict[int, int] = {}
    for value in values:
        if type(value) is not str:
            count_hash(hashes, value)
        yield value

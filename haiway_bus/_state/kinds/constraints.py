"""The predicates of `annotated_types` in Annotated: Gt, Ge, Lt, Le, Len, MultipleOf, Timezone, Predicate.

This module does not import that package. Code that has its metadata has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import ceil, floor, inf, nextafter
from operator import ge, gt, le, lt
from types import ModuleType
from typing import Any, NamedTuple

from haiway_bus._common.printable import name_of_function, name_of_type, text_of
from haiway_bus._state.kinds.kind import Kind, Outer, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import Mismatch, describe, mismatch
from haiway_bus._state.kinds.stdlib import zoned
from haiway_bus._state.kinds.unions import apart

__all__ = ("ConstrainedKind", "Constraint", "Unsupported", "constraints")


class Unsupported(Exception):  # noqa: N818 - a signal within the package
    """Raised for a predicate that is not known here."""


class Constraint(NamedTuple):
    """One predicate.

    text: the predicate in an error.
    test: whether a value satisfies it.
    keywords: by JSON type, the keywords of the JSON schema: a bound of numbers is `minimum`, a
        length is `minItems` or `maxLength`. What they cannot say, the schema does not say.
    narrow: gives the kind of the values that can pass, for a kind that reads and describes them otherwise.
    """

    text: str
    test: Callable[[Any], Any]
    keywords: Mapping[str, Schema] = {}
    narrow: Callable[[Kind], Kind] | None = None


NOTES = ("Unit",)
"""Metadata that describes a value and restricts nothing."""

BOUNDS = (
    ("Gt", ">", gt, "exclusiveMinimum"),
    ("Ge", ">=", ge, "minimum"),
    ("Lt", "<", lt, "exclusiveMaximum"),
    ("Le", "<=", le, "maximum"),
)
"""The predicates that compare: name, sign and function of each, and its keyword in JSON schema."""


def number(keyword: str, bound: Any) -> dict[str, Schema]:
    """The keywords of a bound, which may be a Decimal or a Fraction: the int and the float next to it, exactly."""
    # The numbers above 0.1 are those from the next one on, and those at least 0.1 are the same.
    up = keyword in ("minimum", "exclusiveMaximum")
    try:
        whole = ceil(bound) if up else floor(bound)
        near: float = bound if type(bound) is int else float(bound)
    except (TypeError, ValueError, ArithmeticError):  # no number, or NaN or infinity
        return {}
    if near < bound if up else near > bound:
        near = nextafter(near, inf if up else -inf)
    return {"integer": {keyword: whole}, "number": {keyword: near}}


def length(side: str, bound: int) -> dict[str, Schema]:
    """The keywords of a length. The length of bytes is told by the length of their base64 and the "=" at its end."""
    characters, fewer = -(-bound // 3) * 4, -bound % 3
    key = f"{side}Length"
    of_bytes: Schema = {key: characters}
    if side == "max" and fewer:
        of_bytes["anyOf"] = [{key: characters - 1}, {"pattern": "=" * fewer + "$"}]
    elif side == "min" and fewer < 2:
        of_bytes["anyOf"] = [{key: characters + 1}, {"pattern": "[^=]" + "=?" * fewer + "$"}]
    return {
        "bytes": of_bytes,
        "string": {key: bound},
        "array": {f"{side}Items": bound},
        "object": {f"{side}Properties": bound},
    }


def multiple(step: Any) -> dict[str, Schema]:
    if type(step) is not int or not step:
        return {}
    return {"integer": {"multipleOf": abs(step)}, "number": {"multipleOf": abs(step)}}


def narrowed(schema: Schema, keywords: Mapping[str, Schema]) -> Schema:
    """Give the schema with the keywords of its type, each member of a union with those of its own."""
    if "anyOf" in schema and "type" not in schema:
        return {**schema, "anyOf": [narrowed(member, keywords) for member in schema["anyOf"]]}
    kind = "bytes" if "contentEncoding" in schema else schema.get("type", "")
    added = keywords.get(kind, {})
    if added.keys() & schema.keys():
        return {**schema, "allOf": [*schema.get("allOf", ()), added]}
    return {**schema, **added}


def constraints(metadata: Iterable[Any]) -> list[Constraint]:
    """Find the predicates in the metadata of an Annotated, in order.

    Other metadata is ignored, as typing demands.

    Raises:
        Unsupported: a predicate of `annotated_types` is not known here.
    """
    types = sys.modules.get("annotated_types")
    if types is None:
        return []
    found: list[Constraint] = []
    for item in metadata:
        if isinstance(item, types.GroupedMetadata):
            found += constraints(item)
        elif isinstance(item, types.BaseMetadata):
            found += of_predicate(types, item)
    return found


def of_predicate(types: ModuleType, item: Any) -> list[Constraint]:
    for name, sign, holds, keyword in BOUNDS:
        if isinstance(item, getattr(types, name)):
            bound = getattr(item, name.lower())
            test = lambda value: holds(value, bound)  # noqa: E731, B023 - no later turn of the loop
            return [Constraint(f"{sign} {bound!r}", test, number(keyword, bound))]
    if isinstance(item, types.MultipleOf):
        step = item.multiple_of
        return [Constraint(f"a multiple of {step!r}", lambda v: v % step == 0, multiple(step))]
    if isinstance(item, types.MinLen):
        least = item.min_length
        if not least:
            return []
        return [
            Constraint(f"at least {least} long", lambda v: len(v) >= least, length("min", least))
        ]
    if isinstance(item, types.MaxLen):
        most = item.max_length
        return [Constraint(f"at most {most} long", lambda v: len(v) <= most, length("max", most))]
    if isinstance(item, types.Timezone):
        return [of_zone(item.tz)]
    if isinstance(item, types.Predicate):
        test = partial(apart, item.func)
        return [Constraint(f"that satisfies {name_of_function(item.func)}", test)]
    if type(item).__name__ in NOTES:
        return []
    raise Unsupported(f"the predicate {item!r} is not known")


def of_zone(zone: Any) -> Constraint:
    text = f"in the time zone {zone}"
    fits: Callable[[Any], bool]
    if zone is None:
        text, fits = "without a time zone", lambda value: value.tzinfo is None
    elif zone is ...:
        text, fits = "with a time zone", lambda value: value.tzinfo is not None
    else:

        def fits(value: Any) -> bool:
            return value.tzinfo is not None and zone in (value.tzinfo, str(value.tzinfo))

    return Constraint(text, fits, narrow=lambda kind: zoned(kind, zone, fits))


class ConstrainedKind(Outer):
    """A kind with predicates. They test the value that the State keeps."""

    __slots__ = ("closed", "immutable", "tests")

    closed: bool
    immutable: bool

    def __init__(self, inner: Kind, tests: list[Constraint]) -> None:
        super().__init__(f"{inner.expected} {' and '.join(test.text for test in tests)}")
        for test in tests:
            inner = inner if test.narrow is None else test.narrow(inner)
        self.inner: Kind = inner
        self.tests: list[Constraint] = tests
        self.closed = inner.closed
        self.immutable = inner.immutable

    def satisfied(self, value: Any) -> Any:
        for constraint in self.tests:
            try:
                holds = bool(constraint.test(value))
            except ArithmeticError:  # NaN is neither above a bound nor below it
                holds = False
            except Exception as wrong:  # whatever a text from outside makes of a predicate
                reason = f"{name_of_type(type(wrong), qualified=False)}: {text_of(wrong)}"
                reason = f"expected {self.expected}, but testing {describe(value)} failed: {reason}"
                raise Mismatch([("", reason)]) from wrong
            if not holds:
                raise mismatch(self.expected, value)
        return value

    def check(self, value: Any) -> Any:
        return self.satisfied(self.inner.check(value))

    def load(self, plain: Plain) -> Any:
        return self.satisfied(self.inner.load(plain))

    def load_key(self, plain: str) -> Any:
        return self.satisfied(self.inner.load_key(plain))

    def schema(self, book: SchemaBook) -> Schema:
        schema = self.inner.schema(book)
        for constraint in self.tests:
            schema = narrowed(schema, constraint.keywords)
        return schema

    def requires(self) -> Iterable[type]:
        return self.inner.requires()

"""The predicates of `annotated_types` in Annotated: Gt, Ge, Lt, Le, Len, MultipleOf, Timezone, Predicate.

This module does not import that package. Code that has its metadata has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from math import ceil, floor, inf, nextafter
from types import ModuleType
from typing import Any

from haiway_bus._common.printable import name_of_function, name_of_type, text_of
from haiway_bus._state.kinds.kind import Entry, Kind, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import Mismatch, describe
from haiway_bus._state.kinds.stdlib import zoned

__all__ = ("ConstrainedKind", "Constraint", "Unsupported", "constraints")


class Unsupported(Exception):  # noqa: N818 - a signal within the package
    """Raised for a predicate that is not known here."""


class Constraint:
    """One predicate.

    text: the predicate in an error.
    test: whether a value satisfies it.
    keywords: by JSON type, the keywords of the JSON schema: a bound of numbers is `minimum`, a
        length is `minItems` or `maxLength`. What they cannot say, the schema does not say.
    narrow: gives the kind of the values that can pass, for a kind that reads and describes them otherwise.
    """

    __slots__ = ("keywords", "narrow", "test", "text")

    def __init__(
        self,
        text: str,
        test: Callable[[Any], Any],
        keywords: dict[str, Schema] | None = None,
        narrow: Callable[[Kind], Kind] | None = None,
    ) -> None:
        self.text: str = text
        self.narrow: Callable[[Kind], Kind] | None = narrow
        self.test: Callable[[Any], Any] = test
        self.keywords: dict[str, Schema] = keywords or {}


NOTES = ("Unit",)
"""Metadata that describes a value and restricts nothing."""


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


def narrowed(schema: Schema, keywords: dict[str, Schema]) -> Schema:
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
    if isinstance(item, types.Gt):
        bound = item.gt
        return [Constraint(f"> {bound!r}", lambda v: v > bound, number("exclusiveMinimum", bound))]
    if isinstance(item, types.Ge):
        bound = item.ge
        return [Constraint(f">= {bound!r}", lambda v: v >= bound, number("minimum", bound))]
    if isinstance(item, types.Lt):
        bound = item.lt
        return [Constraint(f"< {bound!r}", lambda v: v < bound, number("exclusiveMaximum", bound))]
    if isinstance(item, types.Le):
        bound = item.le
        return [Constraint(f"<= {bound!r}", lambda v: v <= bound, number("maximum", bound))]
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
        zone, test = item.tz, zone_test(item.tz)
        return [Constraint(zone_text(zone), test, narrow=lambda kind: zoned(kind, zone, test))]
    if isinstance(item, types.Predicate):
        return [Constraint(f"that satisfies {name_of_function(item.func)}", item.func)]
    if type(item).__name__ in NOTES:
        return []
    raise Unsupported(f"the predicate {item!r} is not known")


def zone_text(zone: Any) -> str:
    if zone is None:
        return "without a time zone"
    return "with a time zone" if zone is ... else f"in the time zone {zone}"


def zone_test(zone: Any) -> Callable[[Any], bool]:
    if zone is None:
        return lambda value: value.tzinfo is None
    if zone is ...:
        return lambda value: value.tzinfo is not None
    return lambda value: value.tzinfo is not None and zone in (value.tzinfo, str(value.tzinfo))


class ConstrainedKind(Kind):
    """A kind with predicates. They test the value that the State keeps."""

    __slots__ = ("closed", "immutable", "inner", "tests")

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

    @property
    def reads(self) -> frozenset[type[Any]]:  # type: ignore[override] # an attribute of other kinds
        return self.inner.reads

    @property
    def kept(self) -> tuple[type[Any], ...]:
        return self.inner.kept

    @property
    def entries(self) -> dict[str, Entry]:
        return self.inner.entries

    @property
    def closed_keys(self) -> bool:  # type: ignore[override] # an attribute of other kinds
        return self.inner.closed_keys

    def parts(self) -> Iterable[Kind]:
        return (self.inner,)

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
                raise Mismatch([("", f"expected {self.expected}, given {describe(value)}")])
        return value

    def check(self, value: Any) -> Any:
        return self.satisfied(self.inner.check(value))

    def dump(self, value: Any) -> Plain:
        return self.inner.dump(value)

    def load(self, plain: Plain) -> Any:
        return self.satisfied(self.inner.load(plain))

    def dump_key(self, value: Any) -> str:
        return self.inner.dump_key(value)

    def load_key(self, plain: str) -> Any:
        return self.satisfied(self.inner.load_key(plain))

    def schema(self, book: SchemaBook) -> Schema:
        schema = self.inner.schema(book)
        for constraint in self.tests:
            schema = narrowed(schema, constraint.keywords)
        return schema

    def requires(self) -> Iterable[type]:
        return self.inner.requires()

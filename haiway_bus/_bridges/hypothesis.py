"""Strategies of hypothesis for State classes: `from_type(Order)` makes instances, which JSON can carry where it can.

The strategies follow the annotations. Each field keeps what its kind takes, and the constructor refuses the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import PurePath
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.errors import ResolutionFailed
from hypothesis.strategies._internal import types

__all__ = ("instances",)

Strategy = st.SearchStrategy[Any]

DEEP = 2
"""In so many instances around it, an instance holds further ones only where it must."""

ENDLESS = 1 << 30

FINITE: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}

JSON: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(**FINITE) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

PATHS: Strategy = st.lists(st.text("aZ0._-", min_size=1), min_size=1, max_size=3).map("/".join)

ARRAYS: dict[Any, Any] = {
    Sequence: tuple,
    tuple: tuple,
    AbstractSet: frozenset,
    frozenset: frozenset,
}

WHOLE = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}

OBJECTS = ("Mapping", "FrozenMap")

KEYS = ("Required", "NotRequired", "ReadOnly")


def instances(cls: Any, depth: int = 0) -> Strategy:
    """Make the strategy of a State class whose instances stand in `depth` others."""
    if cls.__state__.mixin:
        raise ResolutionFailed(f"{cls.__name__} is a mix-in, which has no instances")
    required: dict[str, Strategy] = {}
    optional: dict[str, Strategy] = {}
    for field in cls.__state__.fields:
        values = Values(cls, depth)
        if field.name == "__unknown__":
            continue
        if field.required:
            required[field.name] = values.of(field.annotation).filter(partial(fits, field.kind))
        elif depth < DEEP or not values.holds_state(field.annotation):
            optional[field.name] = values.of(field.annotation).filter(partial(fits, field.kind))
    return st.fixed_dictionaries(required, optional=optional).map(partial(made, cls))


def made(cls: Any, values: dict[str, Any]) -> Any:
    from haiway_bus.errors import StateError

    try:
        return cls(**values)
    except StateError:  # by its __validate__
        reject()


def fits(kind: Any, value: Any) -> bool:
    try:
        kind.check(value)
    except Exception as wrong:
        if type(wrong).__name__ == "Mismatch":
            return False
        raise
    return True


def obeys(metadata: list[Any], value: Any) -> bool:
    """Whether a value obeys the metadata of its place, such as an item in a container."""
    for item in metadata:
        if not (
            (getattr(item, "gt", None) is None or value > item.gt)
            and (getattr(item, "lt", None) is None or value < item.lt)
            and (getattr(item, "multiple_of", None) is None or value % item.multiple_of == 0)
            and (not callable(func := getattr(item, "func", None)) or func(value))
        ):
            return False
    return True


class Values:
    """Makes the strategies of the annotations of a class."""

    def __init__(self, cls: Any, depth: int) -> None:
        self.cls: Any = cls
        self.depth: int = depth
        self.aliases: dict[Any, Strategy] = {}

    def bare(self, annotation: Any) -> tuple[Any, list[Any]]:
        """Split an annotation into a type and the metadata of all names on the way to it."""
        metadata: list[Any] = []
        while True:
            if get_origin(annotation) is Annotated:
                for item in annotation.__metadata__:
                    grouped = getattr(item, "__is_annotated_types_grouped_metadata__", False)
                    metadata += item if grouped else [item]
                annotation = annotation.__origin__
            elif isinstance(annotation, NewType):
                annotation = annotation.__supertype__
            elif type(annotation).__name__ == "TypeAliasType":
                annotation = annotation.__value__
            elif str(get_origin(annotation)).rpartition(".")[2] in KEYS:
                (annotation,) = get_args(annotation)
            elif annotation is Self:
                annotation = self.cls
            elif isinstance(annotation, TypeVar):
                choices = annotation.__constraints__ or (annotation.__bound__ or Any,)
                annotation = Union[choices]  # noqa: UP007 - of a tuple
            else:
                return annotation, metadata

    def holds_state(self, annotation: Any, seen: tuple[Any, ...] = ()) -> bool:
        if type(annotation).__name__ == "TypeAliasType" and annotation in seen:
            return False
        seen = (*seen, annotation)
        annotation, _ = self.bare(annotation)
        if get_origin(annotation) is Literal:
            return False
        parts = (
            get_type_hints(annotation).values()
            if is_typeddict(annotation)
            else get_args(annotation)
        )
        return hasattr(annotation, "__state__") or any(
            self.holds_state(part, seen) for part in parts
        )

    def height(self, annotation: Any, around: tuple[Any, ...] = ()) -> int:
        """Count the instances that every value of an annotation has in one another."""
        annotation, _ = self.bare(annotation)
        if annotation in around:
            return ENDLESS
        if hasattr(annotation, "__state__"):
            around = (*around, annotation)
            fields = [field for field in annotation.__state__.fields if field.required]
            inner = Values(annotation, 0)
            return 1 + max((inner.height(field.annotation, around) for field in fields), default=0)
        heights = [self.height(part, around) for part in get_args(annotation) if part is not ...]
        if get_origin(annotation) in (Union, UnionType):
            return min(heights)
        return (
            max(heights)
            if get_origin(annotation) is tuple and ... not in get_args(annotation)
            else 0
        )

    def of(self, annotation: Any) -> Strategy:
        if type(annotation).__name__ == "TypeAliasType":  # it may contain itself
            if annotation not in self.aliases:
                value = annotation.__value__
                self.aliases[annotation] = st.deferred(lambda: self.of(value))
            return self.aliases[annotation]
        annotation, metadata = self.bare(annotation)
        found = self.plain(annotation, metadata)
        return found.filter(partial(obeys, metadata)) if metadata else found

    def plain(self, annotation: Any, metadata: list[Any]) -> Strategy:
        arguments = get_args(annotation)
        origin = get_origin(annotation) or annotation
        if hasattr(annotation, "__state__"):
            if annotation in types._global_type_lookup:
                return st.from_type(annotation)  # the user's own
            return st.deferred(lambda: instances(annotation, min(self.depth + 1, DEEP)))
        if origin in (Union, UnionType):
            if self.depth >= DEEP:
                lowest = min(map(self.height, arguments))
                arguments = tuple(part for part in arguments if self.height(part) == lowest)
            return st.one_of([self.of(part) for part in arguments])
        if origin is Literal:
            return st.sampled_from(arguments)
        if origin in (Any, object) or getattr(origin, "__name__", "") == "JsonValue":
            return JSON
        if is_typeddict(origin):
            hints = get_type_hints(origin, include_extras=True)
            keys = {key: self.of(hint) for key, hint in hints.items()}
            needed = {key: keys.pop(key) for key in origin.__required_keys__}
            return st.fixed_dictionaries(needed, optional=keys)
        if origin is tuple and arguments and ... not in arguments:
            return st.tuples(*map(self.of, arguments))
        if origin in ARRAYS:
            item = arguments[0] if arguments else Any
            return st.lists(self.of(item), **self.sizes(item, metadata)).map(ARRAYS[origin])
        if getattr(origin, "__name__", "") in OBJECTS:
            key, value = arguments or (str, Any)
            return st.dictionaries(self.of(key), self.of(value), **self.sizes(value, metadata))
        return leaf(origin, annotation, metadata)

    def sizes(self, item: Any, metadata: list[Any]) -> dict[str, Any]:
        sizes = limits(metadata, "min_length", "max_length", "min_size", "max_size")
        least = sizes.get("min_size", 0)
        if self.holds_state(item):
            # On each level fewer items, or a tree has no end.
            sizes["max_size"] = min(sizes.get("max_size", ENDLESS), least + (self.depth < DEEP) * 2)
        return sizes


def limits(metadata: list[Any], low: str, high: str, least: str, most: str) -> dict[str, Any]:
    """The narrowest bounds of this name in the metadata, as arguments of a strategy."""
    lows = [b for item in metadata if (b := getattr(item, low, None)) is not None]
    highs = [b for item in metadata if (b := getattr(item, high, None)) is not None]
    return ({least: max(lows)} if lows else {}) | ({most: min(highs)} if highs else {})


def floored(microseconds: int, value: Any) -> Any:
    """A datetime or timedelta that a JSON number says exactly, whatever the year."""
    rest = value.microsecond if isinstance(value, datetime) else value.microseconds
    return value - timedelta(microseconds=rest % microseconds)


def leaf(cls: Any, annotation: Any, metadata: list[Any]) -> Strategy:
    """Make the strategy of values that hold no others."""
    # A bound itself may be refused, and is thrown away then.
    opened = limits(metadata, "gt", "lt", "min_value", "max_value")
    bounds = opened | limits(metadata, "ge", "le", "min_value", "max_value")
    sizes = limits(metadata, "min_length", "max_length", "min_size", "max_size")
    units = [item.unit for item in metadata if type(item).__name__ == "Epoch"]
    aware = units or any(getattr(item, "tz", None) for item in metadata)
    local = any(getattr(item, "tz", ...) is None for item in metadata)
    zones: Strategy = st.just(UTC) if aware else st.none() if local else st.none() | st.just(UTC)
    floats: dict[str, Any] = {name: float(b) for name, b in bounds.items() if cls is float}
    naive = {name: bound.replace(tzinfo=None) for name, bound in bounds.items() if cls is datetime}
    steps = [item.multiple_of for item in metadata if getattr(item, "multiple_of", None)]
    if steps and cls is int:
        step = steps[0]
        low, high = bounds.get("min_value"), bounds.get("max_value")
        return st.integers(
            None if low is None else -(-low // step), None if high is None else high // step
        ).map(lambda number: number * step)
    strategies: dict[Any, Callable[[], Strategy]] = {
        int: lambda: st.integers(**bounds),
        float: lambda: st.floats(**floats, **FINITE),
        Decimal: lambda: st.decimals(**bounds, **FINITE),
        str: lambda: st.text(**sizes),
        bytes: lambda: st.binary(**sizes),
        datetime: lambda: st.datetimes(**naive, timezones=zones),
        date: lambda: st.dates(**bounds),
        timedelta: lambda: st.timedeltas(**bounds),
    }
    if cls in strategies:
        found = strategies[cls]()
        return found.map(partial(floored, WHOLE[units[0]])) if units else found
    if isinstance(cls, type) and issubclass(cls, PurePath):
        return PATHS.map(cls)
    return st.from_type(type(None) if annotation is None else annotation)

"""Epoch: times and durations that are numbers in JSON. And their kind."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from haiway_bus._state.kinds.constraints import Unsupported
from haiway_bus._state.kinds.durations import in_microseconds
from haiway_bus._state.kinds.kind import Instance, Kind, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import Mismatch, describe, mismatch
from haiway_bus._state.kinds.scalars import SCALARS, finite

__all__ = ("Epoch", "with_epoch")

UNITS = {
    "s": ("seconds", 1, 1_000_000),
    "ms": ("milliseconds", 1, 1_000),
    "us": ("microseconds", 1, 1),
    "ns": ("nanoseconds", 1_000, 1),
}
"""By unit: its name, and what to multiply microseconds with and to divide them by."""


class Epoch:
    """Marks a datetime or a timedelta that is a number in JSON: `Annotated[datetime, Epoch("ms")]`.

    The number counts from the beginning of 1970, in UTC; for a timedelta, it is the length. An
    instance holds a datetime in UTC: one of another time zone is converted, one without is refused.
    With "s" and "ms" a time between two units is a float, exact to the microsecond. With "us" and
    "ns" all numbers are integers. Python has no nanoseconds: reading cuts them off.

    Args:
        unit: "s", "ms", "us" or "ns".

    Raises:
        TypeError: the unit is none of these.
    """

    __slots__ = ("unit",)

    def __init__(self, unit: str) -> None:
        if unit not in UNITS:
            raise TypeError(f"Epoch() takes the unit {', '.join(map(repr, UNITS))}, given {unit!r}")
        self.unit: str = unit

    def __repr__(self) -> str:
        return f"Epoch({self.unit!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epoch) and other.unit == self.unit

    def __hash__(self) -> int:
        return hash((Epoch, self.unit))


class EpochKind(Instance):
    """A datetime or a timedelta that is a number in JSON. All arithmetic is in integers.

    start: the value that is 0 in JSON.
    zone: UTC for a datetime, None for a timedelta.
    """

    __slots__ = ("divisor", "factor", "numbers", "start", "zone")

    immutable = True
    reads = frozenset({int, float})
    kept = property(lambda self: (self.owner,))

    def __init__(self, owner: type[Any], unit: str) -> None:
        super().__init__(owner)
        name, self.factor, self.divisor = UNITS[unit]
        datetime = sys.modules["datetime"]
        self.numbers: str = f"{name} as a number"
        self.start: Any = datetime.timedelta()
        self.zone: Any = None
        if owner is datetime.datetime:
            self.exact, self.exact_set = (), frozenset()
            self.numbers = f"{name} since 1970 as a number"
            self.zone = datetime.timezone.utc
            self.start = owner(1970, 1, 1, tzinfo=self.zone)

    def check(self, value: Any) -> Any:
        value = super().check(value)
        if self.zone is None or value.tzinfo is self.zone:
            return value
        if value.utcoffset() is None:
            raise mismatch("datetime with a time zone", value)
        try:
            return value.astimezone(self.zone)
        except OverflowError:
            raise mismatch("datetime that UTC has, too", value) from None

    def dump(self, value: Any) -> Plain:
        microseconds = in_microseconds(value - self.start)
        whole, rest = divmod(microseconds * self.factor, self.divisor)
        if not rest:
            return whole
        number = microseconds / self.divisor
        if self.microseconds(number) != microseconds:
            reason = f"no float is exactly {describe(value)}: write Epoch('us')"
            raise Mismatch([("", reason)])
        return finite(number)

    def load(self, plain: Plain) -> Any:
        if isinstance(plain, self.owner):
            return self.check(plain)
        try:
            if type(plain) is int or type(plain) is float:
                span = sys.modules["datetime"].timedelta(microseconds=self.microseconds(plain))
                return self.start + span
        except (OverflowError, ValueError):  # too large, NaN, or a fraction where there is none
            pass
        raise mismatch(self.numbers, plain)

    def dump_key(self, value: Any) -> str:
        if self.divisor == 1:
            return SCALARS[int].dump_key(self.dump(value))
        return super().dump_key(value)  # refuses it: some of these numbers are floats

    def load_key(self, plain: str) -> Any:
        return self.load(SCALARS[int].load_key(plain))

    def microseconds(self, number: float) -> int:
        """Give the microseconds of a number in JSON."""
        count, parts = number.as_integer_ratio()
        if self.divisor > 1:
            return (2 * count * self.divisor + parts) // (2 * parts)  # the nearest
        if parts > 1:
            raise ValueError(f"{number} is no integer")
        return count // self.factor

    def schema(self, book: SchemaBook) -> Schema:
        edges = (self.owner.min, self.owner.max)
        if self.zone is not None:
            edges = tuple(edge.replace(tzinfo=self.zone) for edge in edges)
        least, most = (in_microseconds(edge - self.start) * self.factor for edge in edges)
        return {
            "type": "integer" if self.divisor == 1 else "number",
            "minimum": least // self.divisor,
            "exclusiveMaximum": (most + self.factor) // self.divisor,
        }


def with_epoch(inner: Kind, metadata: Iterable[Any]) -> Kind:
    """Give the kind that an Epoch in the metadata makes of a kind, or the kind itself. Raises Unsupported."""
    units = [item.unit for item in metadata if isinstance(item, Epoch)]
    if not units:
        return inner
    owner: Any = getattr(inner, "owner", None)
    datetime = sys.modules.get("datetime")
    if datetime is None or owner not in (datetime.datetime, datetime.timedelta):
        raise Unsupported(f"Epoch marks a datetime or a timedelta itself, not {inner.expected}")
    return EpochKind(owner, units[-1])

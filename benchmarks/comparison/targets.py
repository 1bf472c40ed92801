"""The targets: each a ratio of two cells of one run, or a number that the machine does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from comparison.rounds import Results

__all__ = ("TARGETS", "Finding", "Target", "check")

OURS = "haiway_bus"
PURE = "haiway_bus pure"


class Target(NamedTuple):
    """One promise: what it says, the cells that it needs, and the number that is held against the limit."""

    statement: str
    cells: tuple[str, ...]
    limit: float
    at_least: bool
    value: Callable[[Results], float | None]


class Finding(NamedTuple):
    target: Target
    value: float | None  # None: a cell it needs was not measured

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        met = (
            self.value >= self.target.limit
            if self.target.at_least
            else self.value <= self.target.limit
        )
        return "hit" if met else "MISS"


def at_most(statement: str, name: str, baseline: str, limit: float) -> Target:
    return Target(
        statement, (name, baseline), limit, False, lambda results: results.ratio(name, baseline)
    )


def faster(statement: str, name: str, baseline: str, limit: float) -> Target:
    """The baseline takes at least `limit` times as long."""
    return Target(
        statement, (name, baseline), limit, True, lambda results: results.ratio(baseline, name)
    )


def number(statement: str, name: str, limit: float, scale: float = 1.0) -> Target:
    def value(results: Results) -> float | None:
        found = results.value(name)
        return None if found is None else found / scale

    return Target(statement, (name,), limit, False, value)


def bus_targets() -> Iterator[Target]:
    burst = f"burst/{OURS}/100"
    yield at_most(
        "a send that nobody hears: at most 1.3 times a call of an empty function",
        f"send/{OURS}/0",
        "send/empty call/0",
        1.3,
    )
    for fan_out, limit in ((100, 4.5), (1, 2.5)):
        yield faster(
            f"burst of 100 to {fan_out}: at least {limit} times faster than asyncio.Queue",
            f"burst/{OURS}/{fan_out}",
            f"burst/asyncio.Queue/{fan_out}",
            limit,
        )
    yield faster(
        "one event at a time to 100: at least 2.2 times faster than bare asyncio.Future",
        f"single/{OURS}/100",
        "single/asyncio.Future/100",
        2.2,
    )
    for library in ("blinker", "pyee", "psygnal"):
        yield faster(
            f"burst of 100 to 100: ahead of {library} with empty callbacks",
            burst,
            f"burst/{library}/100",
            1.0,
        )
    yield at_most(
        "`batches()` on a backlog: at most a fifth of `async for`",
        f"drain batches/{OURS}/1",
        f"drain/{OURS}/1",
        0.2,
    )
    for fan_out in (1, 100):
        yield number(
            f"memory: bytes for a waiting event with {fan_out} subscribers",
            f"memory/{OURS}/{fan_out}",
            64,
        )
    for scenario, few, many, what in (
        ("types", 10, 10_000, "a delivery at 10,000 types"),
        ("idle types", 10, 10_000, "a delivery beside 10,000 idle types"),
        ("subscribers", 100, 10_000, "a delivery at 10,000 subscribers"),
        ("subscriptions", 100, 100_000, "subscribe and close at 100,000 live subscriptions"),
    ):
        yield at_most(
            f"scale: {what}, within 1.25 times the small case",
            f"{scenario}/{OURS}/{many}",
            f"{scenario}/{OURS}/{few}",
            1.25,
        )
    yield at_most(
        "a full subscription beside 100 fast ones: they are not slowed (1.1)",
        f"beside stuck/{OURS}/100",
        burst,
        1.1,
    )
    for fan_out in (1, 10, 100):
        yield at_most(
            f"pure backend, burst of 100 to {fan_out}: no slower than asyncio.Queue",
            f"burst/{PURE}/{fan_out}",
            f"burst/asyncio.Queue/{fan_out}",
            1.0,
        )


def state_targets() -> Iterator[Target]:
    made = f"construct/{OURS}/3"
    yield at_most(
        "making a State: at most 0.2 times a frozen dataclass", made, "construct/dataclass/3", 0.2
    )
    yield at_most(
        "making a State: at most 1.3 times a msgspec.Struct", made, "construct/msgspec/3", 1.3
    )
    yield at_most(
        "making a State, pure: no slower than a frozen dataclass",
        f"construct/{PURE}/3",
        "construct/dataclass/3",
        1.0,
    )
    yield at_most("`updated()`: at most 1.5 times a construction", f"updated/{OURS}/3", made, 1.5)
    for name in ("equal", "hash", "repr"):
        yield at_most(
            f"{name} of a State: no slower than a frozen dataclass (5 % for noise)",
            f"{name}/{OURS}/3",
            f"{name}/dataclass/3",
            1.05,
        )
    yield at_most(
        "make, send, receive: at most 0.3 times asyncio.Queue and a frozen dataclass",
        f"make, send, receive/{OURS}/1",
        "make, send, receive/asyncio.Queue and dataclass/1",
        0.3,
    )
    yield number("defining a State of ten fields: µs", f"define/{OURS}/10", 1000, scale=1e3)
    yield at_most(
        "import: at most 1.5 times `import asyncio`", f"import/{OURS}/1", "import/asyncio/1", 1.5
    )


TARGETS = [*bus_targets(), *state_targets()]


def check(results: Results) -> list[Finding]:
    return [Finding(target, target.value(results)) for target in TARGETS]

"""The targets: each a ratio of two cells of one run, or a number that the machine does not change."""

from __future__ import annotations

from collections.abc import Callable
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


TARGETS = [
    at_most(
        "send without a subscriber: at most 1.3 times a call of an empty function",
        f"send/{OURS}/0",
        "send/empty call/0",
        1.3,
    ),
    *(
        faster(
            f"burst of 100 to {fan_out}: at least {limit} times faster than asyncio.Queue",
            f"burst/{OURS}/{fan_out}",
            f"burst/asyncio.Queue/{fan_out}",
            limit,
        )
        for fan_out, limit in ((100, 4.5), (1, 2.5))
    ),
    faster(
        "one event at a time to 100: at least 2.2 times faster than bare asyncio.Future",
        f"single/{OURS}/100",
        "single/asyncio.Future/100",
        2.2,
    ),
    *(
        faster(
            f"burst of 100 to 100: ahead of an empty callback called by {library}",
            f"burst/{OURS}/100",
            f"burst/{library}/100",
            1.0,
        )
        for library in ("blinker", "pyee", "psygnal")
    ),
    at_most(
        "batches() on a backlog: at most a fifth of `async for`",
        f"drain batches/{OURS}/1",
        f"drain/{OURS}/1",
        0.2,
    ),
    *(
        at_most(
            f"pure backend, burst of 100 to {fan_out}: no slower than asyncio.Queue",
            f"burst/{PURE}/{fan_out}",
            f"burst/asyncio.Queue/{fan_out}",
            1.0,
        )
        for fan_out in (1, 10, 100)
    ),
]


def check(results: Results) -> list[Finding]:
    return [Finding(target, target.value(results)) for target in TARGETS]

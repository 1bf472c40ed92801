"""The cells of the comparison: which contender is measured in which scenario at which fan-out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from comparison.callbacks import CALLBACKS
from comparison.delivery import (
    burst,
    burst_to_callbacks,
    drain,
    drain_batches,
    send_unheard,
    single,
)
from comparison.handlers import HANDLERS, burst_to_handlers, single_to_handlers
from comparison.memory import backlog
from comparison.overflow import beside_stuck
from comparison.records import RECORDS
from comparison.scale import idle_types, subscribers, subscriptions, types
from comparison.states import STATEMENTS, define, importing, make_send_receive, statement
from comparison.timing import Sample

__all__ = ("CELLS", "Cell")

BUS = ("haiway_bus", "haiway_bus pure")
FAN_OUTS = (1, 10, 100)


class Cell(NamedTuple):
    """One contender in one scenario at one size, measured in a process of its own."""

    scenario: str
    contender: str
    size: int
    run: Callable[[str, int, float], Awaitable[Sample]]

    @property
    def name(self) -> str:
        return f"{self.scenario}/{self.contender}/{self.size}"

    @property
    def pure(self) -> bool:
        return self.contender.endswith(" pure")

    @property
    def of_bus(self) -> bool:
        return self.contender in BUS

    @property
    def environment(self) -> Mapping[str, str]:
        return {}


def cells() -> Iterator[Cell]:
    # What is compared stands side by side, so that the machine's drift has least time between the two.
    for contender in ("empty call", *BUS, "asyncio.Queue", "haiway", *CALLBACKS):
        yield Cell("send", contender, 0, send_unheard)
    for fan_out in FAN_OUTS:
        for contender in (*BUS, "asyncio.Queue", "anyio", "haiway"):
            yield Cell("burst", contender, fan_out, burst)
        for contender in CALLBACKS:
            yield Cell("burst", contender, fan_out, burst_to_callbacks)
        for contender in HANDLERS:
            yield Cell("burst", contender, fan_out, burst_to_handlers)
        for contender in (*BUS, "asyncio.Future", "asyncio.Queue", "anyio", "haiway"):
            yield Cell("single", contender, fan_out, single)
        for contender in HANDLERS:
            yield Cell("single", contender, fan_out, single_to_handlers)
    for contender in BUS:
        yield Cell("drain", contender, 1, drain)
        yield Cell("drain batches", contender, 1, drain_batches)
    for contender in ("asyncio.Queue", "anyio", "haiway"):
        yield Cell("drain", contender, 1, drain)
    for fan_out in (1, 100):
        for contender in (*BUS, "asyncio.Queue"):
            yield Cell("memory", contender, fan_out, backlog)
    for number in (10, 10_000):
        yield Cell("types", "haiway_bus", number, types)
    for number in (10, 10_000):
        yield Cell("idle types", "haiway_bus", number, idle_types)
    for contender in ("haiway_bus", "asyncio.Queue"):
        for number in (100, 10_000):
            yield Cell("subscribers", contender, number, subscribers)
    for contender in BUS:
        for number in (100, 100_000):
            yield Cell("subscriptions", contender, number, subscriptions)
        yield Cell("beside stuck", contender, 100, beside_stuck)
    for name in STATEMENTS:
        for contender in RECORDS:
            yield Cell(name, contender, 3, partial(statement, name=name))
    for contender in RECORDS:
        yield Cell("define", contender, 10, define)
    for contender in ("asyncio.Queue and dataclass", *BUS):
        yield Cell("make, send, receive", contender, 1, make_send_receive)
    for contender in ("asyncio", *BUS):
        yield Cell("import", contender, 1, importing)


CELLS = {cell.name: cell for cell in cells()}

"""The cells of the comparison: which contender is measured in which scenario at which fan-out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
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


CELLS = {cell.name: cell for cell in cells()}

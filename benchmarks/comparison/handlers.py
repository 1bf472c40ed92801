"""The contenders that run async handlers on an event bus of their own: a hundred times slower, so few events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from comparison.events import OutOfOrder, cycle
from comparison.streams import need
from comparison.timing import Sample, measure

__all__ = ("HANDLERS", "burst_to_handlers", "single_to_handlers")

HANDLERS = ("abxbus", "bubus")
FEWEST_REPEATS = 3


def burst_size(fan_out: int) -> int:
    # At fan-out 100 an event costs these buses 30 to 150 ms.
    return 10 if fan_out < 100 else 3


def make_handler(place: int, counts: list[int]) -> Callable[[Any], Awaitable[None]]:
    expected = 0

    async def handler(event: Any) -> None:
        nonlocal expected
        if event.number != expected:
            raise OutOfOrder(expected, event.number)
        expected = event.following
        counts[place] += 1

    # Both buses ask for a name of its own for each handler.
    handler.__name__ = handler.__qualname__ = f"handler_{place}"
    return handler


async def time_bus(contender: str, fan_out: int, seconds: float, *, at_once: bool) -> Sample:
    module = need(contender)
    logging.getLogger(contender).setLevel(logging.CRITICAL)

    class HandledEvent(module.BaseEvent):  # type: ignore[misc, name-defined]
        number: int
        following: int

    size = burst_size(fan_out)
    # A history would keep every event of the run.
    bus = module.EventBus(name="benchmark", max_history_size=0 if contender == "abxbus" else size)
    emit = bus.emit if hasattr(bus, "emit") else bus.dispatch
    counts = [0] * fan_out
    for place in range(fan_out):
        bus.on(HandledEvent, make_handler(place, counts))
    sent = 0

    async def run(loops: int) -> float:
        nonlocal sent
        took = 0.0
        for _ in range(loops):
            # By the wall clock, as these buses may wait for timers of their own.
            # An event can be emitted once. Making it is not what is compared.
            events = cycle(HandledEvent, size)
            begin = perf_counter()
            if at_once:
                for event in events:
                    emit(event)
                await bus.wait_until_idle()
            else:
                for event in events:
                    await emit(event)
            took += perf_counter() - begin
            sent += size
        return took

    try:
        sample = await measure(run, size * fan_out, seconds, fewest=FEWEST_REPEATS)
        if counts != [sent] * fan_out:
            raise AssertionError(f"every handler is run for every event: {counts} of {sent}")
    finally:
        stop = bus.destroy if hasattr(bus, "destroy") else bus.stop
        await stop(clear=True)
    return sample


async def burst_to_handlers(contender: str, fan_out: int, seconds: float) -> Sample:
    """Emit a few events at once, wait until they are handled: per handler run."""
    return await time_bus(contender, fan_out, seconds, at_once=True)


async def single_to_handlers(contender: str, fan_out: int, seconds: float) -> Sample:
    """Emit an event, wait until it is handled, emit the next: per handler run."""
    return await time_bus(contender, fan_out, seconds, at_once=False)

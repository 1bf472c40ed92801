"""A bounded subscription that nobody reads, beside a hundred that are read."""

from __future__ import annotations

from comparison.delivery import deliver
from comparison.events import Event, cycle
from comparison.streams import STREAMS, haiway_bus_module
from comparison.timing import Sample

__all__ = ("beside_stuck",)

BURST = 100
LIMIT = 10


async def beside_stuck(contender: str, fan_out: int, seconds: float) -> Sample:
    """The burst, with one subscription more that is full and stays so: per delivery to the readers."""
    async with STREAMS[contender].open(fan_out, Event) as topic:
        stuck = haiway_bus_module().ctx.subscribe(Event, limit=LIMIT)
        sample = await deliver(topic, cycle(Event, BURST), seconds)
        if stuck.pending != LIMIT or not stuck.dropped:
            raise AssertionError(
                f"a full subscription holds {LIMIT} events and counts the dropped: {stuck!r}"
            )
        return sample

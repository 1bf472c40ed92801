"""Whether a delivery, a subscribe and a close cost the same however much there is of everything else."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any

from comparison.delivery import deliver
from comparison.events import Event, cycle
from comparison.readers import check_counts, read_stream, start, stop
from comparison.streams import STREAMS, haiway_bus_module
from comparison.timing import Sample, clock, measure

__all__ = ("idle_types", "subscribers", "subscriptions", "types")

BURST = 100


def event_types(number: int) -> list[type[Event]]:
    return [type(f"Event{place}", (Event,), {"__slots__": ()}) for place in range(number)]


async def types(contender: str, number: int, seconds: float) -> Sample:
    """Bursts of 100, each to the one reader of another type, all types in turn: per delivery."""
    ctx = haiway_bus_module().ctx
    send = ctx.send
    sleep = asyncio.sleep
    async with ctx.scope("benchmark", turn=math.inf):
        tasks = []
        bursts = []
        for event_type in event_types(number):
            tasks += await start([read_stream(ctx.subscribe(event_type))])
            # Four events of each type, so that what is measured is the bus and not a table of a million payloads.
            bursts.append(cycle(event_type, 4) * (BURST // 4))
        passes = 0

        async def run(loops: int) -> float:
            nonlocal passes
            begin = clock()
            for _ in range(loops):
                for burst in bursts:
                    for event in burst:
                        send(event)
                    await sleep(0)
            passes += loops
            return clock() - begin

        sample = await measure(run, BURST * number, seconds, fewest=3)
        check_counts(tasks, passes * BURST)
        await stop(tasks)
        return sample


async def idle_types(contender: str, number: int, seconds: float) -> Sample:
    """Bursts of 100 to the one reader of one type, while the others have a waiting reader each: per delivery."""
    ctx = haiway_bus_module().ctx
    async with ctx.scope("benchmark", turn=math.inf):
        idle = []
        for event_type in event_types(number - 1):
            idle += await start([read_stream(ctx.subscribe(event_type))])
        async with STREAMS[contender].open(1, Event) as topic:
            sample = await deliver(topic, cycle(Event, BURST), seconds)
        check_counts(idle, 0)
        await stop(idle)
        return sample


async def subscribers(contender: str, number: int, seconds: float) -> Sample:
    """Bursts of 100 to this many readers of one type: per delivery."""
    async with STREAMS[contender].open(number, Event) as topic:
        return await deliver(topic, cycle(Event, BURST), seconds)


async def subscriptions(contender: str, number: int, seconds: float) -> Sample:
    """Subscribe, and close the oldest of this many live subscriptions of the type: per pair of calls."""
    ctx = haiway_bus_module().ctx
    subscribe = ctx.subscribe
    async with ctx.scope("benchmark", turn=math.inf):
        live: deque[Any] = deque(subscribe(Event) for _ in range(number))

        async def run(loops: int) -> float:
            add, oldest = live.append, live.popleft
            begin = clock()
            for _ in range(loops):
                add(subscribe(Event))
                oldest().close()
            return clock() - begin

        sample = await measure(run, 1, seconds)
        ctx.send(Event(number=0, following=0))
        if [subscription.pending for subscription in live] != [1] * number:
            raise AssertionError(f"each of the {number} live subscriptions has the event waiting")
        return sample

"""The parts: many producers that each send one event and wait for it to be handled, by one worker and by 100."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from comparison.events import Event, cycle

WORKERS = 100
# Each call of a benchmark is so many producers, in rounds of as many as there are at a time: the times of a group
# compare, and divided by this they are times per producer.
PRODUCERS = 4_000


@pytest.mark.parametrize("at_a_time", [40, PRODUCERS])
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_flush(benchmark: Any, stage: Any, hb: Any, workers: int, at_a_time: int) -> None:
    benchmark.group = f"{PRODUCERS:,} producers that flush, {workers} workers"
    ctx = hb.ctx
    stage.enter(ctx.scope("benchmark"))
    events = cycle(Event, at_a_time)
    handled = 0

    async def handle(event: Any) -> None:
        nonlocal handled
        await asyncio.sleep(0)
        handled += 1

    async def produce(event: Any) -> None:
        ctx.send(event)
        await ctx.flush(Event)

    async def subscribe() -> Any:
        return ctx.on(Event, handle, workers=workers)

    async def produce_all() -> None:
        for _ in range(PRODUCERS // at_a_time):
            await asyncio.gather(*map(produce, events))

    subscription = stage.run(subscribe())
    benchmark.pedantic(lambda: stage.run(produce_all()), rounds=5, warmup_rounds=1)
    assert handled % PRODUCERS == 0
    assert handled
    assert subscription.pending == 0
    subscription.close()

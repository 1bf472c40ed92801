"""The parts: subscribing and closing, and letting go of a backlog that nobody read."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from comparison.events import Event, cycle

BACKLOG = 100_000


@pytest.mark.parametrize("live", [1, 10_000])
def test_subscribe_and_close(benchmark: Any, stage: Any, hb: Any, live: int) -> None:
    benchmark.group = f"subscribe, and close the oldest of {live:,}"
    ctx = hb.ctx
    stage.enter(ctx.scope("benchmark"))

    async def subscribe() -> Any:
        return deque(ctx.subscribe(Event) for _ in range(live))

    subscriptions = stage.run(subscribe())

    async def replace() -> None:
        for _ in range(1_000):
            subscriptions.append(ctx.subscribe(Event))
            subscriptions.popleft().close()

    benchmark(lambda: stage.run(replace()))
    assert len(subscriptions) == live
    for subscription in subscriptions:
        subscription.close()


@pytest.mark.parametrize("contender", ["compiled", "pure", "asyncio.Queue"])
def test_release(benchmark: Any, stage: Any, backends: Any, contender: str) -> None:
    """Dropping the last reference to what holds the backlog, as a reader that fails does."""
    benchmark.group = f"let go of a backlog of {BACKLOG:,} events"
    events = cycle(Event, BACKLOG)
    holders: list[Any] = []
    ctx = None
    if contender != "asyncio.Queue":
        ctx = backends[contender].ctx
        stage.enter(ctx.scope("benchmark"))

    async def fill() -> None:
        if ctx is None:
            queue: asyncio.Queue[Any] = asyncio.Queue()
            for event in events:
                queue.put_nowait(event)
            holders.append(queue)
            return
        holders.append(ctx.subscribe(Event))
        for event in events:
            ctx.send(event)
        assert holders[0].pending == BACKLOG

    benchmark.pedantic(holders.clear, setup=lambda: stage.run(fill()), rounds=10, warmup_rounds=1)
    assert not holders

"""The parts: how readers are woken, and how they drain what waits, with 1, 10 and 100 subscriptions."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from comparison.events import Event, cycle
from comparison.readers import check_counts, start, stop, turns_needed

# Deliveries in one call of a benchmark: enough to make the call's own cost small.
DELIVERIES = 20_000
BURST = 100


def benchmark_bursts(
    benchmark: Any, stage: Any, contender: str, fan_out: int, size: int, bursts: int
) -> None:
    topic = stage.open(contender, fan_out)
    events = cycle(Event, size)
    tasks = stage.run(start(topic.readers))
    turns = stage.run(turns_needed(topic.send, events, tasks))
    sent = size

    async def deliver() -> None:
        nonlocal sent
        send, sleep = topic.send, asyncio.sleep
        for _ in range(bursts):
            for event in events:
                send(event)
            for _ in range(turns):
                await sleep(0)
        sent += bursts * size

    benchmark(lambda: stage.run(deliver()))
    check_counts(tasks, sent)
    stage.run(stop(tasks))


@pytest.mark.parametrize("fan_out", [1, 10, 100])
@pytest.mark.parametrize("contender", ["compiled", "pure", "asyncio.Queue"])
def test_burst(benchmark: Any, stage: Any, contender: str, fan_out: int) -> None:
    benchmark.group = f"20,000 deliveries, bursts of 100 to {fan_out}"
    benchmark_bursts(benchmark, stage, contender, fan_out, BURST, DELIVERIES // BURST // fan_out)


@pytest.mark.parametrize("fan_out", [1, 10, 100])
@pytest.mark.parametrize("contender", ["compiled", "pure", "asyncio.Queue", "asyncio.Future"])
def test_wake(benchmark: Any, stage: Any, contender: str, fan_out: int) -> None:
    benchmark.group = f"2,000 deliveries, one event at a time to {fan_out}"
    benchmark_bursts(benchmark, stage, contender, fan_out, 1, DELIVERIES // 10 // fan_out)


@pytest.mark.parametrize("fan_out", [1, 10, 100])
@pytest.mark.parametrize("contender", ["compiled", "pure", "asyncio.Queue"])
def test_drain(benchmark: Any, stage: Any, contender: str, fan_out: int) -> None:
    """The sends are left out: they are done in the set-up of each round."""
    benchmark.group = f"20,000 deliveries from a backlog, {fan_out} readers"
    topic = stage.open(contender, fan_out)
    events = cycle(Event, DELIVERIES // fan_out)
    tasks = stage.run(start(topic.readers))
    turns = stage.run(turns_needed(topic.send, events, tasks))
    sent = len(events)

    async def drain() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    def send_all() -> None:
        nonlocal sent
        for event in events:
            topic.send(event)
        sent += len(events)

    # Outside the loop: the readers that this wakes run in the timed part.
    benchmark.pedantic(lambda: stage.run(drain()), setup=stage.in_context(send_all), rounds=20)
    check_counts(tasks, sent)
    stage.run(stop(tasks))


@pytest.mark.parametrize("call", ["async for", "batches", "receive_nowait"])
def test_drain_calls(benchmark: Any, stage: Any, hb: Any, call: str) -> None:
    """The ways of reading a backlog, on one backend after the other."""
    benchmark.group = f"20,000 events from a backlog, {hb.backend}"
    ctx = hb.ctx
    stage.enter(ctx.scope("benchmark", turn=math.inf))
    events = cycle(Event, DELIVERIES)

    async def subscribe() -> Any:
        return ctx.subscribe(Event)

    subscription = stage.run(subscribe())
    fill = stage.in_context(lambda: [ctx.send(event) for event in events] and None)

    async def read() -> None:
        count = 0
        if call == "async for":
            async for event in subscription:
                assert event is events[count]
                count += 1
                if count == DELIVERIES:
                    break
        elif call == "batches":
            async for batch in subscription.batches():
                assert batch == events[count : count + len(batch)]
                count += len(batch)
                if count == DELIVERIES:
                    break
        else:
            receive_nowait = subscription.receive_nowait
            while count < DELIVERIES:
                assert receive_nowait() is events[count]
                count += 1

    benchmark.pedantic(lambda: stage.run(read()), setup=fill, rounds=20, warmup_rounds=1)
    assert subscription.pending == 0

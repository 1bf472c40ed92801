"""The scenarios of delivery: a send nobody hears, a burst, one event at a time, the drain of a backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from comparison.callbacks import CALLBACKS, counting_callbacks, empty_callbacks
from comparison.events import Event, cycle
from comparison.readers import check_counts, start, stop, turns_needed
from comparison.streams import STREAMS, Topic, haiway_bus_batches
from comparison.timing import FEWEST_REPEATS, Sample, clock, measure

__all__ = ("burst", "burst_to_callbacks", "drain", "drain_batches", "send_unheard", "single")

BURST = 100
BACKLOG = 50_000
MANY = 1_000


def empty(event: Any) -> None:
    """What the send without a subscriber is measured by."""


async def time_sends(send: Callable[[Any], object], event: Any, seconds: float) -> Sample:
    async def run(loops: int) -> float:
        # Ten calls a round, so that what is timed is the call and not the loop around it.
        call, sent = send, event
        begin = clock()
        for _ in range(loops):
            call(sent)
            call(sent)
            call(sent)
            call(sent)
            call(sent)
            call(sent)
            call(sent)
            call(sent)
            call(sent)
            call(sent)
        return clock() - begin

    return await measure(run, 10, seconds)


async def send_unheard(contender: str, fan_out: int, seconds: float) -> Sample:
    """Send events that have no subscriber: per send."""
    if contender == "empty call":
        return await time_sends(empty, Event(number=0, following=0), seconds)
    if contender in CALLBACKS:
        return await time_sends(CALLBACKS[contender]([]), Event(number=0, following=0), seconds)
    stream = STREAMS[contender]
    event_type = stream.event_type()
    async with stream.open(0, event_type) as topic:
        return await time_sends(topic.send, event_type(number=0, following=0), seconds)


async def deliver(
    topic: Topic, events: Sequence[Any], seconds: float, *, sends_timed: bool = True
) -> Sample:
    """Send the events and give every reader the turns of the loop that it needs for them: per delivery."""
    send = topic.send
    sleep = asyncio.sleep
    tasks = await start(topic.readers)
    turns = await turns_needed(send, events, tasks)
    sent = len(events)

    async def run(loops: int) -> float:
        nonlocal sent
        left_out = 0.0
        begin = clock()
        for _ in range(loops):
            if not sends_timed:
                sending = clock()
            for event in events:
                send(event)
            if not sends_timed:
                left_out += clock() - sending
            for _ in range(turns):
                await sleep(0)
        took = clock() - begin - left_out
        sent += loops * len(events)
        return took

    fewest = FEWEST_REPEATS if len(tasks) < MANY else 3  # a repeat to many is long enough
    sample = await measure(run, len(events) * len(tasks), seconds, fewest=fewest)
    check_counts(tasks, sent)
    await stop(tasks)
    return sample


async def burst(contender: str, fan_out: int, seconds: float) -> Sample:
    """Send 100 events at once to readers that wait: per delivery, sends included."""
    stream = STREAMS[contender]
    event_type = stream.event_type()
    async with stream.open(fan_out, event_type) as topic:
        return await deliver(topic, cycle(event_type, BURST), seconds)


async def single(contender: str, fan_out: int, seconds: float) -> Sample:
    """Send one event, let every reader have it and wait again, send the next: per delivery."""
    stream = STREAMS[contender]
    event_type = stream.event_type()
    async with stream.open(fan_out, event_type) as topic:
        send = topic.send
        events = cycle(event_type, BURST)
        sleep = asyncio.sleep
        tasks = await start(topic.readers)
        turns = [await turns_needed(send, [event], tasks) for event in events]
        if max(turns) != 1:
            raise AssertionError(f"one turn of the loop wakes every reader, it took {turns}")
        sent = len(events)

        async def run(loops: int) -> float:
            nonlocal sent
            begin = clock()
            for _ in range(loops):
                for event in events:
                    send(event)
                    await sleep(0)
            sent += loops * len(events)
            return clock() - begin

        sample = await measure(run, len(events) * fan_out, seconds)
        check_counts(tasks, sent)
        await stop(tasks)
        return sample


async def drain_topic(
    opened: AbstractAsyncContextManager[Topic], events: list[Any], seconds: float
) -> Sample:
    async with opened as topic:
        return await deliver(topic, events, seconds, sends_timed=False)


async def drain(contender: str, fan_out: int, seconds: float) -> Sample:
    """Read a backlog with `async for` (or `get`): per event, the sends not included."""
    stream = STREAMS[contender]
    event_type = stream.event_type()
    return await drain_topic(stream.open(fan_out, event_type), cycle(event_type, BACKLOG), seconds)


async def drain_batches(contender: str, fan_out: int, seconds: float) -> Sample:
    """Read a backlog with `batches()`: per event, the sends not included."""
    events = cycle(Event, BACKLOG)
    return await drain_topic(haiway_bus_batches(events), events, seconds)


async def burst_to_callbacks(contender: str, fan_out: int, seconds: float) -> Sample:
    """Send to callbacks that do nothing, after counts and order were checked with callbacks that do: per call."""
    connect = CALLBACKS[contender]
    events = cycle(Event, BURST)
    callbacks, counts = counting_callbacks(fan_out)
    checked_send = connect(callbacks)
    for _ in range(2):
        for event in events:
            checked_send(event)
    if counts != [2 * BURST] * fan_out:
        raise AssertionError(f"every callback is called for every event: {counts}")
    send = connect(empty_callbacks(fan_out))

    async def run(loops: int) -> float:
        begin = clock()
        for _ in range(loops):
            for event in events:
                send(event)
        return clock() - begin

    return await measure(run, BURST * fan_out, seconds)

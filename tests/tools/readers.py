"""Readers, to be stepped over, traced and measured: the same code over either source. Each returns what it took.

`breakpoint()` is where a debugger takes over; without one it is told to do nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sources import SOURCES


async def ready(source: Any) -> list[object]:
    """Events that wait already, left by `break`."""
    took: list[object] = []
    events = source.subscribe()
    source.send(1, 2, 3, 4, 5)
    breakpoint()
    async for event in events:
        number = event.number
        if number % 2:
            took.append(number)  # body
        else:
            took.append(-number)
        if number == 5:
            break
    else:
        took.append("ended")
    took.append("left")
    return took


async def one(source: Any) -> list[object]:
    """Events taken by anext(), which need not be awaited where it is called."""
    took: list[object] = []
    events = source.subscribe()
    source.send(1, 2, 3, 4)
    breakpoint()
    event = await anext(events)
    took.append(event.number)
    read = anext(events)
    event = await read
    took.append(event.number)
    while event.number < 4:
        event = await anext(events)
        took.append(event.number)  # body
    return took


async def batch(source: Any) -> list[object]:
    """Lists of events."""
    took: list[object] = []
    events = source.subscribe()
    source.send(1, 2, 3)
    breakpoint()
    async for several in source.batches(events):
        took.append([one.number for one in several])
        if len(took) == 1:
            source.send(4, 5)
        else:
            break
    return took


async def first(source: Any) -> list[object]:
    """The first event that fits."""
    took: list[object] = []
    events = source.subscribe()
    source.send(1, 2, 3)
    breakpoint()
    event = await source.first(events, lambda event: event.number == 3)
    took.append(event.number)
    return took


async def relay(events: Any) -> Any:
    async for event in events:
        yield event.number
        if event.number == 3:
            return


async def relayed(source: Any) -> list[object]:
    """What an async generator and a comprehension hand on."""
    took: list[object] = []
    events = source.subscribe()
    source.send(1, 2, 3, 4)
    breakpoint()
    took += [number async for number in relay(events)]
    event = await anext(events)
    took.append(event.number)
    return took


async def sender(source: Any, *numbers: int) -> None:
    for number in numbers:
        source.send(number)


async def parked(source: Any) -> list[object]:
    """A reader that waits, is woken, drains, and waits again."""
    took: list[object] = []
    events = source.subscribe()
    breakpoint()
    source.spawn(sender, source, 1, 2, 3)
    async for event in events:
        took.append(event.number)  # body
        if event.number == 3:
            source.spawn(sender, source, 4)
        if event.number == 4:
            break
    return took


async def handler(source: Any) -> list[object]:
    """A function that is called with each event."""
    took: list[object] = []

    async def handle(event: Any) -> None:
        if event.number == 2:
            breakpoint()
        took.append(event.number)
        if event.number == 3:
            took.append("last")

    source.on(handle)
    source.send(1, 2, 3)
    return took


async def drain(source: Any, events: Any, took: list[object]) -> None:
    breakpoint()
    async for event in events:
        took.append(event.number)  # body
    took.append("ended")


async def ended(source: Any) -> list[object]:
    """A reader whose loop ends with the scope."""
    took: list[object] = []
    source.spawn(drain, source, source.subscribe(), took)
    source.send(1, 2, 3)
    await asyncio.sleep(0)
    return took


async def leaving(source: Any) -> list[object]:
    """The end of the scope itself, in the steps of the function that opens it."""
    took: list[object] = []
    async with type(source)() as inner:
        events = inner.subscribe()
        inner.send(1)
        breakpoint()
        event = await anext(events)
        took.append(event.number)
        inner.spawn(asyncio.sleep, 0)
    took.append("closed")
    return took


READERS = {
    function.__name__: (function, expected)
    for function, expected in (
        (ready, [1, -2, 3, -4, 5, "left"]),
        (one, [1, 2, 3, 4]),
        (batch, [[1, 2, 3], [4, 5]]),
        (first, [3]),
        (relayed, [1, 2, 3, 4]),
        (parked, [1, 2, 3, 4]),
        (handler, [1, 2, 3, "last"]),
        (ended, [1, 2, 3, "ended"]),
        (leaving, [1, "closed"]),
    )
}


async def run(kind: str, name: str) -> None:
    """Run a reader in a scope and say whether it took, or its tasks did, what it should."""
    reader, expected = READERS[name]
    async with SOURCES[kind]() as source:
        took = await reader(source)
    if took != expected:
        raise SystemExit(f"{name} took {took}, not {expected}")

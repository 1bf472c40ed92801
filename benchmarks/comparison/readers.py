"""What a reader does with what it receives: it counts, and it compares with what must come next.

The count stays in a local variable named `count`, as it would in a user's loop; the driver reads it out of the frame
of the waiting task. A shared counter would cost as much as a delivery does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from comparison.events import OutOfOrder

__all__ = (
    "check_counts",
    "counts",
    "read_batches",
    "read_calls",
    "read_futures",
    "read_stream",
    "start",
    "stop",
    "turns_needed",
)

MOST_TURNS = 100_000


async def read_stream(stream: AsyncIterator[Any]) -> None:
    """Read with `async for`."""
    count = expected = 0
    async for event in stream:
        if event.number != expected:
            raise OutOfOrder(expected, event.number)
        expected = event.following
        count += 1


async def read_calls(get: Callable[[], Awaitable[Any]]) -> None:
    """Read by awaiting a call: the `get` of a queue."""
    count = expected = 0
    while True:
        event = await get()
        if event.number != expected:
            raise OutOfOrder(expected, event.number)
        expected = event.following
        count += 1


async def read_futures(waiting: list[asyncio.Future[Any]]) -> None:
    """Wait on a future of one's own, again and again: the least that asyncio asks for a wake-up."""
    count = expected = 0
    create_future = asyncio.get_running_loop().create_future
    while True:
        future = create_future()
        waiting.append(future)
        event = await future
        if event.number != expected:
            raise OutOfOrder(expected, event.number)
        expected = event.following
        count += 1


async def read_batches(batches: AsyncIterator[list[Any]], events: list[Any]) -> None:
    """Read lists of events, each counted and compared as a whole with the stretch of `events` that it must be."""
    count = position = 0
    size = len(events)
    async for batch in batches:
        end = position + len(batch)
        if batch != events[position:end]:
            raise OutOfOrder(position, batch[0].number)
        position = end if end < size else 0
        count += len(batch)


async def start(readers: Sequence[Any]) -> list[asyncio.Task[None]]:
    """Run each reader in a task, up to where it waits for its first event."""
    tasks = [asyncio.create_task(reader) for reader in readers]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def counts(tasks: Sequence[asyncio.Task[None]]) -> list[int]:
    """How many events each reader has counted. A reader that failed fails the cell with what it raised."""
    for task in tasks:
        if task.done():
            task.result()
            raise AssertionError(
                "a reader ended while events were sent to it: it must read to the end"
            )
    return [task.get_coro().cr_frame.f_locals["count"] for task in tasks]  # type: ignore[union-attr]


def check_counts(tasks: Sequence[asyncio.Task[None]], sent: int) -> None:
    """Refuse the cell's result unless each reader received every event."""
    for reader, count in enumerate(counts(tasks)):
        if count != sent:
            raise AssertionError(
                f"every reader receives every event: reader {reader} got {count} of {sent}"
            )


async def turns_needed(
    send: Callable[[Any], object], events: Sequence[Any], tasks: Sequence[asyncio.Task[None]]
) -> int:
    """Send the events once, and count the turns of the loop until every reader has them all.

    The timed runs give the loop exactly as many, so that nothing but the contender decides when a reader runs and
    no reader has to report. It also shows that readers are woken by the events, and not by the driver.
    """
    before = counts(tasks)
    for event in events:
        send(event)
    turns = 0
    while any(
        count - start < len(events) for start, count in zip(before, counts(tasks), strict=True)
    ):
        if turns == MOST_TURNS:
            raise AssertionError(f"events arrive: after {turns} turns of the loop some have not")
        await asyncio.sleep(0)
        turns += 1
    return turns

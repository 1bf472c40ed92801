"""The contenders whose subscribers are tasks that read: how each sets up a topic, as its users would."""

from __future__ import annotations

import asyncio
import importlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from comparison.events import Event
from comparison.readers import read_batches, read_calls, read_futures, read_stream

__all__ = (
    "STREAMS",
    "Skipped",
    "Stream",
    "Topic",
    "haiway_bus_batches",
    "haiway_bus_module",
    "need",
    "open_futures",
    "open_haiway_bus",
    "open_queues",
)


class Skipped(Exception):  # noqa: N818 - no error: the reason why a cell cannot be had here
    """Raised when a cell needs what this environment does not have."""


class Topic(NamedTuple):
    """One stream of events to a number of subscribers."""

    send: Callable[[Any], object]
    readers: Sequence[Any]  # one coroutine for each subscriber, not started
    waiting: Callable[[], list[int]]  # how many events wait for each subscriber


class Stream(NamedTuple):
    """A contender: its event class, and how to open a topic for a number of subscribers."""

    event_type: Callable[[], Any]
    open: Callable[[int, Any], AbstractAsyncContextManager[Topic]]


def need(module: str) -> Any:
    """Import a contender. Raises Skipped where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise Skipped(f"{missing.name} is not installed") from None


def haiway_bus_module() -> Any:
    return need("haiway_bus")


@asynccontextmanager
async def open_haiway_bus(
    fan_out: int, event_type: Any, module: Any = None
) -> AsyncIterator[Topic]:
    ctx = (module or haiway_bus_module()).ctx
    async with ctx.scope("benchmark", turn=math.inf):
        subscriptions = [ctx.subscribe(event_type) for _ in range(fan_out)]
        yield Topic(
            ctx.send,
            [read_stream(subscription) for subscription in subscriptions],
            lambda: [subscription.pending for subscription in subscriptions],
        )


@asynccontextmanager
async def haiway_bus_batches(events: list[Any]) -> AsyncIterator[Topic]:
    """One subscriber that reads in batches."""
    ctx = haiway_bus_module().ctx
    async with ctx.scope("benchmark", turn=math.inf):
        subscription = ctx.subscribe(type(events[0]))
        yield Topic(
            ctx.send,
            [read_batches(subscription.batches(), events)],
            lambda: [subscription.pending],
        )


@asynccontextmanager
async def open_queues(fan_out: int, event_type: Any) -> AsyncIterator[Topic]:
    """asyncio.Queue, one for each subscriber."""
    queues: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(fan_out)]
    puts = [queue.put_nowait for queue in queues]

    def send(event: Any) -> None:
        for put in puts:
            put(event)

    yield Topic(
        puts[0] if fan_out == 1 else send,
        [read_calls(queue.get) for queue in queues],
        lambda: [queue.qsize() for queue in queues],
    )


@asynccontextmanager
async def open_futures(fan_out: int, event_type: Any) -> AsyncIterator[Topic]:
    """asyncio.Future, one for each wait: only for events sent one at a time, as it has no backlog."""
    waiting: list[asyncio.Future[Any]] = []

    def send(event: Any) -> None:
        woken = waiting.copy()
        waiting.clear()
        for future in woken:
            future.set_result(event)

    yield Topic(send, [read_futures(waiting) for _ in range(fan_out)], list)


@asynccontextmanager
async def open_anyio(fan_out: int, event_type: Any) -> AsyncIterator[Topic]:
    """anyio's memory object streams, one for each subscriber, on asyncio."""
    anyio = need("anyio")
    async with AsyncExitStack() as stack:
        pairs = [anyio.create_memory_object_stream(math.inf) for _ in range(fan_out)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
        sends = [sender.send_nowait for sender, _ in pairs]

        def send(event: Any) -> None:
            for send_nowait in sends:
                send_nowait(event)

        yield Topic(
            sends[0] if fan_out == 1 else send,
            [read_stream(receiver) for _, receiver in pairs],
            lambda: [receiver.statistics().current_buffer_used for _, receiver in pairs],
        )


def haiway_event_type() -> Any:
    haiway = need("haiway")
    if not hasattr(haiway.ctx, "subscribe"):
        raise Skipped("this version of haiway has no ctx.subscribe (it needs Python 3.14)")

    class HaiwayEvent(haiway.State):
        number: int
        following: int

    return HaiwayEvent


@asynccontextmanager
async def open_haiway(fan_out: int, event_type: Any) -> AsyncIterator[Topic]:
    ctx = need("haiway").ctx
    async with ctx.scope("benchmark"):
        subscriptions = [ctx.subscribe(event_type) for _ in range(fan_out)]
        yield Topic(ctx.send, [read_stream(subscription) for subscription in subscriptions], list)


def plain_event_type() -> Any:
    return Event


STREAMS = {
    "haiway_bus": Stream(plain_event_type, open_haiway_bus),
    "haiway_bus pure": Stream(plain_event_type, open_haiway_bus),
    "asyncio.Queue": Stream(plain_event_type, open_queues),
    "asyncio.Future": Stream(plain_event_type, open_futures),
    "anyio": Stream(plain_event_type, open_anyio),
    "haiway": Stream(haiway_event_type, open_haiway),
}

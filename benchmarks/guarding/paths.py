"""The hot paths, and the baselines that they are weighed against: each does so many rounds of the same work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from comparison.events import Event, cycle
from comparison.readers import check_counts, start, stop, turns_needed
from comparison.records import dataclass_order, three_fields
from comparison.streams import STREAMS, haiway_bus_module

__all__ = ("BASELINES", "HOT", "PATHS", "Path", "child_environment")

BURST = 100
READERS = 10


class Path(NamedTuple):
    """A piece of work, and how many rounds of it are few and many.

    Many have more in them than few by what they weigh alone: the set-up is in both, and the few are enough for the
    interpreter to specialize what it runs.
    """

    work: Callable[[int], Awaitable[None]]
    few: int
    many: int
    units: int = 1  # of what is counted, in a round

    def weight(self, few: float, many: float) -> float:
        """Of one unit, from what few rounds and many rounds weigh."""
        return (many - few) / ((self.many - self.few) * self.units)


def empty(event: Any) -> None:
    """The baseline of a send that nobody hears."""


async def call_empty(rounds: int) -> None:
    event, call = Event(number=0, following=0), empty
    for _ in range(rounds):
        call(event)


async def send_unheard(rounds: int) -> None:
    ctx = haiway_bus_module().ctx
    event, send = Event(number=0, following=0), ctx.send
    async with ctx.scope("guard"):
        for _ in range(rounds):
            send(event)


def delivery(contender: str, size: int) -> Callable[[int], Awaitable[None]]:
    """Bursts of this size to ten waiting readers."""

    async def work(rounds: int) -> None:
        async with STREAMS[contender].open(READERS, Event) as topic:
            send, sleep = topic.send, asyncio.sleep
            events = cycle(Event, size)
            tasks = await start(topic.readers)
            turns = await turns_needed(send, events, tasks)
            for _ in range(rounds):
                for event in events:
                    send(event)
                for _ in range(turns):
                    await sleep(0)
            check_counts(tasks, (rounds + 1) * size)
            await stop(tasks)

    return work


async def subscribe_and_close(rounds: int) -> None:
    ctx = haiway_bus_module().ctx
    subscribe = ctx.subscribe
    async with ctx.scope("guard"):
        kept = subscribe(Event)  # so that the type's channel is not made anew each time
        for _ in range(rounds):
            subscribe(Event).close()
        kept.close()


async def make_queue(rounds: int) -> None:
    make = asyncio.Queue
    for _ in range(rounds):
        make()


async def make_state(rounds: int) -> None:
    order = three_fields(haiway_bus_module().State)
    for _ in range(rounds):
        order(name="A1", price=1.5, number=7)


async def update_state(rounds: int) -> None:
    order = three_fields(haiway_bus_module().State)(name="A1", price=1.5, number=7)
    for _ in range(rounds):
        order.updated(price=2.5)


async def make_dataclass(rounds: int) -> None:
    order = dataclass_order()
    for _ in range(rounds):
        order(name="A1", price=1.5, number=7)


BASELINES = {
    "empty call": Path(call_empty, 200, 40_000),
    "asyncio.Queue, burst": Path(delivery("asyncio.Queue", BURST), 2, 12, BURST * READERS),
    "asyncio.Future, single": Path(delivery("asyncio.Future", 1), 50, 250, READERS),
    "asyncio.Queue()": Path(make_queue, 100, 2_000),
    "dataclass": Path(make_dataclass, 100, 5_000),
}
HOT = {
    "send unheard": Path(send_unheard, 200, 40_000),
    "burst": Path(delivery("haiway_bus", BURST), 2, 22, BURST * READERS),
    "single": Path(delivery("haiway_bus", 1), 50, 350, READERS),
    "subscribe and close": Path(subscribe_and_close, 100, 3_000),
    "make a State": Path(make_state, 100, 5_000),
    "update a State": Path(update_state, 100, 5_000),
}
PATHS = BASELINES | HOT


def child_environment(*, pure: bool) -> dict[str, str]:
    """The environment of a child that runs the paths on one backend."""
    environment = dict(os.environ, PYTHONHASHSEED="0")
    environment.pop("HAIWAY_BUS_PURE", None)
    environment.pop("HAIWAY_BUS_REQUIRE_EXTENSIONS", None)
    if pure:
        environment["HAIWAY_BUS_PURE"] = "1"
    return environment

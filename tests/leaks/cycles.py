"""Run alone: cycles through all that the bus is made of are collected (guarantee 3.4).

Each function below leaves a cycle behind and gives weak references to what is in it. They run many times over, and then
nothing is left: no object that a weak reference knows, no object more than before, and in a debug build no counted one.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import haiway_bus
from haiway_bus import State, ctx
from haiway_bus._bus import drops

Left = list[weakref.ref[Any]]


class Sent:
    other: Any = None


def event_holds_its_subscription(limit: int | None) -> Left:
    subscription = ctx.subscribe(Sent, limit=limit)
    event = Sent()
    event.other = subscription
    ctx.send(event)
    return [weakref.ref(event), weakref.ref(subscription)]


def event_holds_the_batches_and_a_read() -> Left:
    subscription = ctx.subscribe(Sent)
    event = Sent()
    event.other = (subscription.batches(5), aiter(subscription))
    ctx.send(event)
    return [weakref.ref(event), weakref.ref(subscription)]


def lost_events_hold_the_subscription() -> Left:
    subscription = ctx.subscribe(Sent, limit=1, overflow="raise")
    for _ in range(3):
        event = Sent()
        event.other = subscription
        ctx.send(event)
    return [weakref.ref(subscription)]


def events_of_two_buses_hold_each_other() -> Left:
    buses = [haiway_bus._bus.Bus(name) for name in ("one", "two")]
    subscriptions = [bus.subscribe(Sent) for bus in buses]
    for bus, subscription in zip(buses, reversed(subscriptions), strict=True):
        event = Sent()
        event.other = subscription
        bus.send(event)
    return [weakref.ref(one) for one in (*buses, *subscriptions)]


def a_state_class_holds_a_subscription() -> Left:
    class Kept(State):
        value: Any

    subscription = ctx.subscribe(Kept)
    ctx.send(Kept(value=subscription))
    return [weakref.ref(Kept), weakref.ref(subscription)]


async def a_scope_that_nobody_leaves() -> Left:
    scope = ctx.scope("abandoned", isolated=True)
    await scope.__aenter__()
    single, pool = ctx.subscribe(Sent), ctx.subscribe(Sent, limit=3, overflow="raise")

    async def read(subscription: Any) -> None:
        with suppress(haiway_bus.SubscriptionOverflow):
            async for event in subscription:
                event.other = (scope, subscription)

    readers = [asyncio.create_task(read(one)) for one in (single, pool, pool, pool)]
    flushing = asyncio.create_task(ctx.flush(Sent))
    for _ in range(10):
        ctx.send(Sent())
        await asyncio.sleep(0)
    left = [weakref.ref(one) for one in (scope.bus, single, pool, *readers, flushing)]
    for _ in range(10):
        ctx.send(Sent())  # waits for readers that will never run again
    return left


async def round_of(maker: Callable[[], Any]) -> Left:
    # In a task of its own, so that what is left of its context goes with it.
    async def run() -> Left:
        made = maker()
        return await made if asyncio.iscoroutine(made) else made

    return await asyncio.create_task(run())


async def main() -> None:
    makers: list[Callable[[], Any]] = [
        lambda: event_holds_its_subscription(None),
        lambda: event_holds_its_subscription(2),
        event_holds_the_batches_and_a_read,
        lost_events_hold_the_subscription,
        events_of_two_buses_hold_each_other,
        a_state_class_holds_a_subscription,
        a_scope_that_nobody_leaves,
    ]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    complaints: list[str] = []
    async with ctx.scope("cycles"):
        sizes = []
        for _ in range(3):
            for _ in range(30):
                for number, maker in enumerate(makers):
                    left = await round_of(maker)
                    await asyncio.sleep(0)
                    gc.collect(0)
                    await asyncio.sleep(0)
                    gc.collect()
                    assert [one() for one in left] == [None] * len(left), (number, left)
            await asyncio.sleep(0)
            gc.collect()
            # PyPy counts strings and numbers among them, also those of `sizes`.
            sizes.append(
                Counter(
                    type(one).__qualname__
                    for one in gc.get_objects()
                    if not isinstance(one, str | int)
                )
            )
        more = sizes[2] - sizes[1]
        assert sum(more.values()) < 20, more
    # asyncio says of each abandoned task that it was pending, and nothing else is said.
    assert set(complaints) <= {"Task was destroyed but it is pending!"}, set(complaints)


if __name__ == "__main__":
    logging.disable()  # the drops are meant here
    if hasattr(gc, "freeze"):
        gc.freeze()  # what was imported is in no cycle that is looked for
    drops.SECONDS = (
        0.0  # else the loop has one call to make a second later for each type that lost events
    )
    asyncio.run(main())
    gc.collect()
    if haiway_bus.backend == "compiled":
        from haiway_bus._bus import _chain_c, _core_c

        for module in (_chain_c, _core_c):
            counted = module._live() or {}
            assert not any(counted.values()), counted

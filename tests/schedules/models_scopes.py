"""Models of a scope's end: its readers are the scope's own tasks, and the body is over while they are at work.

In all of them the scope must be left (a scope that hangs is found as a hang), every reader has had every event that
was sent before its wait was ended, and its loop has ended normally unless the body did not.
"""

from __future__ import annotations

import asyncio
import contextlib

from .ledger import Account, Event, Other, World, all_taken
from .ways import batches, loop_over, one, pause, produce

__all__ = ("SCOPES",)


async def ends(world: World) -> None:
    """Guarantee 5.4: consumers end normally when the producer has ended, with everything."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()
        consumers = [
            world.ctx.spawn(loop_over, account, turns=1),
            world.ctx.spawn(batches, other, 2),
        ]
        world.ctx.spawn(produce, world, 2)
        world.ending = True
        world.send()
    assert not any(task.cancelled() for task in consumers)
    all_taken(account, other)


async def ends_after_a_pool(world: World) -> None:
    """Guarantee 2.4, 5.4: workers that share a subscription all end."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.ctx.spawn(loop_over, account, turns=turns) for turns in (0, 1, 2)]
        world.ctx.spawn(produce, world, 3)
        world.ending = True
    assert [task.result() for task in workers] == ["ended"] * 3
    all_taken(account)


async def ends_with_a_sleeping_producer(world: World) -> None:
    """Guarantee 5.4: a producer that sleeps between sends keeps its consumers alive."""
    async with world.scope():
        account = world.subscribe()
        consumer = world.ctx.spawn(loop_over, account)
        world.ctx.spawn(produce, world, 2, Event, 1.0)
        world.ending = True
    assert consumer.result() == "ended"
    assert len(account.received) == 2


async def ends_a_chain(world: World) -> None:
    """Guarantee 5.4: what a stage passes on, and what it sends when its own loop has ended, is read by the next."""
    async with world.scope():
        first, second = world.subscribe(), world.subscribe(Other)
        sink = world.ctx.spawn(loop_over, second)

        async def pass_on() -> None:
            while await one(first) is not None:
                await pause()
                world.send(Other)
            world.send(Other)

        world.ctx.spawn(pass_on)
        world.ctx.spawn(produce, world, 2)
        world.ending = True
    assert sink.result() == "ended"
    all_taken(first, second)
    assert len(second.received) == 3


async def spawns_during_the_end(world: World) -> None:
    """Guarantee 5.4: tasks spawned by tasks, while the scope waits, run to their end, as does what they send."""
    done = []
    async with world.scope():
        account, other = world.subscribe(), world.subscribe(Other)
        world.ctx.spawn(loop_over, other)

        async def handle(number: int) -> None:
            await pause()
            world.send(Other)
            done.append(number)

        async def dispatch() -> None:
            while (event := await one(account)) is not None:
                world.ctx.spawn(handle, event.number)

        world.ctx.spawn(dispatch)
        world.send()
        world.ending = True
        await pause()
        world.send()
    assert len(done) == 2
    all_taken(account, other)


async def spawns_a_reader_during_the_end(world: World) -> None:
    """Guarantee 5.4: a reader that comes to be while the scope waits ends as well."""
    async with world.scope():
        account = world.subscribe()

        async def come_late() -> str:
            own = world.subscribe()
            world.send()
            return await loop_over(own)

        async def dispatch() -> None:
            await one(account)
            world.ctx.spawn(come_late)
            await loop_over(account)

        world.ctx.spawn(dispatch)
        world.send()
        world.ending = True
    all_taken(*world.accounts)
    assert len(world.accounts) == 2


async def nested(world: World) -> None:
    """Guarantee 5.1, 5.3, 5.4: an inner scope ends with its own tasks, and the outer ones read on."""
    async with world.scope():
        outer = world.subscribe()
        reader = world.ctx.spawn(loop_over, outer)
        world.ending = True
        async with world.scope("inner"):
            inner = world.subscribe()
            own = world.ctx.spawn(loop_over, inner)
            world.send()
        assert own.result() == "ended"
        assert not reader.done()
        world.send()
    assert reader.result() == "ended"
    all_taken(outer)
    assert len(inner.received) == 1


async def nested_in_a_task(world: World) -> None:
    """Guarantee 5.4, 5.7: a task has a scope of its own, which waits for readers, as the outer one ends."""
    async with world.scope():
        outer = world.subscribe()

        async def work() -> None:
            async with world.scope("inner"):
                world.ctx.spawn(loop_over, world.subscribe(), turns=1)
                await pause()
                world.send()
            world.send()

        world.ctx.spawn(work)
        reader = world.ctx.spawn(loop_over, outer)
        world.ending = True
        world.send()
    assert reader.result() == "ended"
    all_taken(outer)
    assert len(outer.received) == 3


async def isolated(world: World) -> None:
    """Guarantee 5.1, 5.4: two buses at the same time, one within the other; neither sees the other's events."""
    async with world.scope():
        outer = world.subscribe()
        world.ctx.spawn(loop_over, outer)
        world.ctx.spawn(produce, world, 2)
        world.ending = True
        async with world.scope("isolated", isolated=True):
            inner = world.subscribe()
            own = world.ctx.spawn(loop_over, inner)
            await produce(world, 1)
        assert own.result() == "ended"
        assert len(inner.received) == 1
    all_taken(outer, inner)
    assert len(outer.received) == 2


async def two_roots(world: World) -> None:
    """Guarantee 5.1, 5.7: two root scopes overlap in two tasks."""
    world.ending = True

    async def subsystem(name: str, count: int) -> None:
        async with world.scope(name):
            account = world.subscribe()
            world.ctx.spawn(loop_over, account)
            await produce(world, count)
        assert len(account.received) == count

    first = world.loop.create_task(subsystem("first", 2))
    second = world.loop.create_task(subsystem("second", 1))
    await asyncio.gather(first, second)


async def reads_while_it_is_cancelled(world: World) -> None:
    """Guarantee 5.5: the body fails, and a task that is cancelled reads what is left; nothing hangs."""
    world.ending = True
    drained = []

    async def read(account: Account) -> None:
        try:
            await loop_over(account, turns=1)
        finally:
            await asyncio.gather(loop_over(account), loop_over(account))
            drained.append(account)

    with contextlib.suppress(LookupError):
        async with world.scope():
            account = world.subscribe()
            reader = world.ctx.spawn(read, account)
            world.send()
            await pause(2)
            world.send()
            raise LookupError
    assert reader.cancelled()
    if drained:  # one that is cancelled before its first step has no `finally`
        all_taken(account)


async def reads_again_and_again(world: World) -> None:
    """Guarantee 5.4: a loop around the loop ends with its scope, and has had everything."""
    async with world.scope():
        account = world.subscribe()

        async def read() -> None:
            while not account.subscription.closed:
                await loop_over(account)

        reader = world.ctx.spawn(read)
        world.ctx.spawn(produce, world, 1)
        world.ending = True
    assert reader.cancelled()
    all_taken(account)


async def nested_waits_for_an_outer_reader(world: World) -> None:
    """Guarantee 5.4: the inner scope is left, and the reader of the outer one reads on."""
    async with world.scope():
        outer = world.subscribe()
        reader = world.ctx.spawn(loop_over, outer)
        world.ending = True

        async def wait() -> None:
            await reader

        async with world.scope("inner"):
            waiting = world.ctx.spawn(wait)
            world.send()
        assert waiting.cancelled()
        assert not reader.done()
        world.send()
    assert reader.result() == "ended"
    all_taken(outer)


SCOPES = (
    ends,
    ends_after_a_pool,
    ends_with_a_sleeping_producer,
    ends_a_chain,
    spawns_during_the_end,
    spawns_a_reader_during_the_end,
    nested,
    nested_in_a_task,
    isolated,
    two_roots,
    reads_while_it_is_cancelled,
    reads_again_and_again,
    nested_waits_for_an_outer_reader,
)

"""Models of a scope's end: its readers are the scope's own tasks, and the body is over while they are at work.

In all of them the scope must be left (a scope that hangs is found as a hang), every reader has had every event that
was sent before its wait was ended, and its loop has ended normally unless the body did not.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .ledger import Account, Event, Other, World
from .ways import batches, loop_over, one, pause, produce, timed_out_block

__all__ = ("SCOPES",)


def all_taken(*accounts: Account) -> None:
    """Contract 5.4: nothing that was sent by work in progress is lost."""
    for account in accounts:
        assert account.subscription.pending == 0, account.subscription
        assert len(account.received) == account.sent


async def ends(world: World) -> None:
    """Contract 5.4: consumers end normally when the producer has ended, with everything."""
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
    """Contract 2.4, 5.4: workers that share a subscription all end."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.ctx.spawn(loop_over, account, turns=turns) for turns in (0, 1, 2)]
        world.ctx.spawn(produce, world, 3)
        world.ending = True
    assert [task.result() for task in workers] == ["ended"] * 3
    all_taken(account)


async def ends_with_a_sleeping_producer(world: World) -> None:
    """Contract 5.4: a producer that sleeps between sends keeps its consumers alive."""
    async with world.scope():
        account = world.subscribe()
        consumer = world.ctx.spawn(loop_over, account)
        world.ctx.spawn(produce, world, 2, Event, 1.0)
        world.ending = True
    assert consumer.result() == "ended"
    assert len(account.received) == 2


async def ends_a_chain(world: World) -> None:
    """Contract 5.4: what a stage passes on, and what it sends when its own loop has ended, is read by the next."""
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
    """Contract 5.4: tasks spawned by tasks, while the scope waits, run to their end, as does what they send."""
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
    """Contract 5.4: a reader that comes to be while the scope waits ends as well."""
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


async def body_raises(world: World) -> None:
    """Contract 5.5: tasks are cancelled, and the body's exception comes out as it was."""
    error = LookupError("body")
    world.ending = True
    with pytest.raises(LookupError) as raised:
        async with world.scope():
            account = world.subscribe()
            tasks = [
                world.ctx.spawn(loop_over, account),
                world.ctx.spawn(loop_over, account, turns=1),
                world.ctx.spawn(produce, world, 3),
            ]
            await pause()
            raise error
    assert raised.value is error
    assert all(task.done() for task in tasks)
    assert account.subscription.closed


async def body_is_cancelled(world: World) -> None:
    """Contract 5.5: whenever the cancellation comes, also during the end, nothing hangs and it comes out."""
    world.ending = True
    accounts = []
    left = []

    async def work() -> None:
        async with world.scope():
            account = world.subscribe()
            accounts.append(account)
            world.ctx.spawn(loop_over, account)
            world.ctx.spawn(produce, world, 2)
            await pause()
        left.append(True)

    task = world.loop.create_task(work())
    await pause(2)
    task.cancel("enough")
    await asyncio.wait([task])
    assert task.cancelled() != bool(left)
    if left:
        all_taken(*accounts)


async def times_out(world: World) -> None:
    """Contract 5.5: `asyncio.timeout` around a scope whose producer takes as long."""
    world.ending = True
    try:
        async with asyncio.timeout(2.0):
            async with world.scope():
                account = world.subscribe()
                world.ctx.spawn(loop_over, account)
                world.ctx.spawn(produce, world, 2, Event, 1.0)
    except TimeoutError:
        return
    all_taken(account)


async def task_fails(world: World) -> None:
    """Contract 5.3: a failing task cancels the others, and the scope raises an ExceptionGroup."""
    world.ending = True

    async def fail(account: Account) -> None:
        await one(account)
        raise LookupError("task")

    with pytest.raises(ExceptionGroup) as failed:
        async with world.scope():
            account = world.subscribe()
            world.ctx.spawn(fail, account)
            world.ctx.spawn(loop_over, account, turns=1)
            world.ctx.spawn(produce, world, 3)
            await pause(2)
    assert [str(error) for error in failed.value.exceptions] == ["task"]


async def nested(world: World) -> None:
    """Contract 5.1, 5.3, 5.4: an inner scope ends with its own tasks, and the outer ones read on."""
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
    """Contract 5.4, 5.7: a task has a scope of its own, which waits for readers, as the outer one ends."""
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
    """Contract 5.1, 5.4: two buses at the same time, one within the other; neither sees the other's events."""
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
    """Contract 5.1, 5.7: two root scopes overlap in two tasks."""
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


async def ends_through_a_gather(world: World) -> None:
    """Contract 5.4: readers behind gather; a producer among them keeps all of them alive."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()

        async def gather() -> None:
            await asyncio.gather(loop_over(account), loop_over(other), produce(world, 2))
            world.send()

        world.ctx.spawn(gather)
        world.ending = True
    assert len(account.received) == len(other.received) == 2


async def ends_through_a_group(world: World) -> None:
    """Contract 5.4: readers in a TaskGroup, a producer in another task."""
    async with world.scope():
        account = world.subscribe()

        async def group() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(loop_over(account))
                tasks.create_task(loop_over(account, turns=1))

        world.ctx.spawn(group)
        world.ctx.spawn(produce, world, 3)
        world.ending = True
    all_taken(account)


async def ends_through_time_limits(world: World) -> None:
    """Contract 5.4: reads in `wait_for` and `asyncio.timeout` whose time is not over, or over just then."""
    async with world.scope():
        account = world.subscribe()

        async def limited() -> None:
            while True:
                try:
                    if await asyncio.wait_for(one(account), 2.0) is None:
                        return
                except TimeoutError:
                    continue

        async def timed() -> None:
            while await timed_out_block(account, 2.0) != "ended":
                pass

        world.ctx.spawn(limited)
        world.ctx.spawn(timed)
        world.ctx.spawn(produce, world, 2, Event, 1.0)
        world.ending = True
    all_taken(account)


async def ends_through_the_first_of_two(world: World) -> None:
    """Contract 5.4: a task waits for whichever of a reader and a worker is first, then has an event for the reader.

    While the worker's end is on its way to the task that waits for it, that task is at work, not idle.
    """
    async with world.scope():
        account = world.subscribe()

        async def supervise() -> None:
            reader = world.loop.create_task(loop_over(account))
            worker = world.loop.create_task(pause())
            await asyncio.wait([reader, worker], return_when=asyncio.FIRST_COMPLETED)
            world.send()
            await reader

        world.ctx.spawn(supervise)
        world.ending = True
    all_taken(account)


async def ends_with_a_failing_gather(world: World) -> None:
    """Contract 5.4: the same behind a gather that one of its tasks fails."""
    async with world.scope():
        account = world.subscribe()

        async def fail() -> None:
            await pause()
            raise LookupError

        async def supervise() -> None:
            reader = world.loop.create_task(loop_over(account))
            try:
                await asyncio.gather(reader, fail())
            except LookupError:
                world.send()
            await reader

        world.ctx.spawn(supervise)
        world.ending = True
    all_taken(account)


async def cancelled_reader_during_the_end(world: World) -> None:
    """Contract 2.5, 5.4: a reader is cancelled by another task as the scope ends its wait."""
    async with world.scope():
        account = world.subscribe()
        first, second = (world.ctx.spawn(loop_over, account) for _ in range(2))

        async def cancel() -> None:
            await pause(2)
            first.cancel()

        world.ctx.spawn(cancel)
        world.ctx.spawn(produce, world, 2)
        world.ending = True
    assert second.result() == "ended"
    all_taken(account)


async def closes_during_the_end(world: World) -> None:
    """Contract 2.8, 5.4: a subscription is closed by a task as the scope ends."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()
        tasks: list[Any] = [
            world.ctx.spawn(loop_over, account),
            world.ctx.spawn(batches, account, 2),
        ]
        world.ctx.spawn(loop_over, other)

        async def close() -> None:
            await one(other)
            account.close()

        world.ctx.spawn(close)
        world.ctx.spawn(produce, world, 2)
        world.ending = True
    assert not any(task.cancelled() for task in tasks)
    all_taken(other)


SCOPES = (
    ends,
    ends_after_a_pool,
    ends_with_a_sleeping_producer,
    ends_a_chain,
    spawns_during_the_end,
    spawns_a_reader_during_the_end,
    body_raises,
    body_is_cancelled,
    times_out,
    task_fails,
    nested,
    nested_in_a_task,
    isolated,
    two_roots,
    ends_through_a_gather,
    ends_through_a_group,
    ends_through_time_limits,
    ends_through_the_first_of_two,
    ends_with_a_failing_gather,
    cancelled_reader_during_the_end,
    closes_during_the_end,
)

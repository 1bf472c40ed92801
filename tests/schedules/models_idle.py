"""Models of what a scope that ends takes for idle: readers behind what asyncio offers to wait with (guarantee 5.4)."""

from __future__ import annotations

import asyncio

from .ledger import Event, World, all_taken
from .ways import loop_over, one, pause, produce, timed_out_block

__all__ = ("IDLE",)


async def ends_through_a_gather(world: World) -> None:
    """Guarantee 5.4: readers behind gather; a producer among them keeps all of them alive."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()

        async def gather() -> None:
            await asyncio.gather(loop_over(account), loop_over(other), produce(world, 2))
            world.send()

        world.ctx.spawn(gather)
        world.ending = True
    assert len(account.received) == len(other.received) == 2


async def ends_through_a_group(world: World) -> None:
    """Guarantee 5.4: readers in a TaskGroup, a producer in another task."""
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
    """Guarantee 5.4: reads in `wait_for` and `asyncio.timeout` whose time is not over, or over just then."""
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
    """Guarantee 5.4: a task waits for whichever of a reader and a worker is first, then has an event for the reader.

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
    """Guarantee 5.4: the same behind a gather that one of its tasks fails."""
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


IDLE = (
    ends_through_a_gather,
    ends_through_a_group,
    ends_through_time_limits,
    ends_through_the_first_of_two,
    ends_with_a_failing_gather,
)

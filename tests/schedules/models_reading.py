"""Models of reading: two to four tasks over one or two subscriptions, in one scope.

Each gives its name to to replay.py. What is checked in all of them stands in `ledger.py`; a
model adds what only it can know.
"""

from __future__ import annotations

import asyncio

from .ledger import Event, Other, World
from .ways import (
    anexts,
    batches,
    close_soon,
    loop_over,
    nowait,
    one,
    pause,
    produce,
)

__all__ = ("READING",)


async def two_readers(world: World) -> None:
    """Guarantee 2.1, 2.2: each subscription has the whole stream, a late one what came later."""
    async with world.scope():
        early = world.subscribe()
        first = world.loop.create_task(loop_over(early))

        async def come_late() -> str:
            await pause()
            return await loop_over(world.subscribe(), turns=1)

        second = world.loop.create_task(come_late())
        await produce(world, 3)
        await second_stands(world)
    assert await asyncio.gather(first, second) == ["ended", "ended"]
    assert len(early.received) == 3


async def second_stands(world: World) -> None:
    while len(world.accounts) < 2:
        await pause()


async def two_senders(world: World) -> None:
    """Guarantee 2.1: two tasks send two types; each reader has its type's events in the order sent."""
    async with world.scope():
        readers = [
            world.loop.create_task(loop_over(world.subscribe(kind))) for kind in (Event, Other)
        ]
        await asyncio.gather(produce(world, 2), produce(world, 2, Other), produce(world, 1))
    await asyncio.gather(*readers)
    assert [len(account.received) for account in world.accounts] == [3, 2]


async def pool(world: World) -> None:
    """Guarantee 2.4: workers that read in three ways share a subscription."""
    async with world.scope():
        account = world.subscribe()
        workers = [
            world.loop.create_task(loop_over(account, turns=1)),
            world.loop.create_task(anexts(account, 2)),
            world.loop.create_task(batches(account, 2)),
        ]
        await produce(world, 3)
        world.send()
    await asyncio.gather(*workers)
    assert len(account.received) == 4


async def thief(world: World) -> None:
    """Guarantee 2.4, 2.10: `receive_nowait` takes nothing that belongs to a waiting worker."""
    async with world.scope():
        account = world.subscribe()
        worker = world.loop.create_task(anexts(account, 2))

        async def steal() -> int:
            got = 0
            for _ in range(3):
                await pause()
                got += nowait(account) is not None
            return got

        thieving = world.loop.create_task(steal())
        await produce(world, 3)
        stolen = await thieving
    served = await worker
    assert served + stolen == len(account.received)


async def closed_by_another(world: World) -> None:
    """Guarantee 2.8: closing ends the loops of all its readers, and no other's."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()
        workers = [
            world.loop.create_task(loop_over(account)),
            world.loop.create_task(batches(account, 2)),
        ]
        spared = world.loop.create_task(loop_over(other))

        await asyncio.gather(produce(world, 2), close_soon(account, turns=2))
        await asyncio.gather(*workers)
        assert account.subscription.closed
    assert await spared == "ended"
    assert len(other.received) == 2


async def closed_by_reader(world: World) -> None:
    """Guarantee 2.8: a worker closes in its loop's body, while another was woken with it."""
    async with world.scope():
        account = world.subscribe()

        async def close_at_first() -> None:
            if await one(account) is not None:
                account.close()

        workers = [
            world.loop.create_task(close_at_first()),
            world.loop.create_task(loop_over(account)),
            world.loop.create_task(anexts(account, 2)),
        ]
        await produce(world, 3)
    await asyncio.gather(*workers)


async def closed_and_cancelled(world: World) -> None:
    """Guarantee 2.5, 2.8: a reader that is cancelled as its subscription is closed."""
    async with world.scope():
        account = world.subscribe()
        tasks = [world.loop.create_task(loop_over(account)) for _ in range(3)]
        sending = world.loop.create_task(produce(world, 2))
        closing = world.loop.create_task(close_soon(account, turns=2))
        await pause()
        tasks[0].cancel()
        await closing
        await asyncio.gather(sending, *tasks, return_exceptions=True)
        assert not any(task.cancelled() for task in tasks[1:])


async def breaks_and_comes_again(world: World) -> None:
    """Guarantee 2.3: `break` and iterate again, with another worker in between."""
    async with world.scope():
        account = world.subscribe()

        async def again() -> None:
            while await loop_over(account, most=1) == "enough":
                await pause()

        tasks = [world.loop.create_task(again()), world.loop.create_task(loop_over(account))]
        await produce(world, 4)
    await asyncio.gather(*tasks)
    assert len(account.received) == 4


async def forgotten(world: World) -> None:
    """Guarantee 2.8: a subscription that nobody refers to any more is gone, and the others read on."""
    async with world.scope():
        kept = world.subscribe()
        reader = world.loop.create_task(loop_over(kept))

        async def read_and_forget() -> None:
            subscription = world.ctx.subscribe(Event)
            await anext(subscription)

        forgetful = world.loop.create_task(read_and_forget())
        second = world.loop.create_task(read_and_forget())
        await produce(world, 2)
        forgetful.cancel()
        second.cancel()
        await produce(world, 1)
        await asyncio.wait([forgetful, second])
    assert await reader == "ended"
    assert len(kept.received) == 3


READING = (
    two_readers,
    two_senders,
    pool,
    thief,
    closed_by_another,
    closed_by_reader,
    closed_and_cancelled,
    breaks_and_comes_again,
    forgotten,
)

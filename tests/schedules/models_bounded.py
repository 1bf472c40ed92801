"""Models of subscriptions with a limit: what is dropped, and what the reader hears of it (guarantee 4.1 to 4.3).

Which events are left, and which number is lost in which place, is what `Account` expects of each overflow.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .ledger import World
from .ways import (
    batches,
    close_soon,
    loop_on,
    loop_over,
    nowait,
    one,
    pause,
    produce,
    timed_out_wait,
)

__all__ = ("BOUNDED",)


async def drops_oldest(world: World) -> None:
    """Guarantee 4.1, 4.3: a slow reader keeps the newest, and one without a limit sees all."""
    async with world.scope():
        slow, fast = world.subscribe(limit=1), world.subscribe()
        readers = [
            world.loop.create_task(loop_over(slow, turns=2)),
            world.loop.create_task(loop_over(fast)),
        ]
        await produce(world, 4)
    await asyncio.gather(*readers)
    assert len(fast.received) == 4
    assert slow.received[-1] is fast.received[-1]


async def drops_newest(world: World) -> None:
    """Guarantee 4.1: a slow reader keeps the oldest; batches."""
    async with world.scope():
        account = world.subscribe(limit=2, overflow="drop_newest")
        reader = world.loop.create_task(batches(account, 2, turns=1))
        await produce(world, 2)
        world.send()
        world.send()
        await produce(world, 1)
    await reader
    assert account.received[0].number == 0


async def hears_of_loss(world: World) -> None:
    """Guarantee 4.1: the reader is told of the number in the place of what was lost, and reads on."""
    async with world.scope():
        account = world.subscribe(limit=1, overflow="raise")
        reader = world.loop.create_task(loop_on(account, turns=1))
        world.send()
        world.send()
        await produce(world, 3)
    assert await reader == "ended"
    assert not account.gaps


async def pool_hears_of_loss(world: World) -> None:
    """Guarantee 2.4, 4.1: of two workers exactly one is told of each loss."""
    async with world.scope():
        account = world.subscribe(limit=1, overflow="raise")
        workers = [world.loop.create_task(loop_on(account, turns=turns)) for turns in (0, 1)]
        await pause()
        world.send()
        world.send()
        world.send()
        await produce(world, 2)
    assert await asyncio.gather(*workers) == ["ended", "ended"]
    assert not account.gaps


async def pool_drops_oldest(world: World) -> None:
    """Guarantee 2.4, 4.1: workers of one bounded subscription, one of them cancelled."""
    async with world.scope():
        account = world.subscribe(limit=1)
        first, second = (world.loop.create_task(loop_over(account)) for _ in range(2))
        world.send()
        world.send()
        await pause()
        world.send()
        first.cancel()
        await produce(world, 2)
        await asyncio.wait([first])
    assert await second == "ended"
    assert account.received[-1].number == 4


async def times_out_with_a_limit(world: World) -> None:
    """Guarantee 2.5, 4.1: a time-out takes no event along, and the loss stays in its place."""
    async with world.scope():
        account = world.subscribe(limit=1, overflow="raise")

        async def hasty() -> None:
            for _ in range(3):
                try:
                    await timed_out_wait(account, 1.0)
                except world.hb.SubscriptionOverflow as overflow:
                    account.heard_of_loss(account.asks(), overflow.lost)

        reading = world.loop.create_task(hasty())
        await produce(world, 3, seconds=1.0)
        world.send()
        await reading


async def closes_with_a_limit(world: World) -> None:
    """Guarantee 2.8, 4.1: closing and overflowing at the same time."""
    async with world.scope():
        account, other = world.subscribe(limit=1), world.subscribe(limit=1, overflow="raise")
        readers = [
            world.loop.create_task(loop_over(account, turns=1)),
            world.loop.create_task(loop_on(other)),
        ]
        await asyncio.gather(produce(world, 3), close_soon(account, turns=2))
    await asyncio.gather(*readers)


async def polls_with_a_limit(world: World) -> None:
    """Guarantee 2.10, 4.1: `receive_nowait` beside a worker; each hears of what it comes upon."""
    async with world.scope():
        account = world.subscribe(limit=1, overflow="raise")

        async def poll() -> None:
            for _ in range(3):
                await pause()
                try:
                    nowait(account)
                except world.hb.SubscriptionOverflow as overflow:
                    account.heard_of_loss(account.asks(), overflow.lost)

        polling = world.loop.create_task(poll())
        reader = world.loop.create_task(loop_on(account, turns=2))
        world.send()
        world.send()
        await produce(world, 2)
        world.send()
        await polling
    assert await reader == "ended"


async def ends_with_a_limit(world: World) -> None:
    """Guarantee 4.1, 5.4: what waits at the scope's end is read, the news of a loss too."""
    async with world.scope():
        account, other = world.subscribe(limit=1, overflow="raise"), world.subscribe(limit=2)
        readers: list[Any] = [
            world.ctx.spawn(loop_on, account, turns=1),
            world.ctx.spawn(loop_over, other, turns=2),
        ]
        world.ctx.spawn(produce, world, 3)
        world.send()
        world.send()
        world.ending = True
    assert [task.result() for task in readers] == ["ended", "ended"]
    assert not account.gaps
    assert not account.expected
    assert not other.expected


async def answers_with_a_limit(world: World) -> None:
    """Guarantee 4.1: the reader's own sends overflow what it reads."""
    async with world.scope():
        account = world.subscribe(limit=1)

        async def echo() -> None:
            for _ in range(3):
                if await one(account) is None:
                    return
                world.send()
                world.send()

        readers = [world.loop.create_task(echo()), world.loop.create_task(loop_over(account))]
        await produce(world, 1)
        await pause(2)
        account.close()
        await asyncio.gather(*readers)


async def comes_back(world: World) -> None:
    """Guarantee 4.1, 4.3: one leaves the chain, takes an event and is there again, and leaves it once more."""
    async with world.scope():
        account, other = world.subscribe(limit=2, overflow="drop_newest"), world.subscribe()
        readers = [
            world.loop.create_task(loop_over(account, turns=1)),
            world.loop.create_task(loop_over(other)),
        ]
        for _ in range(2):
            for _ in range(3):
                world.send()
            await pause()
        await produce(world, 1)
    await asyncio.gather(*readers)
    assert len(other.received) == 7
    assert not account.expected


async def hears_of_two_losses(world: World) -> None:
    """Guarantee 4.1: two losses wait at a time, each in its place; a batch ends before each."""
    async with world.scope():
        account = world.subscribe(limit=2, overflow="raise")

        async def read() -> None:
            while True:
                try:
                    await batches(account, 3, turns=1)
                    return
                except world.hb.SubscriptionOverflow as overflow:
                    account.heard_of_loss(account.asks(), overflow.lost)

        for _ in range(3):
            world.send()
        nowait(account)
        world.send()
        world.send()
        reader = world.loop.create_task(read())
        await produce(world, 2)
    await reader
    assert not account.gaps


async def leaves_and_closes(world: World) -> None:
    """Guarantee 2.8, 4.1, 4.3: closed or given up while it is out of the chain, beside one that comes back."""
    async with world.scope():
        closed, other = (world.subscribe(limit=1, overflow="drop_newest") for _ in range(2))
        reader = world.loop.create_task(loop_over(other, turns=1))
        world.send()
        world.send()
        await asyncio.gather(produce(world, 2), close_soon(closed, turns=1))
    await reader


BOUNDED = (
    comes_back,
    hears_of_two_losses,
    leaves_and_closes,
    drops_oldest,
    drops_newest,
    hears_of_loss,
    pool_hears_of_loss,
    pool_drops_oldest,
    times_out_with_a_limit,
    closes_with_a_limit,
    polls_with_a_limit,
    ends_with_a_limit,
    answers_with_a_limit,
)

"""Models of readers that share the time of a turn of the loop, which here is over after each read (guarantee 2.6).

Whether it is over is the clock's to say. They are given no time at all, so that no clock has a say in the order of
things.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .ledger import Account, World
from .ways import batches, close_soon, loop_over, one, pause, produce

__all__ = ("TURNS",)

NONE = 1e-9


async def fair(account: Account, others: list[Account]) -> None:
    """Read to the end; while others have events, too, nobody is ahead by more than what one turn gives."""
    ticket = account.asks()
    async for event in account.subscription:
        account.took(ticket, event)
        for other in others:
            if other.expected and len(other.received):
                assert abs(len(account.received) - len(other.received)) <= 1
        ticket = account.asks()
    account.leaves(ticket)


async def take_turns(world: World) -> None:
    """Guarantee 2.6: of readers that a burst has woken nobody starves."""
    async with world.scope(turn=NONE):
        accounts = [world.subscribe() for _ in range(3)]
        readers = [world.loop.create_task(fair(account, accounts)) for account in accounts]
        while not all(account.line for account in accounts):
            await pause()
        for _ in range(4):
            world.send()
    await asyncio.gather(*readers)
    assert [len(account.received) for account in accounts] == [4, 4, 4]


async def begin_with_a_backlog(world: World) -> None:
    """Guarantee 2.6: what was sent meanwhile comes after it, and a batch is put off as a single read is."""
    async with world.scope(turn=NONE):
        single, batched = world.subscribe(), world.subscribe(limit=9)
        for _ in range(12):
            world.send()
        readers: list[Any] = [
            world.loop.create_task(loop_over(single)),
            world.loop.create_task(batches(batched, 2)),
        ]
        await produce(world, 2)
    await asyncio.gather(*readers)
    assert len(single.received) == 14


async def cancelled_while_put_off(world: World) -> None:
    """Guarantee 2.5, 2.6: it takes no event along."""
    async with world.scope(turn=NONE):
        account, other = world.subscribe(), world.subscribe()
        readers = [world.loop.create_task(loop_over(one)) for one in (account, other)]
        await pause()
        for _ in range(5):
            world.send()
        await pause(2)
        readers[0].cancel()
        await asyncio.wait([readers[0]])
        while account.expected:
            await one(account)
    await asyncio.gather(readers[1])
    assert len(account.received) == len(other.received) == 5


async def pool_is_put_off(world: World) -> None:
    """Guarantee 2.4, 2.6: workers of one subscription, one of which is cancelled."""
    async with world.scope(turn=NONE):
        account = world.subscribe()
        workers = [world.loop.create_task(loop_over(account)) for _ in range(3)]
        await pause()
        for _ in range(6):
            world.send()
        await pause(2)
        workers[1].cancel()
        await produce(world, 2)
        world.ending = True  # it ends while they wait
    await asyncio.wait(workers)
    assert len(account.received) == 8


async def closed_while_put_off(world: World) -> None:
    """Guarantee 2.6, 2.8."""
    async with world.scope(turn=NONE):
        account, other = world.subscribe(), world.subscribe(limit=2, overflow="drop_newest")
        readers = [world.loop.create_task(loop_over(one)) for one in (account, other)]
        await pause()
        for _ in range(4):
            world.send()
        await close_soon(account, turns=2)
    await asyncio.gather(*readers)
    assert not other.expected


TURNS = (
    take_turns,
    begin_with_a_backlog,
    cancelled_while_put_off,
    pool_is_put_off,
    closed_while_put_off,
)

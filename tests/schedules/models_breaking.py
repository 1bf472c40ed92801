"""Models of scopes that do not end well: the body raises or is cancelled, a task fails (guarantee 5.3, 5.5)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .ledger import Account, Event, World, all_taken
from .ways import batches, loop_over, one, pause, produce

__all__ = ("BREAKING",)


async def body_raises(world: World) -> None:
    """Guarantee 5.5: tasks are cancelled, and the body's exception comes out as it was."""
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
    """Guarantee 5.5: whenever the cancellation comes, also during the end, nothing hangs and it comes out."""
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
    """Guarantee 5.5: `asyncio.timeout` around a scope whose producer takes as long."""
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
    """Guarantee 5.3: a failing task cancels the others, and the scope raises an ExceptionGroup."""
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


async def cancelled_reader_during_the_end(world: World) -> None:
    """Guarantee 2.5, 5.4: a reader is cancelled by another task as the scope ends its wait."""
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
    """Guarantee 2.8, 5.4: a subscription is closed by a task as the scope ends."""
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


BREAKING = (
    body_raises,
    body_is_cancelled,
    times_out,
    task_fails,
    cancelled_reader_during_the_end,
    closes_during_the_end,
)

"""Models of reads that are cancelled, or run out of time, as the event comes (guarantee 2.3, 2.5)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from .ledger import World
from .ways import (
    anexts,
    loop_over,
    one,
    pause,
    produce,
    timed_out_block,
    timed_out_wait,
)

__all__ = ("CANCELLING",)


async def cancelled_worker(world: World) -> None:
    """Guarantee 2.4, 2.5: one of three workers is cancelled; its event is there for the others."""
    async with world.scope():
        account = world.subscribe()
        first, second, third = (world.loop.create_task(one(account)) for _ in range(3))
        await pause()
        world.send()
        first.cancel()
        world.send()
        await asyncio.gather(first, second, third, return_exceptions=True)
        served = [task for task in (first, second, third) if not task.cancelled()]
        assert second in served
        assert third in served
        assert len(account.received) == min(2, len(served))


async def cancelled_among_many(world: World) -> None:
    """Guarantee 2.5: two cancellations and two events, in every order; who was not cancelled is served."""
    async with world.scope():
        account = world.subscribe()
        tasks = [world.loop.create_task(one(account)) for _ in range(4)]

        async def cancel() -> None:
            for index in (2, 0):
                await pause()
                tasks[index].cancel()

        await asyncio.gather(produce(world, 2), cancel())
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not tasks[1].cancelled()
    assert not tasks[3].cancelled()
    served = [task for task in tasks if not task.cancelled() and task.result() is not None]
    assert len(served) == len(account.received)


async def timed_out_worker(world: World) -> None:
    """Guarantee 2.3, 2.5: time-outs that race with events, beside a worker that has all the time."""
    async with world.scope():
        account = world.subscribe()
        hasty = world.loop.create_task(timed_out_wait(account, 1.0, count=2))
        patient = world.loop.create_task(loop_over(account))
        await produce(world, 3, seconds=1.0)
    assert await patient == "ended"
    await hasty
    assert len(account.received) == 3


async def timed_out_alone(world: World) -> None:
    """Guarantee 2.5: what arrives with the time-out is there for the next read."""
    async with world.scope():
        account = world.subscribe()
        send = world.loop.create_task(produce(world, 2, seconds=1.0))
        served = await timed_out_wait(account, 1.0, count=2)
        ended = await timed_out_block(account, 1.0)
        await send
        assert ended == "timed out"
        assert served <= len(account.received) <= 2
        assert account.subscription.pending == 2 - len(account.received)


async def timed_out_loops(world: World) -> None:
    """Guarantee 2.3, 2.5: `asyncio.timeout` around two workers' loops."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.loop.create_task(timed_out_block(account, 2.0)) for _ in range(2)]
        await produce(world, 3, seconds=1.0)
    assert set(await asyncio.gather(*workers)) <= {"timed out", "ended"}


async def cancelled_time_out(world: World) -> None:
    """Guarantee 2.5: cancellation, time-out and event at one instant."""
    async with world.scope():
        account = world.subscribe()
        hasty = world.loop.create_task(timed_out_wait(account, 1.0))
        other = world.loop.create_task(loop_over(account))
        world.loop.call_later(1.0, hasty.cancel)
        await produce(world, 2, seconds=1.0)
        with contextlib.suppress(asyncio.CancelledError):
            await hasty
    assert await other == "ended"
    assert len(account.received) == 2


async def reads_on_after_cancelling(world: World) -> None:
    """Guarantee 2.5: a reader that is cancelled, takes it back, and reads on, sees all the same."""
    async with world.scope():
        account = world.subscribe()
        begun = asyncio.Event()

        async def stubborn() -> None:
            task = asyncio.current_task()
            assert task is not None
            begun.set()
            while True:
                try:
                    await loop_over(account)
                    return
                except asyncio.CancelledError:
                    task.uncancel()

        task = world.loop.create_task(stubborn())
        second = world.loop.create_task(anexts(account, 1))
        sending = world.loop.create_task(produce(world, 3))
        await begun.wait()  # a task that has not begun cannot take its cancellation back
        task.cancel()
        await pause()
        task.cancel()
        await sending
    await asyncio.gather(task, second)
    assert len(account.received) == 3


async def gathered(world: World) -> None:
    """Guarantee 2.3, 2.5: reads in a gather that is cancelled."""
    async with world.scope():
        account = world.subscribe()

        async def both() -> None:
            await asyncio.gather(one(account), one(account))

        task = world.loop.create_task(both())
        after = world.loop.create_task(loop_over(account))
        await produce(world, 1)
        task.cancel()
        await produce(world, 2)
        await asyncio.wait([task])
    assert await after == "ended"
    assert len(account.received) == 3


async def shielded(world: World) -> None:
    """Guarantee 2.3: a shielded read goes on when the one that waits for it is cancelled."""
    async with world.scope():
        account = world.subscribe()
        read = world.loop.create_task(one(account))

        async def wait() -> Any:
            return await asyncio.shield(read)

        waiting = world.loop.create_task(wait())
        await pause()
        waiting.cancel()
        await produce(world, 2)
        assert (await read).number == 0
        await asyncio.wait([waiting])


async def grouped(world: World) -> None:
    """Guarantee 2.3, 2.5: workers in a TaskGroup; one fails and the others are cancelled."""
    async with world.scope():
        account = world.subscribe()

        async def fail() -> None:
            await one(account)
            raise LookupError

        async def work() -> None:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
                    group.create_task(loop_over(account))

        working = world.loop.create_task(work())
        await produce(world, 3)
    await working


CANCELLING = (
    cancelled_worker,
    cancelled_among_many,
    timed_out_worker,
    timed_out_alone,
    timed_out_loops,
    cancelled_time_out,
    reads_on_after_cancelling,
    gathered,
    shielded,
    grouped,
)

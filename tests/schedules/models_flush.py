"""Models of `ctx.flush` (guarantee 4.4). `World.flush` checks what is finished when it returns."""

from __future__ import annotations

import asyncio
import contextlib

from .ledger import Event, World
from .ways import (
    batches,
    close_soon,
    loop_over,
    nowait,
    one,
    pause,
    produce,
    timed_out_block,
)

__all__ = ("FLUSH",)


async def flushes(world: World) -> None:
    """Guarantee 4.4: two subscriptions, one read in batches; nothing was read before."""
    async with world.scope():
        readers = [
            world.loop.create_task(loop_over(world.subscribe(), turns=1)),
            world.loop.create_task(batches(world.subscribe(), 2, turns=1)),
        ]
        for _ in range(2):
            world.send()
            world.send()
            await world.flush()
    await asyncio.gather(*readers)


async def flushes_a_pool(world: World) -> None:
    """Guarantee 2.4, 4.4: workers that have been in line together are each waited for."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.loop.create_task(loop_over(account, turns=turns)) for turns in (1, 2)]
        while len(account.line) < 2:
            await pause()
        for _ in range(3):
            world.send()
        await world.flush()
    await asyncio.gather(*workers)


async def flushes_twice_at_a_time(world: World) -> None:
    """Guarantee 4.4: two senders wait each for its own."""
    async with world.scope():
        reader = world.loop.create_task(loop_over(world.subscribe(), turns=1))

        async def send() -> None:
            for _ in range(2):
                world.send()
                await world.flush()

        await asyncio.gather(send(), send())
    await reader


async def flushes_in_time_or_not(world: World) -> None:
    """Guarantee 4.4: a time-out says who is behind, disturbs nobody, and can be followed by another flush."""
    async with world.scope():
        account = world.subscribe()

        async def read() -> None:
            while await one(account) is not None:
                await asyncio.sleep(1.0)

        reader = world.loop.create_task(read())
        world.send()
        world.send()
        late = ""
        try:
            await world.flush(timeout=1.0)
        except TimeoutError as error:
            late = str(error)
        assert not late or "Subscription Event" in late, late
        await world.flush()
        assert len(account.received) == 2
    await reader


async def flushes_what_is_closed(world: World) -> None:
    """Guarantee 4.4: a subscription that ends meanwhile is waited for no longer, the other one still is."""
    async with world.scope():
        stuck, read = world.subscribe(), world.subscribe()
        reader = world.loop.create_task(loop_over(read, turns=1))
        closing = world.loop.create_task(close_soon(stuck, turns=2))
        world.send()
        await world.flush()
        await closing
    await reader


async def flushes_what_is_forgotten(world: World) -> None:
    """Guarantee 2.8, 4.4: so is one whose last reference is dropped."""
    async with world.scope():
        subscription = world.ctx.subscribe(Event)
        read = world.subscribe()
        reader = world.loop.create_task(loop_over(read))

        async def hold(held: object) -> None:
            await pause(2)

        holding = world.loop.create_task(hold(subscription))
        del subscription
        world.send()
        await world.flush()
        await holding
    await reader


async def flush_is_cancelled(world: World) -> None:
    """Guarantee 4.4: a flush that is cancelled leaves nothing behind, for its reader or for another flush."""
    async with world.scope():
        reader = world.loop.create_task(loop_over(world.subscribe(), turns=2))
        world.send()
        flushing = world.loop.create_task(world.flush())
        other = world.loop.create_task(world.flush())
        await pause(2)
        flushing.cancel()
        await asyncio.wait([flushing])
        world.send()
        await asyncio.gather(world.flush(), other)
    await reader


async def worker_is_cancelled_while_flushed(world: World) -> None:
    """Guarantee 2.5, 4.4: a worker that is cancelled over its event is waited for no longer."""
    async with world.scope():
        account = world.subscribe()
        first, second = (world.loop.create_task(loop_over(account, turns=2)) for _ in range(2))
        while len(account.line) < 2:
            await pause()
        world.send()
        world.send()
        flushing = world.loop.create_task(world.flush())
        await pause()
        first.cancel()
        await flushing
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert await second == "ended"


async def flushes_after_a_reader_had_its_time(world: World) -> None:
    """Guarantee 4.4: a reader that took all, came back for more and gave up was back before the flush."""
    async with world.scope():
        account = world.subscribe()
        reader = world.loop.create_task(timed_out_block(account, 1.0))
        await pause()
        world.send()
        await reader
        if not account.unfinished():
            await world.flush()


async def flushes_during_the_end(world: World) -> None:
    """Guarantee 4.4, 5.4: a task flushes while its scope ends the waits of the others."""
    async with world.scope():
        account = world.subscribe()
        reader = world.ctx.spawn(loop_over, account, turns=1)

        async def send() -> None:
            for _ in range(2):
                world.send()
                await world.flush()

        world.ctx.spawn(send)
        world.ending = True
    assert reader.result() == "ended"
    assert len(account.received) == 2


async def flushes_with_a_limit(world: World) -> None:
    """Guarantee 4.1, 4.4: what was dropped is not waited for."""
    async with world.scope():
        readers = [
            world.loop.create_task(loop_over(world.subscribe(limit=1, overflow=overflow), turns=1))
            for overflow in ("drop_oldest", "drop_newest")
        ]
        for _ in range(2):
            world.send()
            world.send()
            await world.flush()
    await asyncio.gather(*readers)


async def flushes_a_pool_by_many(world: World) -> None:
    """Guarantees 4.4, 4.5: each caller for what was sent before its own call; one gives up, one runs out of time."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()
        workers = [world.loop.create_task(loop_over(account, turns=turns)) for turns in (1, 2)]
        reader = world.loop.create_task(loop_over(other))
        while len(account.line) < 2:
            await pause()

        async def send(timeout: float | None = None) -> None:
            world.send()
            with contextlib.suppress(TimeoutError):
                await world.flush(timeout=timeout)

        callers = [world.loop.create_task(send(timeout)) for timeout in (None, 1.0, None)]
        beside = world.loop.create_task(world.flush())
        await pause()
        callers[0].cancel()
        await asyncio.wait([*callers, beside])
        assert not callers[2].cancelled()
        await world.flush()
    await asyncio.gather(*workers, reader)


async def flushes_as_far_as_it_has_to(world: World) -> None:
    """Guarantee 4.4: a later event that is still worked on holds up nobody who waits for earlier ones."""
    async with world.scope():
        account = world.subscribe()
        gates = [world.loop.create_future() for _ in range(3)]

        async def work() -> None:
            while (event := await one(account)) is not None:
                if event.number:
                    await gates[event.number - 1]
                await pause()

        async def send() -> None:
            number = world.send().number
            await world.flush()
            gates[number].set_result(None)

        workers = [world.loop.create_task(work()) for _ in range(2)]
        while len(account.line) < 2:
            await pause()
        await asyncio.gather(*[send() for _ in range(3)])
    await asyncio.gather(*workers)


async def flushes_batches_of_a_pool(world: World) -> None:
    """Guarantee 4.4: a worker is at work on each event of its batch until it comes back."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.loop.create_task(batches(account, 2, turns=2)) for _ in range(2)]
        while len(account.line) < 2:
            await pause()
        world.send()
        flushing = world.loop.create_task(world.flush())
        await pause()
        world.send()
        world.send()
        await asyncio.gather(flushing, world.flush())
    await asyncio.gather(*workers)


async def flushes_beside_one_who_polls(world: World) -> None:
    """Guarantee 2.10, 4.4: who polls a pool's subscription is one of its workers, and answers for himself alone."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.loop.create_task(loop_over(account, turns=turns)) for turns in (1, 2)]
        while len(account.line) < 2:
            await pause()

        async def poll() -> None:
            for _ in range(3):
                nowait(account)
                await pause()

        polling = world.loop.create_task(poll())
        world.send()
        world.send()
        await world.flush()
        await polling
    await asyncio.gather(*workers)


async def workers_end_with_their_events(world: World) -> None:
    """Guarantee 4.4: in whatever order they took them, before the flush or during it, nobody waits for who is gone."""
    async with world.scope():
        account = world.subscribe()
        workers = [world.loop.create_task(loop_over(account, turns=3)) for _ in range(3)]
        while len(account.line) < 3:
            await pause()
        world.send()
        world.send()
        await pause()
        workers[0].cancel()
        flushing = world.loop.create_task(world.flush())
        await pause()
        workers[1].cancel()
        await flushing
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*workers[:2])
    await asyncio.wait(workers)


async def flushes_without_end(world: World) -> None:
    """Guarantee 4.4: it waits for what was sent before the call, and not for what a sender goes on sending."""
    async with world.scope():
        account = world.subscribe()
        reader = world.loop.create_task(loop_over(account))
        flooding = world.loop.create_task(produce(world, 4))
        world.send()
        await world.flush()
        await flooding
    await reader
    assert len(account.received) == 5


FLUSH = (
    flushes,
    flushes_a_pool,
    flushes_twice_at_a_time,
    flushes_in_time_or_not,
    flushes_what_is_closed,
    flushes_what_is_forgotten,
    flush_is_cancelled,
    worker_is_cancelled_while_flushed,
    flushes_after_a_reader_had_its_time,
    flushes_during_the_end,
    flushes_with_a_limit,
    flushes_a_pool_by_many,
    flushes_as_far_as_it_has_to,
    flushes_batches_of_a_pool,
    flushes_beside_one_who_polls,
    workers_end_with_their_events,
    flushes_without_end,
)

"""Models of `ctx.on` (guarantee 2.11) and `first` (2.12)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from .ledger import Account, Event, Other, World
from .ways import first, loop_over, pause, produce

__all__ = ("FIRST", "HANDLERS")


def handled(world: World, handler: Callable[[Any], Any], turns: int = 0, **options: Any) -> Account:
    """`ctx.on` with books: the handler is called in the step that took its event, and comes back when it is done."""
    account: Account

    async def handle(event: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        account.is_next(event)
        account.busy[task] = event
        try:
            await pause(turns)
            handler(event)
        finally:
            del account.busy[task]

    account = world.enter(world.ctx.on(Event, handle, **options))
    return account


async def handles(world: World) -> None:
    """Guarantee 2.11, 5.4: subscribed at once; every event is handled, by the scope's end at the latest."""
    done: list[int] = []
    async with world.scope():
        handled(world, lambda event: done.append(event.number), turns=1, workers=2)
        world.send()
        world.ctx.spawn(produce, world, 2)
    assert sorted(done) == [0, 1, 2]


async def handles_and_flushes(world: World) -> None:
    """Guarantee 2.11, 4.4: after a flush every handler has finished."""
    done: list[int] = []
    async with world.scope():
        handled(world, lambda event: done.append(event.number), turns=1, workers=2)
        for count in (1, 2):
            for _ in range(count):
                world.send()
            await world.flush()
            assert sorted(done) == list(range(world.number))


async def handler_fails(world: World) -> None:
    """Guarantee 2.11: the failure is logged, with the event's type and the handler, and the next is handled."""
    done: list[int] = []

    def handle(event: Any) -> None:
        if event.number == 0:
            raise LookupError("handler")
        done.append(event.number)

    async with world.scope():
        handled(world, handle, turns=1, workers=2)
        world.send()
        await produce(world, 2)
    assert sorted(done) == [1, 2]
    (message,) = world.observability.messages()
    assert "handle" in message
    assert "Event" in message


async def handler_fails_its_scope(world: World) -> None:
    """Guarantee 2.11, 5.3: errors="raise"."""

    def handle(event: Any) -> None:
        if event.number == 1:
            raise LookupError("handler")

    with pytest.raises(ExceptionGroup) as failed:
        async with world.scope():
            handled(world, handle, turns=1, errors="raise")
            world.send()
            await produce(world, 2)
    assert [str(error) for error in failed.value.exceptions] == ["handler"]


async def handling_is_closed(world: World) -> None:
    """Guarantee 2.8, 2.11: closing what `on` returned ends the workers, after the event they are at."""
    done: list[int] = []
    async with world.scope():
        account = handled(world, lambda event: done.append(event.number), turns=1, workers=2)
        await produce(world, 2)
        account.close()
        world.send()
        await pause()
    assert len(done) == len(account.received)


async def handler_sends(world: World) -> None:
    """Guarantee 2.11, 5.4: a handler whose sends are handled, in a chain that ends."""
    done: list[int] = []

    def handle(event: Any) -> None:
        done.append(event.number)
        if event.number < 3:
            world.send()

    async with world.scope():
        handled(world, handle, turns=1, workers=2)
        world.send()
    assert sorted(done) == [0, 1, 2, 3]


async def first_answer(world: World) -> None:
    """Guarantee 2.12: subscribed before the request is sent, the asker does not miss the answer."""
    async with world.scope():
        requests = world.subscribe()

        async def answer() -> None:
            async for request in requests.subscription:
                requests.is_next(request)
                await pause()
                # The first answer serves both askers, so that the second may come after the scope.
                with contextlib.suppress(world.hb.ContextMissing):
                    world.send(Other)

        async def ask() -> Any:
            answers = world.subscribe(Other)
            request = world.send()
            return await first(answers, lambda answer: answer.number > request.number)

        answering = world.loop.create_task(answer())
        asking = [world.loop.create_task(ask()) for _ in range(2)]
        await asyncio.gather(*asking)
    await answering


async def first_in_time_or_not(world: World) -> None:
    """Guarantee 2.5, 2.12: the time-out races with the event; either it is given out or it was not taken."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe()
        reader = world.loop.create_task(loop_over(other))
        sending = world.loop.create_task(produce(world, 2, seconds=1.0))
        try:
            event = await first(account, timeout=1.0)
        except TimeoutError:
            assert not account.received
        else:
            assert account.received == [event]
        await sending
    await reader
    assert len(other.received) == 2


async def first_is_cancelled(world: World) -> None:
    """Guarantee 2.5, 2.12: cancelled as the event comes, it closes all the same."""
    async with world.scope():
        account = world.subscribe()
        asking = world.loop.create_task(first(account, lambda event: event.number == 1))
        sending = world.loop.create_task(produce(world, 3))
        await pause(2)
        asking.cancel()
        await asyncio.wait([asking])
        await sending
        # A task that is cancelled before its first step has not called first() and closed nothing.
        assert account.closed or not account.received
        if not asking.cancelled():
            assert asking.result().number == 1


async def first_is_closed(world: World) -> None:
    """Guarantee 2.8, 2.12: closed by another, it raises SubscriptionClosed."""
    async with world.scope():
        account = world.subscribe()

        async def ask() -> bool:
            try:
                await first(account, lambda event: event.number == 1)
            except world.hb.SubscriptionClosed:
                return False
            return True

        asking = world.loop.create_task(ask())

        async def close() -> None:
            await pause(2)
            account.close()

        await asyncio.gather(close(), produce(world, 2))
        assert await asking == (len(account.received) == 2)


async def first_at_the_end(world: World) -> None:
    """Guarantee 2.12, 5.4: a scope whose task waits for an answer that nobody is left to give still ends."""
    async with world.scope():
        account = world.subscribe()
        asking = world.ctx.spawn(first, account, lambda event: event.number == 2)
        world.ctx.spawn(produce, world, 2)
        world.ending = True
    assert asking.cancelled()
    assert len(account.received) == 2


async def first_beside_workers(world: World) -> None:
    """Guarantee 2.4, 2.12: `first` closes what others read, and their loops end."""
    async with world.scope():
        account = world.subscribe()
        worker = world.loop.create_task(loop_over(account, turns=1))

        async def ask() -> None:
            with contextlib.suppress(world.hb.SubscriptionClosed):
                await first(account, lambda event: True, timeout=1.0)

        asking = world.loop.create_task(ask())
        sending = world.loop.create_task(produce(world, 3))
        with contextlib.suppress(TimeoutError):
            await asking
        await sending
        assert await worker == "ended"


HANDLERS = (
    handles,
    handles_and_flushes,
    handler_fails,
    handler_fails_its_scope,
    handling_is_closed,
    handler_sends,
)
FIRST = (
    first_answer,
    first_in_time_or_not,
    first_is_cancelled,
    first_is_closed,
    first_at_the_end,
    first_beside_workers,
)

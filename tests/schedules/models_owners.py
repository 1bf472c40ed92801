"""Models of reads and who they belong to (guarantees 2.13, 2.14)."""

from __future__ import annotations

import asyncio
from typing import Any

from .ledger import Account, Event, Other, World
from .ways import loop_over, pause, produce

__all__ = ("OWNERS",)


async def own(account: Account, read: Any, awaited: set[int]) -> Any:
    """Await a read that others may touch from then on: its event, or None at the end."""
    ticket = account.asks()
    awaited.add(id(read))
    try:
        event = await read
        account.took(ticket, event)
    except StopAsyncIteration:
        return None
    finally:
        account.leaves(ticket)
    return event


async def touch(read: Any, way: str, awaited: set[int]) -> None:
    """Do with it what only its owner may, once it has one."""
    while id(read) not in awaited:
        await pause()
    try:
        if way == "await":
            await read
        elif way == "throw":
            read.throw(ValueError)
        elif way == "send":
            read.send(None)
        else:
            read.close()
    except (RuntimeError, ValueError) as refused:
        words = str(refused)
    else:
        words = ""
    # One that is over is closed without a word, and throws back what is thrown into it.
    assert "belongs to the task" in words or "over" in words or (not words and way != "await")


def touched_by(*ways: str) -> Any:
    async def touched(world: World) -> None:
        async with world.scope():
            account, beside = world.subscribe(), world.subscribe()
            reads = [anext(account.subscription) for _ in range(2)]
            awaited: set[int] = set()
            owners = [world.loop.create_task(own(account, read, awaited)) for read in reads]
            other = world.loop.create_task(loop_over(beside))
            await pause()
            touching = [world.loop.create_task(touch(reads[0], way, awaited)) for way in ways]
            await produce(world, 3)
            await asyncio.gather(*touching)
            assert None not in await asyncio.gather(*owners)
        assert await other == "ended"
        assert len(account.received) == 2
        assert len(beside.received) == 3

    touched.__doc__ = f"Guarantee 2.13: others {' and '.join(ways)} while a task waits on the read."
    touched.__name__ = f"read_touched_by_{'_'.join(ways)}"
    return touched


async def owner_is_cancelled_as_others_touch(world: World) -> None:
    """Guarantee 2.13, 2.5: the owner's cancellation is his, whoever else is at the read."""
    async with world.scope():
        account = world.subscribe()
        read = anext(account.subscription)
        awaited: set[int] = set()
        owner = world.loop.create_task(own(account, read, awaited))
        behind = world.loop.create_task(loop_over(account))
        await pause()
        touching = [world.loop.create_task(touch(read, way, awaited)) for way in ("await", "close")]
        sending = world.loop.create_task(produce(world, 2))
        while not awaited:
            await pause()
        owner.cancel()
        await asyncio.gather(sending, *touching)
        await asyncio.wait([owner])
        assert owner.cancelled() or owner.result() is not None
    assert await behind == "ended"
    assert len(account.received) == 2


async def requests_in_a_row(world: World) -> None:
    """Guarantee 2.14: a subscription is given up with the `return` from its loop, before the next statement."""
    async with world.scope():
        ctx = world.ctx

        async def request() -> Any:
            answers = ctx.subscribe(Other)
            world.send(Event)
            async for answer in answers:
                return answer
            return None

        async def serve(questions: Account) -> None:
            async for _ in questions.subscription:
                questions.expected.popleft()
                questions.received.append(_)
                await pause()
                world.send(Other)

        questions = world.subscribe()
        service = world.loop.create_task(serve(questions))

        async def ask() -> None:
            for _ in range(2):
                assert await request() is not None
                assert Other not in ctx.events()

        await ask()
        questions.close()
        await service


OWNERS = (
    touched_by("await", "send"),
    touched_by("throw", "close"),
    owner_is_cancelled_as_others_touch,
    requests_in_a_row,
)

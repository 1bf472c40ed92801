"""The ways of reading a subscription, each entering in the books what it got (guarantee 2.3, 2.10)."""

from __future__ import annotations

import asyncio
from asyncio import QueueEmpty
from typing import Any

from .ledger import Account, Event, World

__all__ = (
    "anexts",
    "batches",
    "close_soon",
    "first",
    "loop_on",
    "loop_over",
    "nowait",
    "one",
    "pause",
    "produce",
    "timed_out_block",
    "timed_out_wait",
)


async def pause(turns: int = 1) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def produce(
    world: World, count: int, event_type: type[Event] = Event, seconds: float = 0.0
) -> None:
    """Send so many, each after a pause: of a turn, or of virtual seconds."""
    for _ in range(count):
        await asyncio.sleep(seconds)
        world.send(event_type)


async def loop_over(account: Account, most: int = 1 << 30, turns: int = 0) -> str:
    """`async for`, with turns of the loop spent on each event. It says how it ended."""
    ticket = account.asks()
    try:
        async for event in account.subscription:
            account.took(ticket, event)
            most -= 1
            if most == 0:
                return "enough"
            await pause(turns)
            ticket = account.asks()
    finally:
        account.leaves(ticket)
    return "ended"


async def loop_on(account: Account, turns: int = 0) -> str:
    """`async for`, begun again after every loss that it hears of (guarantee 4.1)."""
    ticket = account.asks()
    try:
        while True:
            try:
                async for event in account.subscription:
                    account.took(ticket, event)
                    await pause(turns)
                    ticket = account.asks()
                return "ended"
            except account.world.hb.SubscriptionOverflow as overflow:
                account.heard_of_loss(ticket, overflow.lost)
                ticket = account.asks()
    finally:
        account.leaves(ticket)


async def one(account: Account) -> Any:
    """`anext`: an event, or None at the end."""
    ticket = account.asks()
    try:
        event = await anext(account.subscription)
        account.took(ticket, event)
    except StopAsyncIteration:
        return None
    finally:
        account.leaves(ticket)
    return event


async def anexts(account: Account, count: int) -> int:
    """So many reads, each on its own; how many were served."""
    served = 0
    for _ in range(count):
        if await one(account) is not None:
            served += 1
    return served


async def batches(account: Account, limit: int, turns: int = 0) -> None:
    """`batches`, to the end."""
    ticket = account.asks()
    try:
        async for events in account.subscription.batches(limit):
            account.took_batch(ticket, events, limit)
            await pause(turns)
            ticket = account.asks()
    finally:
        account.leaves(ticket)


def nowait(account: Account) -> Any:
    """`receive_nowait`: an event, or None when there is none to be had without waiting."""
    may = [task for task in account.line.values() if not task.cancelling()]
    ticket = account.asks()
    try:
        event = account.subscription.receive_nowait()
    except QueueEmpty:
        kept_back = account.expected and not account.closed and not account.world.ending
        assert may or not kept_back, "an event was kept back"
        return None
    else:
        account.took(ticket, event)
        return event
    finally:
        account.leaves(ticket)


async def timed_out_wait(account: Account, seconds: float, count: int = 1) -> int:
    """`asyncio.wait_for`: how often it was in time. What the read took, it must give out (guarantee 2.5)."""
    served = 0
    for _ in range(count):
        taken: list[Any] = []

        async def read(into: list[Any] = taken) -> Any:
            event = await one(account)
            if event is not None:
                into.append(event)
            return event

        given = None
        in_time = True
        try:
            given = await asyncio.wait_for(read(), seconds)
        except TimeoutError:
            in_time = False
        finally:
            assert taken in ([], [given]), f"{taken} was taken, and {given} given out"
        served += in_time and given is not None
    return served


async def timed_out_block(account: Account, seconds: float) -> str:
    """`asyncio.timeout` around a loop."""
    try:
        async with asyncio.timeout(seconds):
            return await loop_over(account)
    except TimeoutError:
        return "timed out"


async def close_soon(account: Account, turns: int = 1) -> None:
    await pause(turns)
    account.close()


async def first(account: Account, where: Any = None, timeout: float | None = None) -> Any:
    """`first`, after which the books are closed, in the very step in which the subscription is."""

    def look(event: Any) -> bool:
        account.is_next(event)
        return bool(where(event))

    try:
        event = await account.subscription.first(None if where is None else look, timeout)
        if where is None:
            account.is_next(event)
        return event
    finally:
        assert account.subscription.closed
        account.closed = True

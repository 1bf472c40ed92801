"""Run alone: a program whose tasks run the loop again at many places at a time (guarantee 2.16).

    python -P tests/nested_often.py SCENE

SCENE is "reader": one reader runs the loop again, and cancels a task there; "chain": a reader that a reader woke runs
the loop again; "handlers": several handlers, each of several workers, do; "together": all do, and a handler that
cancels another task, within each other and for each event.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import nest_asyncio

from haiway_bus import ctx

SCENE = sys.argv[1]
EVENTS = 4


class A:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class B(A):
    pass


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
nest_asyncio.apply(loop)
wrong: list[Any] = []
loop.set_exception_handler(lambda _, context: wrong.append(context))
handled: list[tuple[str, int]] = []


async def one(subscription: Any) -> A | None:
    async for event in subscription:
        return event
    return None


async def within() -> None:
    """Sends to a parked read, cancels one, and hands on in a pool, each time with nothing else to wake the bus."""
    own = type("Own", (A,), {})  # nobody else sends it
    subscription = ctx.subscribe(own)
    for cancelled in (True, False):
        waiting = asyncio.ensure_future(one(subscription))
        await asyncio.sleep(0)
        if cancelled:
            waiting.cancel()
        else:
            ctx.send(own())
        await asyncio.wait([waiting])
        assert waiting.cancelled() == cancelled
    pool = [asyncio.ensure_future(one(subscription)) for _ in range(4)]
    await asyncio.sleep(0)
    pool[0].cancel()
    ctx.send(own(1))
    ctx.send(own(2))
    await asyncio.wait(pool[:3])
    assert pool[0].cancelled()
    assert [pool[number].result().number for number in (1, 2)] == [1, 2]
    subscription.close()
    assert await pool[3] is None


def run_again() -> None:
    loop.run_until_complete(within())


def handler(name: str) -> Any:
    async def handle(event: A) -> None:
        await asyncio.sleep(0)
        run_again()
        handled.append((name, event.number))

    return handle


async def reader(kind: type[A], name: str) -> None:
    async for event in ctx.subscribe(kind):
        run_again()
        handled.append((name, event.number))


async def passes_on() -> None:
    async for event in ctx.subscribe(A):
        ctx.send(B(event.number))


async def cancels(event: A) -> None:
    waiting = asyncio.ensure_future(one(ctx.subscribe(type("Never", (A,), {}))))
    await asyncio.sleep(0)
    waiting.cancel()
    run_again()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    handled.append(("cancels", event.number))


async def main() -> None:
    async with ctx.scope("notebook"):
        names = []
        if SCENE in ("reader", "together"):
            ctx.spawn(reader, A, "reader")
            names += ["reader"]
        if SCENE in ("chain", "together"):
            ctx.spawn(passes_on)
            ctx.spawn(reader, B, "chain")
            names += ["chain"]
        if SCENE in ("handlers", "together"):
            ctx.on(A, handler("one"))
            ctx.on(A, handler("two"))
            ctx.on(A, handler("pool"), workers=3)
            names += ["one", "two", "pool"]
        if SCENE == "together":
            ctx.on(A, cancels)
            names += ["cancels"]
        await asyncio.sleep(0.01)
        for number in range(EVENTS):
            ctx.send(A(number))
            await asyncio.sleep(0)
        await ctx.flush(A)
        await ctx.flush(B)
        assert sorted(handled) == sorted((name, n) for name in names for n in range(EVENTS))
    print("well")


loop.run_until_complete(asyncio.wait_for(main(), 20))
assert not wrong, wrong
loop.close()

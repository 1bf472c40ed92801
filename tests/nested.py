"""Run alone: code that runs the loop again within a callback, as nest_asyncio lets it (guarantee 2.16).

    python -P tests/nested.py WHERE WHEN

WHERE the loop is run again: in a "reader", a "handler", an "observer" of drops, or a "plain" callback.
WHEN nest_asyncio is applied: "before" the package is imported, "after" that, or "inside" the nested code's caller.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

import nest_asyncio


class A:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class B(A):
    pass


WHERE, WHEN = sys.argv[1:]
LOG: list[Any] = []
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
if WHEN == "before":
    nest_asyncio.apply(loop)
haiway_bus = importlib.import_module("haiway_bus")
if WHEN == "after":
    nest_asyncio.apply(loop)
ctx = haiway_bus.ctx


async def nested(scope: Any) -> None:
    """Reads, sends and cancels, and waits for tasks that were woken in the same batch as this one's."""
    LOG.append("nested")
    with scope.attach():
        subscription = ctx.subscribe(B)
        ctx.send(B(1))
        assert (await anext(subscription)).number == 1
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        ctx.send(B(2))
        assert (await waiting).number == 2
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        while "beside got 1" not in LOG:
            await asyncio.sleep(0.001)
    LOG.append("nested done")


def run_again(scope: Any) -> None:
    if "nested" not in LOG:
        if WHEN == "inside":
            nest_asyncio.apply(loop)
        loop.run_until_complete(nested(scope))


class Observer(haiway_bus.LoggingObservability):  # type: ignore[misc, name-defined]
    def log(self, scope: Any, level: int, message: str, *rest: Any) -> None:
        if "dropped" in message and WHERE == "observer":
            run_again(CURRENT[0])


CURRENT: list[Any] = []


async def main() -> None:
    scope = ctx.scope("notebook", observability=Observer())
    CURRENT.append(scope)
    async with scope:

        async def reader() -> None:
            async for event in ctx.subscribe(A):
                if WHERE == "reader":
                    run_again(scope)
                LOG.append(f"reader got {event.number}")

        async def beside(kind: type[A], name: str) -> None:
            async for event in ctx.subscribe(kind):
                LOG.append(f"{name} got {event.number}")

        def handler(event: A) -> None:
            if WHERE == "handler":
                run_again(scope)
            LOG.append(f"handler got {event.number}")

        tasks = [asyncio.create_task(reader())]
        if WHERE == "handler":
            ctx.on(A, handler)
        await asyncio.sleep(0)
        # Behind the one that runs the loop again, in the same batch.
        tasks += [asyncio.create_task(beside(A, "beside")), asyncio.create_task(beside(B, "other"))]
        full = ctx.subscribe(A, limit=1)
        await asyncio.sleep(0.01)
        ctx.send(A(1))
        if WHERE == "observer":
            ctx.send(A(1))
        if WHERE == "plain":
            loop.call_soon(run_again, scope)
        await asyncio.sleep(0.05)
        full.close()
        for number in (2, 3):
            ctx.send(A(number))
            ctx.send(B(number))
            await asyncio.sleep(0.01)
        assert "nested done" in LOG
        for name in ("reader", "beside", "other"):
            got = [one for one in LOG if one.startswith(name)]
            assert got[-2:] == [f"{name} got 2", f"{name} got 3"], LOG
            assert f"{name} got 1" in got, LOG
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    print("well")


wrong: list[Any] = []
loop.set_exception_handler(lambda _, context: wrong.append(context))
loop.run_until_complete(asyncio.wait_for(main(), 20))
assert not wrong, wrong
loop.close()

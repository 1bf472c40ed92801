"""What stays of a read that is over: nothing. Each function is a case.

python -P leftovers.py CASE ...
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import sys
import tempfile
from collections.abc import Callable
from typing import Any
from weakref import ref

import kit
import monitors
from cases import case, caught, clean, main, sent, stopped
from sources import Event

from haiway_bus import ctx


@case
async def kept_read() -> None:
    """A read that is over and still held holds no event: awaited, stepped by hand, swallowed in C."""
    subscription = sent(*range(8))
    read = anext(subscription)
    event = await read
    alive = ref(event)
    del event
    assert alive() is None

    ctx.send(probe := Event(8))
    alive = ref(probe)
    del probe
    for number in range(1, 8):
        read = anext(subscription)
        steps = read.__await__()
        if number % 2:
            assert next(steps, None) is None
        else:
            assert stopped(next, steps).value.number == number
    read = anext(subscription)
    steps = read.__await__()
    assert alive() is not None
    assert next(steps, None) is None
    assert alive() is None


@case
async def swallowed_where_the_read_is_kept() -> None:
    """By `next` with a default, of a read that a single variable holds: the event does not wait for the read to go."""
    subscription = sent()
    for number in range(2):
        ctx.send(event := Event(number))
        alive = ref(event)
        del event
        steps = anext(subscription).__await__()
        assert next(steps, None) is None
        assert alive() is None


@case
async def kept_read_of_a_dropped_subscription() -> None:
    """Nor does it hold the subscription, and by it a backlog (guarantee 2.14)."""
    for take in ("await", "by hand", "batch"):
        subscription = sent(1, 2)
        read = anext(aiter(subscription.batches(1)) if take == "batch" else subscription)
        if take == "by hand":
            assert next(read.__await__(), None) is None
        else:
            await read
        alive = ref(subscription)
        del subscription
        assert alive() is None, take
        del read


@case
async def dies_in_the_step() -> None:
    """Of a coroutine that takes one event and never reads again, nothing else has to happen for it to go."""
    done = asyncio.Event()

    async def take(read: Any) -> None:
        event = await read
        alive = ref(event)
        del event
        assert alive() is None
        await done.wait()

    async def take_batch(batches: Any) -> None:
        (event,) = await anext(batches)
        alive = ref(event)
        del event
        assert alive() is None
        await done.wait()

    async def take_by_task(subscription: Any) -> None:
        task = asyncio.create_task(anext(subscription))
        alive = ref(await task)
        del task
        await asyncio.sleep(0)  # the step that a task's end began holds the task
        assert alive() is None
        await done.wait()

    async def loop(subscription: Any) -> None:
        async for event in subscription:
            alive = ref(event)
            del event
            assert alive() is None
            await done.wait()

    takers: list[tuple[Any, Callable[[Any], Any]]] = [
        (take, anext),
        (take, lambda subscription: subscription.first()),
        (take_batch, lambda subscription: aiter(subscription.batches())),
        (take_by_task, lambda subscription: subscription),
        (loop, lambda subscription: subscription),
    ]
    for parked in (False, True):
        for take_one, by in takers:
            subscription = sent() if parked else sent(1)
            given = by(subscription)
            task = asyncio.create_task(take_one(given))
            await asyncio.sleep(0)
            if parked:
                ctx.send(Event(1))
            for _ in range(4):
                await asyncio.sleep(0)
            done.set()
            subscription.close()
            await task
            done.clear()


@case
async def delegated_to() -> None:
    """An awaitable of the user's own hands a read on by `yield from`, parked or not."""
    subscription = sent(1)

    class Next:
        def __await__(self) -> Any:
            return (yield from anext(subscription).__await__())

    assert (await Next()).number == 1
    reader = asyncio.create_task(asyncio.wait_for(Next(), 10))
    await asyncio.sleep(0)
    ctx.send(Event(2))
    event = await reader
    del reader
    assert event.number == 2
    alive = ref(event)
    del event
    await asyncio.sleep(0)  # the step that a task's end began holds the task
    assert alive() is None


@case
async def out_of_trouble() -> None:
    """A read in an `except` or `finally` holds on to nothing of the exception that is being dealt with."""

    class Trouble(Exception):
        pass

    subscription = sent(1, 2, 3)

    contexts: list[object] = []

    async def deal() -> ref[Trouble]:
        try:
            raise Trouble
        except Trouble as trouble:
            alive = ref(trouble)
            event = await anext(subscription)
            assert event.number == 1
        try:
            try:
                raise Trouble
            finally:
                async for event in subscription:
                    assert event.number == 2
                    break
        except Trouble as trouble:
            contexts.append(trouble.__context__)
        return alive

    assert (await deal())() is None
    assert contexts == [None]
    clean(caught(subscription), 3)


@case
async def after_a_tool_has_gone() -> None:
    """What tools kept and wrote is gone with them, also in the middle of a loop."""
    tools: list[Callable[[], Any]] = [
        kit.trace,
        lambda: kit.trace(change=True),
        kit.profiler,
        kit.both,
        kit.allocations,
        kit.in_c,
        lambda: kit.collector(gc.DEBUG_SAVEALL),
    ]
    if monitors.monitoring is not None:
        tools += [monitors.monitor, lambda: monitors.monitor(*monitors.EXCEPTIONS)]
    for tool in tools:
        subscription = sent(*range(8))
        alive: list[ref[Event]] = []
        with tool() as shown:
            async for event in subscription:
                alive.append(ref(event))
                if event.number == 3:
                    break
            event = await anext(subscription)
            alive.append(ref(event))
        del event
        if shown is not None:
            shown.look_again()
            assert not shown.wrong, shown.wrong
            shown.drop()
        assert [one() for one in alive] == [None] * 5, tool
        event = await anext(subscription)
        last = ref(event)
        del event
        assert last() is None
        clean(caught(subscription), 6)
        subscription.close()


@case
async def under_a_tool_that_keeps_nothing() -> None:
    """An event goes in the step in which its reader drops it, tool or not."""
    tools: list[Callable[[], Any]] = [
        lambda: kit.trace(keep=False),
        lambda: kit.trace(keep=False, change=True),
        lambda: kit.profiler(keep=False),
        kit.allocations,
        kit.in_c,
    ]
    if monitors.monitoring is not None:
        tools += [
            lambda: monitors.monitor(keep=False),
            lambda: monitors.monitor(keep=False, disable=True),
        ]
    for tool in tools:
        subscription = sent(*range(6))
        with tool():
            async for event in subscription:
                last = event.number == 3
                alive = ref(event)
                del event
                assert alive() is None, tool
                if last:
                    break
            read = anext(subscription)
            event = await read
            alive = ref(event)
            del event
            assert alive() is None, tool
        clean(caught(subscription), 5)
        subscription.close()


@case
async def dumped_while_parked() -> None:
    """faulthandler's timer, while the readers wait and no frame is at work."""
    subscription = sent()

    async def read() -> int:
        async for event in subscription:
            return event.number
        raise AssertionError

    reader = asyncio.create_task(read())
    with tempfile.TemporaryFile() as dump:
        faulthandler.dump_traceback_later(0.02, file=dump)
        await asyncio.sleep(0.08)
        faulthandler.cancel_dump_traceback_later()
        dump.seek(0)
        assert b"leftovers.py" in dump.read()
    ctx.send(Event(1))
    assert await reader == 1


@case
async def left_for_the_end() -> None:
    """Exceptions, reads and events that are still held when the process ends."""
    subscription = sent(*range(6))
    sys.left = [caught(subscription), caught(subscription), anext(subscription)]  # type: ignore[attr-defined]
    event = await anext(subscription)
    sys.left.append(event)  # type: ignore[attr-defined]
    sys.left.append(await anext(subscription))  # type: ignore[attr-defined]
    subscription.close()


if __name__ == "__main__":
    main()

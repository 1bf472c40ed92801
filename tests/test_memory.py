"""Guarantee 3: what is held, by whom, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import types
import weakref
from typing import Any

import pytest

from tests.shared import COUNTS_REFERENCES, let_go, turns

pytestmark = pytest.mark.anyio


class Sent:
    __slots__ = ("__weakref__", "other")


async def test_an_event_is_freed_the_moment_the_last_subscription_has_taken_it(
    hb: Any, no_garbage: None
) -> None:
    """Guarantee 3.2."""
    async with hb.ctx.scope("test"):
        first, second = hb.ctx.subscribe(Sent), hb.ctx.subscribe(Sent)
        event: Any = Sent()
        gone = weakref.ref(event)
        hb.ctx.send(event)
        del event
        await anext(first)
        let_go()
        assert gone() is not None
        await anext(second)
        let_go()
        assert gone() is None


async def test_neither_a_parked_reader_nor_async_for_holds_a_delivered_event(
    hb: Any, no_garbage: None
) -> None:
    """Guarantee 3.2: the reader has let its own variable go, and waits for the next event."""
    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(Sent)
        seen = []

        async def read() -> None:
            async for event in subscription:
                seen.append(weakref.ref(event))
                del event

        task = asyncio.get_running_loop().create_task(read())
        await turns()
        for _ in range(3):
            hb.ctx.send(Sent())
        await turns()
        let_go()
        assert [gone() for gone in seen] == [None, None, None]
        task.cancel()


async def test_subscriptions_share_one_chain(hb: Any) -> None:
    """Guarantee 3.1: an event is referenced once, however many subscriptions wait to take it."""
    if not COUNTS_REFERENCES:
        pytest.skip("this interpreter counts no references")
    async with hb.ctx.scope("test"):
        event = Sent()
        one = hb.ctx.subscribe(Sent)
        before = sys.getrefcount(event)
        hb.ctx.send(event)
        assert sys.getrefcount(event) == before + 1
        del one
        many = [hb.ctx.subscribe(Sent) for _ in range(100)]
        before = sys.getrefcount(event)
        hb.ctx.send(event)
        assert sys.getrefcount(event) == before + 1
        assert sum(subscription.pending for subscription in many) == 100


async def test_a_node_takes_at_most_64_bytes_in_the_compiled_backend(hb: Any) -> None:
    """Guarantee 3.1."""
    if hb.backend != "compiled":
        pytest.skip("the pure backend makes no promise of size")
    from haiway_bus._bus import _chain_c

    assert sys.getsizeof(_chain_c.Node()) <= 64  # with the collector's header


@pytest.mark.parametrize("length", [1_000_000])
async def test_a_dropped_backlog_neither_crashes_nor_leaves_an_object_behind(
    hb: Any, length: int, no_garbage: None
) -> None:
    """Guarantee 3.3, on a small stack: freeing it recursively would overflow 128 KiB after a few thousand nodes."""
    failures: list[BaseException] = []

    def run() -> None:
        async def main() -> None:
            async with hb.ctx.scope("test"):
                for close in (False, True):
                    subscription = hb.ctx.subscribe(Sent)
                    for _ in range(length):
                        hb.ctx.send(Sent())
                    assert subscription.pending == length
                    last = Sent()
                    gone = weakref.ref(last)
                    hb.ctx.send(last)
                    del last
                    if close:
                        subscription.close()
                    del subscription
                    let_go()
                    assert gone() is None

        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    before = threading.stack_size(128 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert failures == []


async def test_a_close_frees_only_what_no_other_subscription_waits_for(
    hb: Any, no_garbage: None
) -> None:
    """Guarantee 2.2, 2.8, 3.2."""
    async with hb.ctx.scope("test"):
        slow = hb.ctx.subscribe(Sent)
        events: list[Any] = [Sent() for _ in range(6)]
        gone = [weakref.ref(event) for event in events]
        for event in events[:3]:
            hb.ctx.send(event)
        later = hb.ctx.subscribe(Sent)
        for event in events[3:]:
            hb.ctx.send(event)
        del event
        events.clear()
        slow.close()
        let_go()
        assert [alive() is None for alive in gone] == [True] * 3 + [False] * 3
        assert later.pending == 3
        assert (await anext(later)) is gone[3]() or gone[3]() is None


async def test_what_is_closed_ends_at_once_and_what_is_dropped_when_it_is_freed(
    hb: Any, no_garbage: None
) -> None:
    """Guarantee 3.5: no collector is needed for a close; for flush() and events(), what was freed is gone."""
    async with hb.ctx.scope("test"):
        for limit in (None, 1):
            subscription = hb.ctx.subscribe(Sent, limit=limit)
            hb.ctx.send(Sent())
            subscription.close()
            assert hb.ctx.events() == {}
            await hb.ctx.flush(Sent, timeout=5)
            subscription = hb.ctx.subscribe(Sent, limit=limit)
            hb.ctx.send(Sent())
            del subscription
            let_go()
            assert hb.ctx.events() == {}
            await hb.ctx.flush(Sent, timeout=5)


async def test_cycles_through_events_subscriptions_and_tasks_are_collected(hb: Any) -> None:
    """Guarantee 3.4."""
    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(Sent)
        event: Any = Sent()
        event.other = subscription
        gone = weakref.ref(event)
        hb.ctx.send(event)
        del event, subscription
        gc.collect()
        assert gone() is None

    async def abandoned() -> list[Any]:
        # A scope that nobody ever leaves: its bus, its channel, the parked task and the task's frame are one cycle.
        scope = hb.ctx.scope("abandoned", isolated=True)
        await scope.__aenter__()
        subscription = hb.ctx.subscribe(Sent)
        hb.ctx.send(Sent())
        return [weakref.ref(subscription), weakref.ref(scope.bus)]

    loop = asyncio.get_running_loop()
    left = await loop.create_task(abandoned())
    await turns()
    gc.collect()
    let_go()
    assert [alive() for alive in left] == [None, None]


async def test_a_reader_that_is_closed_from_the_inside_goes_in_silence(
    hb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee 3.4: the collector finalizes the coroutines of an abandoned task in any order, also innermost first.

    In the pure backend, to close that one lets go of the task, and so of the coroutine that awaits it.
    """
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)

    async def read(subscription: Any) -> None:
        async for _ in subscription:
            pass

    async with hb.ctx.scope("test"):
        task = asyncio.create_task(read(hb.ctx.subscribe(Sent)))
        await turns()
        innermost: Any = task.get_coro()
        while isinstance(
            awaited := getattr(innermost, "cr_await", getattr(innermost, "gi_yieldfrom", None)),
            types.CoroutineType | types.GeneratorType,
        ):
            innermost = awaited
        gone = weakref.ref(task)
        del task, awaited
        innermost.close()
        del innermost
        for _ in range(3):
            gc.collect()
        assert (gone(), raised) == (None, [])


def clear(holder: list[Any]) -> None:
    """In the thread that runs this, what the list held is freed."""
    holder.clear()
    let_go()


async def test_a_subscription_collected_in_another_thread_leaves_its_channel(hb: Any) -> None:
    """Guarantee 2.8, 3.4: the collector runs finalizers in whichever thread it happens to run in."""
    async with hb.ctx.scope("test"):
        bus = hb._bus.current.get()
        holder = [hb.ctx.subscribe(Sent)]
        hb.ctx.send(Sent())
        await asyncio.to_thread(clear, holder)
        await turns()
        assert id(Sent) not in bus.table


async def test_one_that_is_collected_elsewhere_takes_no_other_with_it(hb: Any) -> None:
    """Guarantee 2.8: a new one may stand where the collected one stood, before the loop counts that one out."""
    async with hb.ctx.scope("test"):
        for _ in range(20 if COUNTS_REFERENCES else 3):
            holder = [hb.ctx.subscribe(Sent)]
            thread = threading.Thread(target=clear, args=(holder,))
            thread.start()
            thread.join()
            later = [hb.ctx.subscribe(Sent), hb.ctx.subscribe(Sent, limit=1)]
            await turns()
            assert hb.ctx.events()[Sent].subscriptions == 2
            for subscription in later:
                subscription.close()
        assert hb.ctx.events() == {}


needs_thresholds = pytest.mark.skipif(
    not hasattr(gc, "set_threshold"), reason="nothing here says at which allocation to collect"
)


@needs_thresholds
async def test_the_collector_may_end_subscriptions_while_a_table_is_walked(hb: Any) -> None:
    """Guarantee 3.4, 8.3: it runs at any allocation, and takes types from the table and subscriptions from a type."""

    def leave_garbage() -> None:
        for kind in (Sent, Other):
            for limit in (None, 1):
                cycle: list[Any] = [hb.ctx.subscribe(kind, limit=limit)]
                cycle.append(cycle)

    class Other:
        pass

    types = [type(f"Kept{number}", (), {}) for number in range(10)]
    async with hb.ctx.scope("test"):
        kept = [hb.ctx.subscribe(kind) for kind in types]
        bus = hb._bus.current.get()
        before = gc.get_threshold()
        try:
            for allocations in range(1, 200):
                leave_garbage()
                gc.set_threshold(allocations)
                hb.ctx.events()
                bus.unread()
                await hb.ctx.flush(Sent, timeout=5)
        finally:
            gc.set_threshold(*before)
        gc.collect()
        assert list(hb.ctx.events()) == [one.event_type for one in kept]


@needs_thresholds
async def test_a_type_whose_last_subscription_is_collected_while_one_is_made(hb: Any) -> None:
    """Guarantee 2.1: the collector runs when objects are made, and may take the type from the table just then."""
    before = gc.get_threshold()
    async with hb.ctx.scope("test"):
        for allocations in [*range(1, 40)] * 5:
            cycle: list[Any] = [hb.ctx.subscribe(Sent)]
            cycle.append(cycle)
            del cycle
            gc.set_threshold(allocations)
            try:
                subscription = hb.ctx.subscribe(Sent)
            finally:
                gc.set_threshold(*before)
            hb.ctx.send(Sent())
            assert subscription.pending == 1
            subscription.close()


@needs_thresholds
async def test_a_batch_whose_list_sets_off_the_collector(hb: Any) -> None:
    """Guarantee 2.10: what runs then may close the subscription, or read it."""

    class Owner:
        def __init__(self, subscription: Any) -> None:
            self.subscription = subscription
            self.me = self

        def __del__(self) -> None:
            with contextlib.suppress(asyncio.QueueEmpty):
                self.subscription.receive_nowait()
            self.subscription.close()

    before = gc.get_threshold()
    found: set[Any] = set()
    async with hb.ctx.scope("test"):
        for allocations in range(40):
            for pool in (False, True):
                subscription = hb.ctx.subscribe(Sent)
                if pool:
                    sys.modules["haiway_bus._bus.flush"].share_work(subscription)
                for _ in range(20):
                    hb.ctx.send(Sent())
                gc.collect()
                gc.disable()
                Owner(subscription)
                kept = [[] for _ in range(200)]  # so that no list is left over to be used again
                read = anext(subscription.batches(100))
                gc.set_threshold(gc.get_count()[0] + allocations)
                gc.enable()
                try:
                    found.add(len(await read))
                except StopAsyncIteration:
                    found.add("closed")
                finally:
                    gc.set_threshold(*before)
                    del kept
                gc.collect()
                assert subscription.closed
    assert found <= {"closed", *range(1, 21)}, found


async def test_an_event_whose_del_uses_the_bus_harms_nothing(hb: Any) -> None:
    """Guarantee 3.2, 3.3: freeing an event runs code, which may send, subscribe and close."""
    async with hb.ctx.scope("test"):
        bus = hb._bus.current.get()
        others: list[Any] = []

        class Nasty:
            def __init__(self, subscription: Any) -> None:
                self.subscription = subscription

            def __del__(self) -> None:
                others.append(bus.subscribe(Sent))
                bus.send(Sent())
                self.subscription.close()

        for _ in range(2):
            subscription = hb.ctx.subscribe(Nasty)
            for _ in range(10):
                hb.ctx.send(Nasty(subscription))
            await anext(subscription)
            subscription.close()
            del subscription
            let_go()
        gc.collect()
        assert len(others) == 20
        assert sum(other.pending for other in others) == 20 * 21 // 2

"""Guarantees 4.4 and 4.5: whom `ctx.flush` waits for, and what it costs when many call it at a time."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.shared import turns

pytestmark = pytest.mark.anyio


class Tick:
    def __init__(self, number: int = 0) -> None:
        self.number = number


def callbacks(task: Any) -> int:
    return len(getattr(task, "_callbacks", None) or ())


class TestWhoIsWaitedFor:
    @pytest.mark.parametrize("before", [True, False], ids=["before the call", "during the call"])
    @pytest.mark.parametrize("how", ["returns", "fails", "is cancelled"])
    async def test_a_worker_that_ends_with_its_event_is_done_with_it(
        self, hb: Any, how: str, before: bool
    ) -> None:
        """Guarantee 4.4: or ended; the others of its pool wait for events and need not come back again."""
        gate = asyncio.Event()

        async def work(subscription: Any) -> None:
            async for _ in subscription:
                await gate.wait()
                if how == "fails":
                    raise LookupError
                return

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            workers = [asyncio.create_task(work(subscription)) for _ in range(3)]
            await turns()
            hb.ctx.send(Tick())
            await turns()
            flushing = [] if before else [asyncio.create_task(hb.ctx.flush(Tick, timeout=5))]
            await turns()
            assert not any(one.done() for one in flushing)
            if how == "is cancelled":
                workers[0].cancel()
            gate.set()
            await asyncio.wait(workers[:1])
            await hb.ctx.flush(Tick, timeout=5)
            for one in flushing:
                await one
            subscription.close()
            await asyncio.wait(workers)
            assert isinstance(
                workers[0].exception() if how == "fails" else None, LookupError | None
            )

    @pytest.mark.parametrize("how", ["returns", "fails", "is cancelled"])
    @pytest.mark.parametrize("before", [0, 1, 2], ids="{} events before".format)
    async def test_a_lone_reader_that_ends_with_its_event_is_done_with_it(
        self, hb: Any, how: str, before: int
    ) -> None:
        """Guarantee 4.4: while somebody holds its subscription."""
        gates = [asyncio.Event() for _ in range(3)]

        async def read(subscription: Any) -> None:
            async for event in subscription:
                await gates[event.number].wait()
                if event.number == 2:
                    if how == "fails":
                        raise LookupError
                    return

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            reader = asyncio.create_task(read(subscription))
            await turns()
            for number in range(3 - before - 1, 2):
                hb.ctx.send(Tick(number))
            if before:
                await turns()  # it is at work as the call begins

            async def call() -> None:
                hb.ctx.send(Tick(2))
                await hb.ctx.flush(Tick, timeout=5)

            flushing = asyncio.create_task(call())
            await turns()
            gates[0].set()
            gates[1].set()
            await turns()
            assert not flushing.done()
            if how == "is cancelled":
                reader.cancel()
            gates[2].set()
            await flushing
            assert subscription.pending == 0
            await asyncio.wait([reader])
            assert (how == "fails") == (not reader.cancelled() and reader.exception() is not None)
            # What it costs to know who is at work ends with the call.
            assert subscription._work is None
            with pytest.raises(asyncio.QueueEmpty):
                subscription.receive_nowait()

    async def test_who_takes_an_event_in_a_callback_is_done_with_it_when_he_asks_again(
        self, hb: Any
    ) -> None:
        """Guarantee 4.4: as ever; there is no task whose end could say so."""
        loop = asyncio.get_running_loop()
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            hb.ctx.send(Tick())
            flushing = asyncio.create_task(hb.ctx.flush(Tick, timeout=5))
            await turns()
            loop.call_soon(subscription.receive_nowait)
            await turns()
            assert not flushing.done()

            def ask_again() -> None:
                with pytest.raises(asyncio.QueueEmpty):
                    subscription.receive_nowait()

            loop.call_soon(ask_again)
            await flushing

    async def test_a_worker_is_at_work_on_each_event_of_its_batch(self, hb: Any) -> None:
        """Guarantee 2.10, 4.4: though the last of them was sent after the call."""
        gates = [asyncio.Event(), asyncio.Event()]
        done: list[int] = []

        async def work(subscription: Any, gate: asyncio.Event) -> None:
            async for batch in subscription.batches():
                await gate.wait()
                done.extend(event.number for event in batch)

        async def call() -> None:
            hb.ctx.send(Tick(0))
            await hb.ctx.flush(Tick, timeout=5)

        async def send() -> None:
            hb.ctx.send(Tick(1))

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            for gate in gates:
                hb.ctx.spawn(work, subscription, gate)
            await turns()
            # Both before the first worker is resumed.
            flushing, sending = asyncio.create_task(call()), asyncio.create_task(send())
            await turns()
            assert sending.done()
            hb.ctx.send(Tick(2))
            await turns()
            gates[1].set()
            await turns()
            assert (done, flushing.done()) == ([2], False)
            gates[0].set()
            await flushing
            assert done == [2, 0, 1]

    async def test_who_polls_beside_a_worker_of_the_pool_answers_for_himself_alone(
        self, hb: Any
    ) -> None:
        """Guarantee 2.10, 4.4."""
        gate = asyncio.Event()

        async def handle(event: Any) -> None:
            if event.number == 0:
                await gate.wait()

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.on(Tick, handle, workers=2)
            await turns()
            hb.ctx.send(Tick(0))
            hb.ctx.send(Tick(1))
            await turns()
            flushing = asyncio.create_task(hb.ctx.flush(Tick, timeout=5))
            for _ in range(3):
                await turns(1)
                with pytest.raises(asyncio.QueueEmpty):
                    subscription.receive_nowait()
            assert not flushing.done()
            gate.set()
            await flushing

    @pytest.mark.parametrize("workers", [1, 3])
    async def test_each_caller_waits_for_what_was_sent_before_its_own_call(
        self, hb: Any, workers: int
    ) -> None:
        """Guarantee 4.4: many at a time, each released as soon as it may be."""
        gates = [asyncio.Event() for _ in range(6)]
        released: list[int] = []

        async def handle(event: Any) -> None:
            await gates[event.number].wait()

        async def call(number: int) -> None:
            hb.ctx.send(Tick(number))
            await hb.ctx.flush(Tick, timeout=5)
            released.append(number)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Tick, handle, workers=workers)
            callers = [asyncio.create_task(call(number)) for number in range(len(gates))]
            await turns()
            for number, gate in enumerate(gates):
                assert released == list(range(number))
                gate.set()
                await turns(10)
            await asyncio.gather(*callers)

    async def test_callers_that_wait_for_the_same_are_released_in_their_order(
        self, hb: Any
    ) -> None:
        """Guarantee 4.4, 4.5."""
        order: list[int] = []

        async def call(number: int) -> None:
            await hb.ctx.flush(Tick, timeout=5)
            order.append(number)

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            hb.ctx.send(Tick())
            callers = [asyncio.create_task(call(number)) for number in range(20)]
            await turns()
            subscription.receive_nowait()
            with pytest.raises(asyncio.QueueEmpty):
                subscription.receive_nowait()
            await asyncio.gather(*callers)
        assert order == list(range(20))

    async def test_handlers_that_wait_for_all_others_wait_for_no_handler_of_their_own(
        self, hb: Any
    ) -> None:
        """Guarantee 4.4: without=, called by each worker of a pool at a time."""
        seen: list[int] = []
        flushed: list[int] = []

        async def record(event: Any) -> None:
            await asyncio.sleep(0)
            seen.append(event.number)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Tick, record, workers=2)

            async def handle(event: Any) -> None:
                await hb.ctx.flush(Tick, timeout=5, without=[own])
                assert event.number in seen
                flushed.append(event.number)

            own = hb.ctx.on(Tick, handle, workers=10)
            for number in range(30):
                hb.ctx.send(Tick(number))
            await hb.ctx.flush(Tick, timeout=5)
            assert sorted(flushed) == list(range(30))

    async def test_drops_past_the_goal_leave_the_reader_its_event(self, hb: Any) -> None:
        """Guarantee 4.1, 4.4: who is at work on an earlier event is waited for, what is lost to it is not."""
        gate = asyncio.Event()

        async def read(subscription: Any) -> None:
            async for event in subscription:
                if event.number == 0:
                    await gate.wait()

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick, limit=2)
            hb.ctx.spawn(read, subscription)
            await turns()
            for number in range(3):
                hb.ctx.send(Tick(number))
                await turns()
            flushing = asyncio.create_task(hb.ctx.flush(Tick, timeout=5))
            await turns()
            for number in range(3, 9):
                hb.ctx.send(Tick(number))
            await turns()
            assert (subscription.dropped, flushing.done()) == (6, False)
            gate.set()
            await flushing

    @pytest.mark.parametrize("end", ["close", "drop", "bus"])
    async def test_who_waits_for_what_ends_is_released(self, hb: Any, end: str) -> None:
        """Guarantee 4.4, 5.6: each of many callers, also of different events."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.Bus("other")
            held = [bus.subscribe(Tick), bus.subscribe(Tick, 1)]
            sys.modules["haiway_bus._bus.flush"].share_work(held[1])
            callers = []
            for _ in range(5):
                bus.send(Tick())
                callers += [asyncio.create_task(bus.flush(Tick, 5)) for _ in range(3)]
                await turns()
            if end == "close":
                for one in held:
                    one.close()
            elif end == "drop":
                held.clear()
                gc.collect()
            else:
                bus.close()
                assert [one.pending for one in held] == [5, 1]
            await asyncio.gather(*callers)

    async def test_an_observer_that_fails_holds_up_nobody(self, hb: Any) -> None:
        """Guarantee 4.2, 4.4: told of drops by a subscription that is being closed."""

        def fail(*_: Any) -> None:
            raise OSError("nobody listens")

        async with hb.ctx.scope("test"):
            bus = hb._bus.Bus("other")
            full = bus.subscribe(Tick, 1)
            flushing = asyncio.create_task(bus.flush(Tick, 5))
            for _ in range(2):
                bus.send(Tick())
            await turns(1)
            bus.observer = fail
            with pytest.raises(OSError, match="nobody listens"):
                full.close()
            await flushing

    async def test_callers_that_run_out_of_time_or_are_cancelled_leave_nothing(
        self, hb: Any
    ) -> None:
        """Guarantee 4.4, 4.5: neither with the subscription nor with its workers, and nobody else is disturbed."""
        gate = asyncio.Event()
        tasks: set[Any] = set()

        async def handle(event: Any) -> None:
            tasks.add(asyncio.current_task())
            await gate.wait()

        handle.__qualname__ = "handle"

        async def late() -> str:
            hb.ctx.send(Tick())
            with pytest.raises(TimeoutError) as error:
                await hb.ctx.flush(Tick, timeout=0.001)
            return str(error.value)

        async with hb.ctx.scope("test"):
            read = hb.ctx.subscribe(Tick)
            hb.ctx.on(Tick, handle, workers=2)
            hb.ctx.send(Tick())
            hb.ctx.send(Tick())
            await turns()
            before = [callbacks(one) for one in tasks]
            patient = asyncio.create_task(hb.ctx.flush(Tick, timeout=5))
            cancelled = [asyncio.create_task(hb.ctx.flush(Tick)) for _ in range(5)]
            texts = await asyncio.gather(*[late() for _ in range(5)])
            assert {one.partition(": ")[2] for one in texts} == {
                "<Subscription Tick pending=7 open> is behind by "
                f"{number} and was never read; <Subscription Tick 'handle' pending=5 open> is behind by"
                f" {number - 2},"
                " in the hands of 'handle of Tick'"
                for number in range(3, 8)
            }
            for one in cancelled:
                one.cancel()
            await asyncio.wait(cancelled)
            while read.pending:
                read.receive_nowait()
            with pytest.raises(asyncio.QueueEmpty):
                read.receive_nowait()
            assert read._work is None
            assert not patient.done()
            patient.cancel()
            await asyncio.wait([patient])
            assert [callbacks(one) for one in tasks] == before
            gate.set()
            await hb.ctx.flush(Tick, timeout=5)
            assert [callbacks(one) for one in tasks] == before

    async def test_a_time_out_names_ten_of_those_that_are_behind(self, hb: Any) -> None:
        """Guarantee 4.4."""
        async with hb.ctx.scope("test"):
            held = [hb.ctx.subscribe(Tick) for _ in range(25)]
            hb.ctx.send(Tick())
            with pytest.raises(TimeoutError) as error:
                await hb.ctx.flush(Tick, timeout=0.001, without=held[:2])
            assert str(error.value) == (
                "flush() of Tick waited 0.001 s: "
                + "; ".join(
                    ["<Subscription Tick pending=1 open> is behind by 1 and was never read"] * 10
                )
                + "; and 13 more"
            )


def test_a_subscription_can_be_closed_after_a_loop_that_left_a_flush_behind(hb: Any) -> None:
    """Guarantee 2.8, 4.4: the caller will never hear of it, and nothing is raised."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def main() -> Any:
        bus = hb._bus.Bus("left")
        subscription = bus.subscribe(Tick)
        bus.send(Tick())
        flushing = loop.create_task(bus.flush(Tick))
        await turns()
        return subscription, flushing

    subscription, flushing = loop.run_until_complete(main())
    loop.close()
    subscription.close()
    assert subscription.closed
    flushing.get_coro().close()  # and the task, which asyncio cannot end any more, complains to the handler above


@pytest.mark.usefixtures("no_garbage")
class TestTheCost:
    """Guarantee 4.5: what is counted is calls, of Python and of C code, as seconds would differ from run to run.

    Those of finalizers are not: the collector would run what other tests have left.
    """

    async def calls(self, act: Callable[[], Awaitable[Any]]) -> int:
        count = 0

        def called(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        before = sys.getprofile()
        gc.disable()  # what it calls back would be counted
        sys.setprofile(called)
        try:
            await act()
        finally:
            sys.setprofile(before)
            gc.enable()
        return count

    async def test_twice_the_producers_cost_twice_as_much(self, hb: Any) -> None:
        """Guarantee 4.5: each sends one event and waits for it to be handled, beside a pool of workers."""

        async def handle(event: Any) -> None:
            await asyncio.sleep(0)

        async def produce() -> None:
            hb.ctx.send(Tick())
            await hb.ctx.flush(Tick)

        counts = {}
        for workers in (1, 20):
            for producers in (100, 200, 400):
                async with hb.ctx.scope("test"):
                    subscription = hb.ctx.on(Tick, handle, workers=workers)
                    await turns()
                    counts[producers] = await self.calls(
                        lambda n=producers: asyncio.gather(*[produce() for _ in range(n)])
                    )
                    subscription.close()
            assert counts[400] - counts[200] < 2.2 * (counts[200] - counts[100]), counts

    @pytest.mark.parametrize("end", ["reached", "timed out", "cancelled"])
    async def test_callers_and_subscriptions_do_not_multiply(self, hb: Any, end: str) -> None:
        """Guarantee 4.5: callers that wait for the same, whatever becomes of them."""

        async def act(subscriptions: list[Any], callers: int) -> None:
            timeout = 0.001 if end == "timed out" else None
            calling = [
                asyncio.create_task(hb.ctx.flush(Tick, timeout=timeout)) for _ in range(callers)
            ]
            await turns(1)
            for one in subscriptions if end == "reached" else ():
                one.close()
            for one in calling if end == "cancelled" else ():
                one.cancel()
            await asyncio.gather(*calling, return_exceptions=True)

        counts = []
        for size in (50, 100, 200):
            async with hb.ctx.scope("test"):
                subscriptions = [hb.ctx.subscribe(Tick) for _ in range(size)]
                hb.ctx.send(Tick())
                counts.append(await self.calls(lambda s=subscriptions, n=size: act(s, n)))
                for one in subscriptions:
                    one.close()
        assert counts[2] - counts[1] < 2.4 * (counts[1] - counts[0]), counts

    async def test_what_callers_left_behind_costs_a_read_nothing(self, hb: Any) -> None:
        """Guarantee 4.5: however many have waited in vain, each for other events."""
        counts = []
        async with hb.ctx.scope("test", turn=math.inf):
            for callers in (1, 50):
                subscription = hb.ctx.subscribe(Tick)
                for _ in range(50):
                    hb.ctx.send(Tick())
                    if callers:
                        with pytest.raises(TimeoutError):
                            await hb.ctx.flush(Tick, timeout=0)
                        callers -= 1

                async def read(subscription: Any = subscription) -> None:
                    while subscription.pending:
                        await anext(subscription)

                counts.append(await self.calls(read))
                subscription.close()
        assert counts[0] == counts[1]

"""Guarantee 2, 6.2 in large numbers: everything counted, exactly."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from typing import Any

import pytest

THREADS = 8
# HAIWAY_BUS_FULL=1 sends several times as many: `.ci/more` does.
FULL = os.environ.get("HAIWAY_BUS_FULL") == "1"


class Sent:
    __slots__ = ("number", "sender")

    def __init__(self, sender: int, number: int) -> None:
        self.sender = sender
        self.number = number


class Order:
    """Checks that the numbers of each sender come as 0, 1, 2 and so on."""

    def __init__(self) -> None:
        self.next = [0] * THREADS

    def saw(self, event: Any) -> None:
        assert event.number == self.next[event.sender]
        self.next[event.sender] += 1


def start(work: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work, *arguments))
    thread.start()
    return thread


def test_the_events_of_eight_threads_are_counted_exactly(hb: Any) -> None:
    """Guarantee 5.4, 6.2: the order of each thread kept, nothing lost, in a scope that ends when they are done."""
    each = 100_000 if FULL else 20_000

    def produce(sender: int) -> None:
        for number in range(each):
            hb.ctx.send(Sent(sender, number))

    async def main() -> None:
        seen, batched = Order(), Order()

        async def read_batches(subscription: Any) -> None:
            async for batch in subscription.batches():
                for event in batch:
                    batched.saw(event)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Sent, seen.saw, errors="raise")
            hb.ctx.spawn(read_batches, hb.ctx.subscribe(Sent))
            for sender in range(THREADS):
                hb.ctx.spawn(asyncio.to_thread, produce, sender)
        assert seen.next == batched.next == [each] * THREADS

    asyncio.run(main())


def test_scopes_that_end_while_eight_threads_send_lose_nothing_they_accepted(hb: Any) -> None:
    """Guarantee 5.6, 6.2: each send arrives, or raises ContextMissing; from the first that raises on, all do."""

    async def main() -> None:
        for rounds in range(10):
            accepted = [0] * THREADS
            refused = [0] * THREADS

            def produce(sender: int, accepted: Any = accepted, refused: Any = refused) -> None:
                while not refused[sender]:
                    try:
                        hb.ctx.send(Sent(sender, accepted[sender]))
                        accepted[sender] += 1
                    except hb.ContextMissing:
                        refused[sender] += 1
                with pytest.raises(hb.ContextMissing, match="had ended"):
                    hb.ctx.send(Sent(sender, -1))
                refused[sender] += 1

            seen, unread = Order(), Order()
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.subscribe(Sent)
                first = hb.ctx.subscribe(Sent)
                reading = asyncio.get_running_loop().create_task(_read(subscription, seen))
                threads = [start(produce, sender) for sender in range(THREADS)]
                while first.pending < 1000 * (rounds + 1):  # until they are in the middle of it
                    await asyncio.sleep(0)
            for thread in threads:
                await asyncio.to_thread(thread.join)
            await reading
            await _read(first, unread)
            assert seen.next == unread.next == accepted
            assert refused == [2] * THREADS

    asyncio.run(main())


async def _read(subscription: Any, into: Order) -> None:
    async for event in subscription:
        into.saw(event)


def test_the_deliveries_to_ten_thousand_subscriptions_are_counted_exactly(hb: Any) -> None:
    """Guarantee 2.1, 2.2."""
    events = 100 if FULL else 40
    totals = [0] * 10_000

    async def read(place: int) -> None:
        async for event in hb.ctx.subscribe(Sent):
            assert event.number == totals[place]
            totals[place] += 1

    async def main() -> None:
        async with hb.ctx.scope("test"):
            for place in range(len(totals)):
                hb.ctx.spawn(read, place)
            await asyncio.sleep(0)
            for number in range(events):
                hb.ctx.send(Sent(0, number))
                if number % 10 == 0:
                    await asyncio.sleep(0)
        assert totals == [events] * len(totals)

    asyncio.run(main())


def test_a_stream_of_bursts_through_one_subscription_is_counted_exactly(hb: Any) -> None:
    """Guarantee 2.1, 2.6: in bursts, with a pool beside it that shares them."""
    total = 1_000_000 if FULL else 200_000

    async def main() -> None:
        seen = Order()
        shared = 0
        async with hb.ctx.scope("test"):
            pool = hb.ctx.subscribe(Sent)

            async def work() -> None:
                nonlocal shared
                async for batch in pool.batches(100):
                    shared += len(batch)

            hb.ctx.spawn(_read, hb.ctx.subscribe(Sent), seen)
            for _ in range(4):
                hb.ctx.spawn(work)
            await asyncio.sleep(0)
            for number in range(total):
                hb.ctx.send(Sent(0, number))
                if number % 5000 == 0:
                    await asyncio.sleep(0)
        assert (seen.next[0], shared, pool.pending) == (total, total, 0)

    asyncio.run(main())

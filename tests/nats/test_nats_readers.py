"""What the local readers have taken, and may be acknowledged, and what they have not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from test_nats_bridge import Order, publish, publisher, reader, run, until

from haiway_bus import State, ctx
from haiway_bus.integrations.nats import NatsBridge, WireType


def billing(server: Any, **options: Any) -> NatsBridge:
    return NatsBridge(server.url, subscribe=[Order], durable="billing", heartbeat=0.3, **options)


async def rest(server: Any, number: int) -> list[int]:
    """What the successor of a process gets."""
    async with reader(server, "billing") as (taken, _):
        await until(lambda: len(set(taken)) == number)
        return sorted(set(taken))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_handler_that_was_cancelled_has_not_handled_its_event(server: Any, workers: int) -> None:
    async def main() -> None:
        await publish(server, range(5))
        begun: list[int] = []
        audit: list[Order] = []

        async def slow(order: Order) -> None:
            begun.append(order.number)
            await asyncio.sleep(60)

        async def service() -> None:
            async with ctx.scope("service", disposables=[bridge], isolated=True):
                ctx.on(Order, slow, workers=workers)
                kept = ctx.on(Order, audit.append)
                await asyncio.sleep(60)
                kept.close()

        bridge = billing(server)
        task = asyncio.create_task(service())
        await until(lambda: len(begun) == workers and len(audit) == 5)
        task.cancel()  # as Ctrl+C does
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bridge.stats().acknowledged == 0
        assert await rest(server, 5) == list(range(5))

    run(main())


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("others", [0, 1])
def test_the_event_that_a_handler_failed_the_scope_with_is_delivered_again(
    server: Any, workers: int, others: int
) -> None:
    async def main() -> None:
        await publish(server, range(20))
        handled: set[int] = set()

        async def fails(order: Order) -> None:
            await asyncio.sleep(0)
            if order.number == 19:  # the last: the other workers have come back for more
                raise ConnectionError("the database is away")
            handled.add(order.number)

        bridge = billing(server)
        with pytest.raises(ExceptionGroup, match="errors in the scope"):
            async with ctx.scope("service", disposables=[bridge], isolated=True):
                kept = [ctx.on(Order, fails, workers=workers, errors="raise")]
                kept += [ctx.on(Order, lambda order: None) for _ in range(others)]
                await asyncio.sleep(30)
        left = set(range(20)) - handled
        assert 19 in left
        async with reader(server, "billing") as (taken, _):
            await until(lambda: left <= set(taken))

    run(main())


def test_a_scope_within_that_fails_has_its_events_delivered_again_when_all_fails_with_it(
    server: Any,
) -> None:
    async def main() -> None:
        await publish(server, range(5))
        begun: list[int] = []

        async def slow(order: Order) -> None:
            begun.append(order.number)
            await asyncio.sleep(60)

        bridge = billing(server)
        with pytest.raises(ValueError, match="on purpose"):
            async with ctx.scope("service", disposables=[bridge], isolated=True):
                ctx.on(Order, lambda order: None)
                async with ctx.scope("request"):
                    ctx.on(Order, slow)
                    await until(lambda: begun)
                    raise ValueError("on purpose")
        assert bridge.stats().acknowledged == 0
        assert await rest(server, 5) == list(range(5))

    run(main())


def test_a_reader_that_leaves_while_others_stay_holds_nothing_up(server: Any) -> None:
    async def main() -> None:
        async with reader(server, "billing") as (taken, bridge):
            leaves = ctx.subscribe(Order)
            await publish(server, range(5))
            await until(lambda: len(taken) == 5)
            assert bridge.stats().acknowledged == 0
            leaves.close()
            await until(lambda: bridge.stats().acknowledged == 5)

    run(main())


def test_only_the_outbox_of_its_own_class_is_no_reader(server: Any) -> None:
    class Incoming:
        class Order(State):
            number: int

    async def main() -> None:
        await publish(server, range(20))
        # One class under two names: its own outbox is the only subscription, and there is no reader.
        alone = NatsBridge(
            server.url, publish=[WireType(Order, "out")], subscribe=[Order], durable="alone"
        )
        async with ctx.scope("alone", disposables=[alone], isolated=True):
            await asyncio.sleep(0.5)
            assert alone.stats().received == 0
            taken: list[int] = []
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: len(taken) == 20)
        # Two classes of one name: the one that is published has nothing to do with the other.
        two = NatsBridge(server.url, publish=[Order], subscribe=[Incoming.Order], durable="two")
        async with ctx.scope("two", disposables=[two], isolated=True):
            others: list[int] = []
            ctx.on(Incoming.Order, lambda order: others.append(order.number))
            await until(lambda: len(others) == 20)

    run(main())


def test_what_comes_in_does_not_wait_for_what_cannot_go_out(server: Any) -> None:
    from nats.js.api import DiscardPolicy, RetentionPolicy

    queue = {
        "retention": RetentionPolicy.WORK_QUEUE,
        "max_msgs": 10,
        "discard": DiscardPolicy.NEW,
    }

    async def main() -> None:
        await publish(server, range(10), stream_options=queue)
        bridge = publisher(
            server, subscribe=[Order], durable="work", stream_options=queue, heartbeat=0.3
        )
        async with ctx.scope("both", disposables=[bridge], isolated=True):
            ctx.send(Order(number=100))  # the stream is full: it waits for room
            taken: list[int] = []
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: len(taken) == 10)
            await ctx.flush(Order, timeout=15)
            # What was received meanwhile was passed over, and not published again.
            assert bridge.stats().published == 1
            await until(lambda: bridge.stats().acknowledged == 11)
        assert sorted(taken) == list(range(10))

    run(main())


def test_what_was_received_is_not_reported_as_unpublished(server: Any) -> None:
    from nats.js.api import DiscardPolicy

    full = {"max_msgs": 5, "discard": DiscardPolicy.NEW}

    async def main() -> None:
        await publish(server, range(5), stream_options=full)
        bridge = publisher(
            server, subscribe=[Order], durable="both", stream_options=full, drain_timeout=0.5
        )
        async with ctx.scope("both", disposables=[bridge], isolated=True):
            ctx.send(Order(number=100))  # the stream stays full
            taken: list[int] = []
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: bridge.stats().acknowledged == 5)
        assert bridge.report is not None
        assert bridge.report.unpublished == {"Order": (Order(number=100),)}
        from haiway_bus.integrations._nats.messages import _in_hand

        assert not _in_hand

    run(main())

"""The consumers on the server: whose they are, and where one goes on that was forgotten there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from test_nats_bridge import Order, nats, publish, reader, run, until

from haiway_bus import ctx
from haiway_bus.integrations._nats.deliveries import StreamPosition
from haiway_bus.integrations.nats import NatsBridge, WireType


def test_no_two_pairs_of_group_and_type_share_a_consumer(server: Any) -> None:
    async def main() -> None:
        foreign = WireType(Order, "us-Order")
        taken: dict[str, list[int]] = {"shop": [], "shop-us": []}
        one = NatsBridge(server.url, subscribe=[foreign], durable="shop", heartbeat=0.3)
        two = NatsBridge(server.url, subscribe=[Order], durable="shop-us", heartbeat=0.3)
        out = NatsBridge(server.url, publish=[foreign])
        async with ctx.scope("shop", disposables=[one], isolated=True):
            ctx.on(Order, lambda order: taken["shop"].append(order.number))
            async with ctx.scope("shop-us", disposables=[two], isolated=True):
                ctx.on(Order, lambda order: taken["shop-us"].append(order.number))
                await publish(server, range(10))
                async with ctx.scope("out", disposables=[out], isolated=True):
                    for number in range(20, 30):
                        ctx.send(Order(number=number))
                await until(lambda: all(len(numbers) == 10 for numbers in taken.values()))
                await asyncio.sleep(0.3)
        assert taken == {"shop": list(range(20, 30)), "shop-us": list(range(10))}

    run(main())


def test_a_group_of_another_prefix_in_the_same_stream_is_an_error(server: Any) -> None:
    async def main() -> None:
        client = await nats.connect(server.url)
        js = client.jetstream()
        await js.add_stream(name="all", subjects=["prod.events.>", "test.events.>"])
        await js.add_stream(name="all-dead", subjects=["prod.dead.>", "test.dead.>"])
        await client.close()
        options: dict[str, Any] = {"stream": "all", "subject_prefix": "prod"}
        async with reader(server, "billing", **options) as (taken, _):
            await publish(server, range(10), **options)
            await until(lambda: len(taken) == 10)
            options["subject_prefix"] = "test"
            with pytest.raises(ExceptionGroup) as caught:
                async with reader(server, "billing", **options):
                    await asyncio.sleep(10)
            assert caught.group_contains(
                RuntimeError, match=r"brings \['prod.events.Order'\], and not 'test.events.Order'"
            )
            async with reader(server, "billing-of-test", **options) as (others, _):
                await publish(server, range(10, 20), **options)
                await until(lambda: others == list(range(10, 20)))
        assert taken == list(range(10))

    run(main())


async def forgotten(server: Any) -> None:
    """Have the server forget its only consumer, as it does when nobody has pulled for long."""
    client = await nats.connect(server.url)
    js = client.jetstream()
    (consumer,) = await js.consumers_info("haiway")
    await js.delete_consumer("haiway", consumer.name)
    await client.close()


def test_without_a_group_a_forgotten_consumer_goes_on_after_what_was_acknowledged(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        bridge = NatsBridge(server.url, subscribe=[Order], heartbeat=0.3)
        taken: list[int] = []
        go_on = asyncio.Event()

        async def handle(order: Order) -> None:
            taken.append(order.number)
            if order.number == 3:
                await go_on.wait()

        await publish(server, range(100, 105))  # before its start: not for it
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(Order, handle)
            client = await nats.connect(server.url)
            await until_consumer(client)
            await client.close()
            await publish(server, range(4))
            await until(lambda: 3 in taken)
            await forgotten(server)
            await publish(server, range(4, 20))  # meanwhile
            go_on.set()
            await until(lambda: 19 in taken)
            assert taken == list(range(20))

    run(main())
    assert "was gone" in caplog.text


async def until_consumer(client: Any) -> None:
    async with asyncio.timeout(10):
        while not await client.jetstream().consumers_info("haiway"):
            await asyncio.sleep(0.02)


def test_without_a_group_what_was_not_taken_is_delivered_by_the_next_consumer(server: Any) -> None:
    async def main() -> None:
        bridge = NatsBridge(server.url, subscribe=[Order], heartbeat=0.3)
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            unread = ctx.subscribe(Order)
            client = await nats.connect(server.url)
            await until_consumer(client)
            await client.close()
            await publish(server, range(10))
            await until(lambda: unread.pending)
            unread.close()
            await until(lambda: bridge.stats().unacknowledged == {"Order": 0})
            await forgotten(server)
            taken: list[int] = []
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: len(taken) == 10)
            assert sorted(taken) == list(range(10))

    run(main())


def test_a_consumer_that_takes_small_requests_only_is_asked_in_small_ones(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await publish(server, range(500))
        client = await nats.connect(server.url)
        made = await client.request(
            "$JS.API.CONSUMER.DURABLE.CREATE.haiway.billing=Order",
            json.dumps(
                {
                    "stream_name": "haiway",
                    "config": {
                        "durable_name": "billing=Order",
                        "filter_subject": "haiway.events.Order",
                        "ack_policy": "explicit",
                        "max_batch": 100,
                    },
                }
            ).encode(),
        )
        assert b"error" not in made.data
        await client.close()
        async with reader(server, "billing") as (taken, bridge):
            await until(lambda: len(taken) == 500)
            # 512 and 256 were refused, and no request was as large since.
            assert bridge.stats().stalls <= 3

    run(main())
    assert "pulling Order from NATS again: 409 Exceeded MaxRequestBatch of 100" in caplog.text


def test_a_request_that_the_server_refuses_is_told_and_not_repeated_at_once(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await publish(server, range(5))
        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing", heartbeat=1e10)
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(Order, lambda order: None)
            await asyncio.sleep(1)
            assert 1 <= bridge.stats().stalls < 20

    run(main())
    warnings = [
        one for one in caplog.records if "pulling Order from NATS again" in one.getMessage()
    ]
    assert len([one for one in warnings if one.levelname == "WARNING"]) == 1
    assert "400 Bad Request" in caplog.text


def test_all_is_done_with_up_to_the_first_that_went_back() -> None:
    position = StreamPosition()
    assert position.after is None
    position.begin(5)
    assert position.after == 5
    position.acknowledged(6)
    position.acknowledged(9)
    assert position.after == 9
    position.given_back(8)
    position.given_back(11)
    assert position.after == 7
    position.acknowledged(8)
    assert position.after == 10
    # The consumer that was there all the time, and one made anew.
    position.begin(11)
    assert position.after == 10
    # In a stream that was made anew.
    position.begin(0)
    assert position.after == 0

"""Dead letters of hostile messages: no header of another sender stops a group or a relay."""

from __future__ import annotations

from typing import Any

import pytest

nats = pytest.importorskip("nats", reason="needs nats-py")

from haiway_bus import State, ctx
from haiway_bus.integrations._nats.messages import about
from haiway_bus.integrations.nats import NatsBridge
from tests.shared import run, until

SUBJECT = "haiway.events.Order"


class Order(State):
    number: int


def publisher(server: Any) -> NatsBridge:
    return NatsBridge(server.url, publish=[Order], reconnect_timeout=0.3)


async def have_stream(server: Any) -> None:
    async with ctx.scope("setup", disposables=[publisher(server)], isolated=True):
        pass


async def dead_letters(server: Any) -> list[Any]:
    client = await nats.connect(server.url)
    try:
        js = client.jetstream()
        number = (await js.stream_info("haiway-dead")).state.messages
        found = await js.pull_subscribe("haiway.dead.>", stream="haiway-dead")
        return await found.fetch(number, timeout=5) if number else []
    finally:
        await client.close()


HOSTILE = {
    "a name that is no name": b"\r\nHaiway-Type: Order\r\nHaiway-(x): 1\r\nHaiway-Version: nope",
    "a name without end": b"\r\nHaiway-Type: Order\r\nHaiway-%b: 1\r\nHaiway-Version: no"
    % (b"x" * 65000),
    "headers of 64 KiB": b"\r\nHaiway-Type: Order\r\nHaiway-Hops: "
    + b",".join(b"%016x" % number for number in range(3847)),
    "a long hop": b"\r\nHaiway-Type: Order\r\nHaiway-Version: no\r\nHaiway-Hops: " + b"h" * 65300,
    "a long id": b"\r\nHaiway-Type: Order\r\nHaiway-Version: no\r\nNats-Msg-Id: " + b"i" * 65300,
    "a long trace": b"\r\nHaiway-Type: Order\r\nHaiway-Version: no\r\ntraceparent: " + b"t" * 65300,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_message_with_hostile_headers_becomes_a_dead_letter_and_stops_nothing(
    server: Any, what: str
) -> None:
    async def main() -> None:
        await have_stream(server)
        server.publish_raw(SUBJECT, HOSTILE[what], b'{"number": 0}')
        server.publish_raw(SUBJECT, b"\r\nHaiway-Type: Order", b'{"number": 1}')
        taken: list[int] = []
        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing", heartbeat=0.3)
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: taken == [1])
            assert bridge.stats().dead == 1
        (letter,) = await dead_letters(server)
        assert letter.data == b'{"number": 0}'
        assert letter.headers["Haiway-Type"] == "Order"

    run(main())


def test_what_a_relay_passes_on_is_taken_however_long_the_headers_were(servers: Any) -> None:
    async def main() -> None:
        left, right = servers("left"), servers("right")
        await have_stream(left)
        for name in (b"traceparent", b"Nats-Msg-Id", b"Haiway-Origin", b"Haiway-Hops"):
            value = b"x" * 65400
            left.publish_raw(
                SUBJECT, b"\r\nHaiway-Type: Order\r\n" + name + b": " + value, b'{"number": 1}'
            )
        inward = NatsBridge(left.url, subscribe=[Order], durable="relay", heartbeat=0.3)
        outward = publisher(right)
        async with ctx.scope("relay", disposables=[inward, outward], isolated=True):
            await until(lambda: outward.stats().published == 4)
            assert outward.stats().refused == 0
            assert inward.stats().dead == 0

    run(main())


def test_long_message_ids_that_differ_stay_different() -> None:
    one, two = (
        about({"Nats-Msg-Id": "i" * 60000 + end, "traceparent": "t" * 300}, 1, 1) for end in "ab"
    )
    assert one.message_id != two.message_id
    assert len(one.message_id) < 100
    assert one.traceparent == ""
    assert about({"Nats-Msg-Id": "order:1"}, 1, 1).message_id == "order:1"


def test_an_event_whose_headers_no_server_takes_is_refused_and_the_others_go_on(
    server: Any,
) -> None:
    async def main() -> None:
        traces = iter(["t" * 70000, "", ""])
        bridge = NatsBridge(server.url, publish=[Order], traceparent=lambda: next(traces))
        async with ctx.scope("publisher", disposables=[bridge], isolated=True):
            for number in range(3):
                ctx.send(Order(number=number))
            await ctx.flush(Order, timeout=10)
            assert (bridge.stats().published, bridge.stats().refused) == (2, 1)

    run(main())


def test_a_dead_letter_that_fits_only_with_the_headers_of_the_bridge_is_kept(servers: Any) -> None:
    async def main() -> None:
        server = servers(max_payload=1024)
        await have_stream(server)
        headers = b"\r\nHaiway-Type: Order\r\nHaiway-Version: no\r\nHaiway-Hops: " + b"h" * 780
        server.publish_raw(SUBJECT, headers, b'{"number": 0, "what": "valuable"}')
        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing", heartbeat=0.3)
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(Order, print)
            await until(lambda: bridge.stats().acknowledged == 1)
        (letter,) = await dead_letters(server)
        assert "which is no number" in letter.headers["Haiway-Dead-Reason"]
        assert letter.headers["Haiway-Dead-Sequence"] == "1"
        assert letter.headers["Haiway-Dead-Truncated"] == "33"

    run(main())


def test_a_message_whose_dead_letter_is_refused_is_not_acknowledged_and_stops_nothing(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await have_stream(server)
        client = await nats.connect(server.url)
        js = client.jetstream()
        config = (await js.stream_info("haiway-dead")).config
        config.max_msg_size = 50
        await js.update_stream(config)
        server.publish_raw(SUBJECT, b"\r\nHaiway-Type: Order", b"poison")
        server.publish_raw(SUBJECT, b"\r\nHaiway-Type: Order", b'{"number": 1}')
        taken: list[int] = []
        bridge = NatsBridge(
            server.url, subscribe=[Order], durable="billing", heartbeat=0.3, ack_wait=0.6
        )
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: bridge.stats().acknowledged == 1)
            assert taken == [1]
            assert bridge.stats().dead == 0
            config.max_msg_size = -1
            await js.update_stream(config)
            await until(lambda: bridge.stats().acknowledged == 2)
            assert bridge.stats().dead == 1
        await client.close()
        assert len(await dead_letters(server)) == 1

    run(main())
    assert "is refused by the server, however small" in caplog.text

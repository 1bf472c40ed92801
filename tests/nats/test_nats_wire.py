"""The message format: what other versions, other publishers and broken publishers send, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

nats = pytest.importorskip("nats", reason="needs nats-py")

from haiway_bus import State, StateError, ctx
from haiway_bus.integrations._nats.addresses import Redaction, shown
from haiway_bus.integrations._nats.decoding import Undecodable, decode, prune
from haiway_bus.integrations._nats.server_streams import _covers
from haiway_bus.integrations.nats import (
    NatsBridge,
    NatsEventRefused,
    NatsPayloadTooLarge,
    WireType,
    received,
)
from tests.shared import run, until


class Item(State):
    name: str


class Order(State):
    number: int
    items: Sequence[Item] = ()
    extra: Item | None = None
    note: str = "none"


class Blob(State):
    data: str


HEADERS = {"Haiway-Type": "Order", "Haiway-Version": "1"}


def order(body: Any, wire: WireType | None = None, **headers: str) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode(wire or WireType(Order), HEADERS | headers, text)


class Card(State):
    kind: Literal["card"]
    number: str = ""


class Wire(State):
    kind: Literal["wire"]
    iban: str = ""


class Paid(State):
    by: Card | Wire | None
    others: Sequence[Card | Wire] = ()


class Metres(State):
    length: int
    metres: int = 0


class Feet(State):
    length: int
    feet: int


class Node(State):
    next: Node | None = None


class Measured(State):
    value: Metres | Feet


def test_an_unknown_field_does_not_make_a_member_of_a_union_another() -> None:
    """Guarantee 7.7: the tag says whose fields these are, and where there is none, the fields that are known."""
    wire = {"kind": "wire", "iban": "DE", "new": 1}
    assert prune(Paid, {"by": wire, "others": [wire], "new": 1}) == {
        "by": {"kind": "wire", "iban": "DE"},
        "others": [{"kind": "wire", "iban": "DE"}],
    }
    unknown = {"by": {"kind": "cash", "iban": "DE", "new": 1}}
    assert prune(Paid, unknown) == unknown  # the class says what is wrong with it
    assert prune(Measured, {"value": {"length": 1, "feet": 2, "new": 3}}) == {
        "value": {"length": 1, "feet": 2}
    }


def test_unknown_fields_are_passed_over_at_any_depth_and_missing_ones_have_defaults() -> None:
    body = {
        "number": 1,
        "new": 1,
        "items": [{"name": "a", "new": 2}],
        "extra": {"name": "b", "new": 3},
    }
    assert order(body) == Order(number=1, items=(Item(name="a"),), extra=Item(name="b"))


def test_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    assert order({"number": 1, "later": 2}, **{"Haiway-Version": "7"}) == Order(number=1)


def test_upcasters_lead_from_version_to_version() -> None:
    def first(plain: dict[str, Any]) -> dict[str, Any]:
        return {"number": int(plain["id"])}

    def third(plain: dict[str, Any]) -> dict[str, Any]:
        return plain | {"note": "third"}

    wire = WireType(Order, version=4, upcasters={1: first, 3: third})
    assert order({"id": "5"}, wire) == Order(number=5, note="third")
    assert order({"number": 5}, wire, **{"Haiway-Version": "4"}) == Order(number=5)
    with pytest.raises(Undecodable, match="the upcaster of Order from version 1 raised"):
        order({}, wire)
    with pytest.raises(Undecodable, match="gave list, not a dict"):
        order({}, WireType(Order, version=2, upcasters={1: lambda _: []}))  # type: ignore[dict-item, return-value]


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"\xff\xfe", {}, "not JSON"),
        (b"{", {}, "not JSON"),
        (b"[" * 100_000, {}, "not JSON"),
        (b'{"number": NaN}', {}, "not JSON"),
        (b"[]", {}, "a JSON object is expected"),
        (b'{"number": "x"}', {}, "Order.number: expected int"),
        (b"{}", {}, "missing"),
        (b"{}", {"Haiway-Type": "os.system"}, "'os.system'"),
        (b"{}", {"Haiway-Type": ""}, "is expected"),
        (b"{}", {"Haiway-Version": "-1"}, "no number"),
        (b"{}", {"Haiway-Version": "9" * 5000}, "missing"),
    ],
)
def test_what_makes_no_event_says_why(body: bytes, headers: dict[str, str], reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        order(body, **headers)


def test_pruning_leaves_what_it_knows_nothing_of() -> None:
    class Loose(State):
        anything: Any
        table: Mapping[str, Item]

    plain = {"anything": {"x": 1}, "table": {"a": {"name": "n", "z": 1}}, "gone": 1}
    assert prune(Loose, plain) == {"anything": {"x": 1}, "table": {"a": {"name": "n"}}}


class Unclear(State):
    value: str | datetime


class Holds(State):
    unclear: Sequence[Unclear]


@pytest.mark.parametrize("event", [Unclear, Holds, WireType(Holds, name="Other")])
def test_unions_that_json_cannot_tell_apart_are_refused_when_the_bridge_is_made(event: Any) -> None:
    """Guarantee 7.7: not at the first event."""
    for types in ({"publish": [event]}, {"subscribe": [event]}):
        with pytest.raises(StateError, match="fine in memory"):
            NatsBridge("nats://127.0.0.1:1", **types)


def test_a_body_that_is_nested_too_deeply_makes_no_event() -> None:
    """Guarantee 7.7: whatever the text, one kind of refusal."""
    for levels in (300, 600, 900, 100_000):
        body = b'{"new":1,"next":' * levels + b"1" + b"}" * levels
        with pytest.raises(Undecodable):
            decode(WireType(Node), {"Haiway-Type": "Node"}, body)


def test_types_that_cannot_travel_are_refused_when_the_bridge_is_made() -> None:
    @dataclass
    class Plain:
        number: int

    with pytest.raises(TypeError, match="carries classes of State"):
        NatsBridge("nats://127.0.0.1", publish=[Plain])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="a type's name on the wire"):
        WireType(Order, name="a.b")
    with pytest.raises(ValueError, match="version"):
        WireType(Order, version=0)
    with pytest.raises(ValueError, match="two types named 'Order'"):
        NatsBridge("nats://127.0.0.1", publish=[Order, WireType(Blob, name="Order")])
    for wrong in (
        {"durable": "a b"},
        {"stream": "a.b"},
        {"subject_prefix": "a..b"},
        {"outbox": 0},
        {"ack_wait": 0},
        {"errors": "ignore"},
        {"connect": {"allow_reconnect": True}},
    ):
        with pytest.raises(ValueError, match=r"=|connect options"):
            NatsBridge("nats://127.0.0.1", **wrong)  # type: ignore[arg-type]


def test_secrets_are_kept_out_of_texts() -> None:
    url = "nats://user:p%40ss@127.0.0.1:4222"
    redacted = Redaction([url, "nats://tok3n@h"], {"password": "other", "nkeys_seed_str": "SUAX"})
    assert shown(url) == "nats://127.0.0.1:4222"
    text = redacted(f"cannot reach {url} p@ss tok3n other SUAX")
    for secret in ("p%40ss", "p@ss", "tok3n", "other", "SUAX"):
        assert secret not in text
    assert "p@ss" not in repr(redacted)
    bridge = NatsBridge(url, connect={"password": "other"})
    assert "p%40ss" not in repr(bridge)
    assert "other" not in repr(bridge)


def test_which_subjects_a_stream_covers() -> None:
    assert _covers("haiway.>", "haiway.events.>")
    assert _covers("haiway.events.>", "haiway.events.>")
    assert _covers("*.events.>", "haiway.events.>")
    assert not _covers("haiway.events.Order", "haiway.events.>")
    assert not _covers("other.>", "haiway.events.>")
    assert not _covers("haiway.*", "haiway.events.>")


def test_poison_and_wrong_types_become_dead_letters_and_stop_nothing(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        taken: list[int] = []
        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing")
        async with ctx.scope("reader", disposables=[bridge]):
            ctx.on(Order, lambda order: taken.append(order.number))
            client = await nats.connect(server.url)
            js = client.jetstream()
            subject = "haiway.events.Order"
            for body, headers in (
                (b'{"number": 1}', HEADERS),
                (b"\x00poison", HEADERS),
                (b'{"number": "wrong"}', HEADERS),
                (b'{"number": 2}', HEADERS | {"Haiway-Type": "Another"}),
                (b'{"number": 2}', None),
                (b"x" * 1_040_000, HEADERS),
                (b'{"number": 3}', HEADERS),
            ):
                await js.publish(subject, body, headers=headers)
            await until(lambda: taken == [1, 3])
            await until(lambda: bridge.stats().acknowledged == 7)
            assert bridge.stats().dead == 5
            found = await js.pull_subscribe("haiway.dead.>", "look", stream="haiway-dead")
            dead = [message for _ in range(5) for message in await found.fetch(1, timeout=5)]
            reasons = [message.headers["Haiway-Dead-Reason"] for message in dead]
            assert "not JSON" in reasons[0]
            assert "expected int" in reasons[1]
            assert "'Another'" in reasons[2]
            assert "None" in reasons[3]
            assert dead[0].data == b"\x00poison"
            assert dead[0].headers["Haiway-Dead-Group"] == "billing"
            assert dead[0].headers["Haiway-Dead-Sequence"] == "2"
            await client.close()

    run(main())
    assert "becomes a dead letter" in caplog.text


def test_an_event_that_ends_who_handles_it_becomes_a_dead_letter(server: Any) -> None:
    async def main() -> None:
        async with ctx.scope(
            "p", disposables=[NatsBridge(server.url, publish=[Order])], isolated=True
        ):
            ctx.send(Order(number=1))
            await ctx.flush(Order, timeout=10)
        for _ in range(3):
            bridge = NatsBridge(server.url, subscribe=[Order], durable="g", max_deliveries=3)
            with pytest.raises(ExceptionGroup):
                async with ctx.scope("dies", disposables=[bridge]):

                    async def die(order: Order) -> None:
                        raise ValueError("on purpose")

                    ctx.on(Order, die, errors="raise")
                    await asyncio.sleep(10)
        bridge = NatsBridge(server.url, subscribe=[Order], durable="g", max_deliveries=3)
        async with ctx.scope("lives", disposables=[bridge]):
            subscription = ctx.subscribe(Order)
            await until(lambda: bridge.stats().dead == 1)
            assert subscription.pending == 0

    run(main())


def test_an_event_over_the_limit_is_a_clear_error_and_the_others_go_on(
    servers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = servers(max_payload=4096)

    async def main() -> None:
        bridge = NatsBridge(server.url, publish=[Blob])
        refused: list[NatsEventRefused] = []
        async with ctx.scope("p", disposables=[bridge]):
            ctx.on(NatsEventRefused, refused.append)
            with pytest.raises(NatsPayloadTooLarge, match="the server takes at most 4096"):
                bridge.check(Blob(data="x" * 5000))
            bridge.check(Blob(data="x"))
            # Just over the limit with its headers: nats-py checks the body alone, and the server would hang up.
            for size in (10, 5000, 4000, 10):
                ctx.send(Blob(data="x" * size))
            await ctx.flush(Blob, timeout=10)
            stats = bridge.stats()
            assert (stats.published, stats.refused, stats.connections) == (2, 2, 1)
        assert [type(one.error) for one in refused] == [NatsPayloadTooLarge] * 2

        failing = NatsBridge(server.url, publish=[Blob], errors="raise")
        with pytest.raises(ExceptionGroup) as caught:
            async with ctx.scope("p", disposables=[failing]):
                ctx.send(Blob(data="x" * 5000))
                await asyncio.sleep(10)
        assert caught.group_contains(NatsPayloadTooLarge)

    run(main())
    assert "an event of Blob was not published" in caplog.text


def test_a_stream_with_a_limit_of_its_own_refuses_too(server: Any) -> None:
    async def main() -> None:
        bridge = NatsBridge(server.url, publish=[Blob], stream_options={"max_msg_size": 1000})
        async with ctx.scope("p", disposables=[bridge]):
            ctx.send(Blob(data="x" * 2000))
            ctx.send(Blob(data="x"))
            await ctx.flush(Blob, timeout=10)
            assert (bridge.stats().published, bridge.stats().refused) == (1, 1)

    run(main())


def test_a_stream_that_does_not_fit_fails_the_start(server: Any) -> None:
    async def main() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="haiway", subjects=["other.>"])
        await client.jetstream().add_stream(name="wide", subjects=["shop.>"])
        await client.close()
        with pytest.raises(RuntimeError, match="and not 'haiway.events.>'"):
            async with ctx.scope("p", disposables=[NatsBridge(server.url, publish=[Order])]):
                pass
        bridge = NatsBridge(server.url, publish=[Order], subject_prefix="shop")
        with pytest.raises(
            RuntimeError, match="another stream has these subjects|does not fit|has the"
        ):
            async with ctx.scope("p", disposables=[bridge]):
                pass

    run(main())


def test_readers_learn_where_an_event_came_from(server: Any) -> None:
    async def main() -> None:
        facts: list[Any] = []
        bridge = NatsBridge(server.url, subscribe=[Order], durable="g")
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(Order, lambda order: facts.append(received(order)))
            sender = NatsBridge(server.url, publish=[Order])
            async with ctx.scope("sender", disposables=[sender], isolated=True):
                trace = ctx.trace_id()
                made = Order(number=1)
                ctx.send(made)
                assert received(made) is None
            await until(lambda: facts)
        fact = facts[0]
        assert fact.message_id == f"{sender.origin}-1"
        assert fact.origin == sender.origin
        assert fact.hops == (sender.origin,)
        assert (fact.sequence, fact.delivered) == (1, 1)
        assert fact.traceparent.split("-")[1] == trace
        assert abs(datetime.now(UTC) - fact.time) < timedelta(seconds=30)

    run(main())


def test_a_slow_reader_holds_the_server_back_and_loses_nothing(server: Any) -> None:
    async def main() -> None:
        taken: list[int] = []
        most = 0

        async def slow(order: Order) -> None:
            nonlocal most
            most = max(most, subscription.pending)
            await asyncio.sleep(0.01)
            taken.append(order.number)

        async with ctx.scope(
            "p", disposables=[NatsBridge(server.url, publish=[Order])], isolated=True
        ):
            for number in range(300):
                ctx.send(Order(number=number))
            await ctx.flush(Order, timeout=10)
        # The server waits for a second. A batch takes longer.
        bridge = NatsBridge(
            server.url, subscribe=[Order], durable="slow", capacity=200, ack_wait=0.6, heartbeat=0.3
        )
        async with ctx.scope("slow", disposables=[bridge]):
            subscription = ctx.on(Order, slow)
            await until(lambda: bridge.stats().acknowledged == 300, 30)
            assert taken == list(range(300))
            assert most <= 100
            assert bridge.stats().redelivered == 0

    run(main())

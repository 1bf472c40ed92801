"""The bridge against a real server: what it carries, what it acknowledges, what it gives back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

nats = pytest.importorskip("nats", reason="needs nats-py")

from haiway_bus import State, ctx
from haiway_bus.integrations.nats import NatsBridge, received
from tests.shared import run, until

SECONDS = 15.0


class Order(State):
    number: int


class Note(State):
    text: str


@asynccontextmanager
async def reader(
    server: Any, group: str | None, **options: Any
) -> AsyncIterator[tuple[list[int], NatsBridge]]:
    """A separate scope that takes orders, as another process would."""
    taken: list[int] = []
    bridge = NatsBridge(
        server.url,
        subscribe=[Order],
        durable=group,
        heartbeat=0.3,
        reconnect_timeout=0.3,
        **options,
    )
    async with ctx.scope(f"reader {group}", disposables=[bridge], isolated=True):
        ctx.on(Order, lambda order: taken.append(order.number))
        yield taken, bridge


def publisher(server: Any, **options: Any) -> NatsBridge:
    return NatsBridge(server.url, publish=[Order], reconnect_timeout=0.3, **options)


async def publish(server: Any, numbers: range, **options: Any) -> NatsBridge:
    bridge = publisher(server, **options)
    async with ctx.scope("publisher", disposables=[bridge], isolated=True):
        for number in numbers:
            ctx.send(Order(number=number))
        await ctx.flush(Order, timeout=SECONDS)
    return bridge


def test_each_group_gets_every_event_in_order(server: Any) -> None:
    async def main() -> None:
        async with reader(server, "billing") as (billing, _), reader(server, "mail") as (mail, _):
            await publish(server, range(1000))
            await until(lambda: len(billing) == 1000 and len(mail) == 1000)
            assert billing == mail == list(range(1000))

    run(main())


def test_processes_of_one_group_share_the_events(server: Any) -> None:
    async def main() -> None:
        one, two = reader(server, "billing", capacity=10), reader(server, "billing", capacity=10)
        async with one as (first, _), two as (second, _):
            await asyncio.sleep(0.3)
            await publish(server, range(1000))
            await until(lambda: len(first) + len(second) == 1000)
            await asyncio.sleep(0.1)
            assert sorted(first + second) == list(range(1000))
            assert first
            assert second

    run(main())


def test_a_group_gets_what_was_published_while_none_of_it_ran(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(10))
        async with reader(server, "late") as (taken, _):
            await until(lambda: len(taken) == 10)
        await publish(server, range(10, 20))
        async with reader(server, "late") as (taken, _):
            await until(lambda: len(taken) == 10)
            assert taken == list(range(10, 20))

    run(main())


def test_without_a_group_each_process_gets_what_is_published_from_its_start_on(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(10))
        async with reader(server, None) as (taken, bridge):
            await asyncio.sleep(0.5)
            await publish(server, range(10, 20))
            await until(lambda: len(taken) == 10)
            assert taken == list(range(10, 20))
            assert bridge.stats().acknowledged == 10

    run(main())


def test_flush_returns_when_the_server_has_what_was_sent(server: Any) -> None:
    async def main() -> None:
        bridge = publisher(server)
        async with ctx.scope("publisher", disposables=[bridge]):
            for number in range(2000):
                ctx.send(Order(number=number))
            await ctx.flush(Order, timeout=SECONDS)
            client = await nats.connect(server.url)
            info = await client.jetstream().stream_info("haiway")
            assert info.state.messages == 2000
            await client.close()
            assert bridge.stats().published == 2000
            assert bridge.stats().outbox == {"Order": (0, 10_000)}
        assert bridge.report is not None
        assert bridge.report.complete

    run(main())


def test_an_event_is_acknowledged_when_every_local_subscription_has_taken_it(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(5))
        bridge = NatsBridge(server.url, subscribe=[Order], durable="slow", ack_wait=1.5)
        async with ctx.scope("slow", disposables=[bridge]):
            quick: list[int] = []
            slow = ctx.subscribe(Order)
            ctx.on(Order, lambda order: quick.append(order.number))
            await until(lambda: len(quick) == 5)
            # Longer than the server waits for an acknowledgement: the bridge asks it to wait.
            await asyncio.sleep(2.0)
            assert bridge.stats().acknowledged == 0
            assert bridge.stats().unacknowledged == {"Order": 5}
            events = [await anext(slow) for _ in range(5)]
            facts = [received(event) for event in events]
            assert [fact.delivered for fact in facts if fact] == [1] * 5
            waiting = asyncio.ensure_future(_next(slow))
            await until(lambda: bridge.stats().acknowledged == 5)
            assert len(quick) == 5
            slow.close()
            await waiting
        assert bridge.report is not None
        assert bridge.report.complete

    run(main())


async def _next(subscription: Any) -> None:
    async for _ in subscription:
        pass


def test_nothing_is_pulled_before_somebody_here_subscribes(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(5))
        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing")
        async with ctx.scope("reader", disposables=[bridge]):
            await asyncio.sleep(0.5)
            assert bridge.stats().received == 0
            taken: list[int] = []
            ctx.on(Order, lambda order: taken.append(order.number))
            await until(lambda: len(taken) == 5)

    run(main())


def test_what_local_readers_have_not_taken_at_the_end_is_delivered_again(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(20))
        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing", drain_timeout=1)
        async with ctx.scope("stuck", disposables=[bridge]):
            unread = ctx.subscribe(Order)
            await until(lambda: unread.pending == 20)
        assert bridge.report is not None
        assert not bridge.report.complete
        assert bridge.report.returned == {"Order": 20}
        assert "20 Order" in str(bridge.report)
        async with reader(server, "billing") as (taken, _):
            await until(lambda: len(taken) == 20)
            assert sorted(taken) == list(range(20))

    run(main())


def test_a_scope_that_fails_acknowledges_nothing_its_readers_did_not_take(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(20))
        begun: list[int] = []

        async def never(order: Order) -> None:
            begun.append(order.number)
            await asyncio.sleep(60)

        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing")
        with pytest.raises(ValueError, match="on purpose"):
            async with ctx.scope("failing", disposables=[bridge]):
                ctx.on(Order, never)
                await until(lambda: begun)
                raise ValueError("on purpose")
        async with reader(server, "billing") as (taken, _):
            await until(lambda: len(taken) == 20)
            assert sorted(taken) == list(range(20))

    run(main())


def test_stop_receiving_hands_over_what_is_here_while_readers_run(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(500))
        taken: list[int] = []

        async def slow(order: Order) -> None:
            await asyncio.sleep(0.001)
            taken.append(order.number)

        bridge = NatsBridge(server.url, subscribe=[Order], durable="billing", capacity=20)
        async with ctx.scope("reader", disposables=[bridge]):
            ctx.on(Order, slow)
            await until(lambda: taken)
            await bridge.stop_receiving(timeout=5)
            stats = bridge.stats()
            assert stats.acknowledged == len(taken)
            assert stats.unacknowledged == {"Order": 0}
        async with reader(server, "billing") as (rest, _):
            await until(lambda: len(rest) + len(taken) == 500)
            assert sorted(rest + taken) == list(range(500))

    run(main())


def test_a_bridge_does_not_hear_itself(server: Any) -> None:
    async def main() -> None:
        taken: list[int] = []
        other: list[int] = []
        options: dict[str, Any] = {"publish": [Order], "subscribe": [Order]}
        one = NatsBridge(server.url, durable="one", **options)
        two = NatsBridge(server.url, durable="two", **options)
        async with ctx.scope("two", disposables=[two], isolated=True):
            ctx.on(Order, lambda order: other.append(order.number))
            async with ctx.scope("one", disposables=[one], isolated=True):
                ctx.on(Order, lambda order: taken.append(order.number))
                for number in range(50):
                    ctx.send(Order(number=number))
                await ctx.flush(Order)
                await until(lambda: len(other) == 50 and one.stats().echoes == 50)
                await asyncio.sleep(0.3)
        assert taken == other == list(range(50))
        assert two.stats().published == 0

    run(main())


def test_two_servers_are_bridged_without_going_round(servers: Any) -> None:
    async def main() -> None:
        left, right = servers("left"), servers("right")
        options: dict[str, Any] = {"publish": [Order], "subscribe": [Order]}
        a = NatsBridge(left.url, durable="bridge", **options)
        b = NatsBridge(right.url, durable="bridge", **options)
        async with reader(left, "end") as (at_left, _), reader(right, "end") as (at_right, _):
            async with ctx.scope("between", disposables=[a, b], isolated=True):
                await publish(left, range(30))
                await publish(right, range(30, 60))
                await until(lambda: len(at_left) >= 60 and len(at_right) >= 60)
                await asyncio.sleep(0.5)
                assert sorted(at_left) == sorted(at_right) == list(range(60))

    run(main())


def test_an_outbox_that_is_full_says_so_and_counts(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        bridge = publisher(server, outbox=100)
        async with ctx.scope("publisher", disposables=[bridge]):
            for number in range(150):
                ctx.send(Order(number=number))
            assert bridge.stats().outbox == {"Order": (100, 100)}
            await ctx.flush(Order)
            assert bridge.stats().published == 100
            assert bridge.stats().lost == 50

    run(main())
    assert "50 events of Order were lost" in caplog.text


def test_the_end_publishes_the_outbox(server: Any) -> None:
    async def main() -> None:
        bridge = publisher(server)
        async with ctx.scope("publisher", disposables=[bridge]):
            for number in range(3000):
                ctx.send(Order(number=number))
        assert bridge.report is not None
        assert bridge.report.complete
        assert bridge.stats().published == 3000

    run(main())


def test_the_end_has_a_deadline_and_reports_what_was_not_published(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        bridge = publisher(server, drain_timeout=0.5)
        async with ctx.scope("publisher", disposables=[bridge]):
            server.kill()
            await until(lambda: not bridge.stats().connected)
            for number in range(10):
                ctx.send(Order(number=number))
        assert bridge.report is not None
        assert not bridge.report.complete
        assert bridge.report.unpublished == {
            "Order": tuple(Order(number=number) for number in range(10))
        }
        assert bridge.report.seconds < 4

    run(main())
    assert "not published: 10 Order" in caplog.text


def test_entering_without_a_server_fails_in_time_and_names_the_address(servers: Any) -> None:
    absent = servers(start=False)

    async def main() -> None:
        url = absent.url.replace("://", "://someone:hidden@")
        with pytest.raises(RuntimeError, match=f"no NATS server at nats://127.0.0.1:{absent.port}"):
            async with ctx.scope("x", disposables=[NatsBridge(url, start_timeout=0.5)]):
                pass

    run(main())


def test_a_server_that_comes_later_gets_what_was_sent_before(servers: Any) -> None:
    absent = servers(start=False)

    async def main() -> None:
        bridge = publisher(absent, require_server=False)
        async with ctx.scope("publisher", disposables=[bridge]):
            for number in range(10):
                ctx.send(Order(number=number))
            await asyncio.sleep(0.5)
            assert not bridge.stats().connected
            await asyncio.to_thread(absent.start)
            await ctx.flush(Order, timeout=SECONDS)
            assert bridge.stats().published == 10
        async with reader(absent, "billing") as (taken, _):
            await until(lambda: taken == list(range(10)))

    run(main())


def test_wrong_credentials_are_refused_at_once_and_shown_nowhere(
    servers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = servers(config={"authorization": {"user": "shop", "password": "right-password"}})

    async def main() -> None:
        url = server.url.replace("://", "://shop:wrong-password@")
        bridge = NatsBridge(url, publish=[Order])
        assert "wrong-password" not in repr(bridge)
        with pytest.raises(RuntimeError, match="refuses the connection") as caught:
            async with ctx.scope("x", disposables=[bridge]):
                pass
        assert "wrong-password" not in str(caught.value)
        good = NatsBridge(
            server.url, publish=[Order], connect={"user": "shop", "password": "right-password"}
        )
        async with ctx.scope("y", disposables=[good]):
            ctx.send(Order(number=1))
            await ctx.flush(Order, timeout=SECONDS)
            assert good.stats().published == 1

    run(main())
    assert "wrong-password" not in caplog.text
    assert "right-password" not in caplog.text


def test_a_key_is_passed_through(servers: Any) -> None:
    nkeys = pytest.importorskip("nkeys", reason="needs nkeys")
    import base64

    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(seed).public_key.decode()
    assert base64
    server = servers(config={"authorization": {"users": [{"nkey": public}]}})

    async def main() -> None:
        bridge = NatsBridge(server.url, publish=[Order], connect={"nkeys_seed_str": seed.decode()})
        assert seed.decode() not in repr(bridge)
        async with ctx.scope("x", disposables=[bridge]):
            ctx.send(Order(number=1))
            await ctx.flush(Order, timeout=SECONDS)

    run(main())


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_server_that_was_away_is_pulled_from_again(server: Any, how: str) -> None:
    async def main() -> None:
        async with reader(server, "billing") as (taken, bridge):
            out = publisher(server)
            async with ctx.scope("publisher", disposables=[out], isolated=True):
                for round_ in range(3):
                    for number in range(100):
                        ctx.send(Order(number=round_ * 100 + number))
                    await ctx.flush(Order, timeout=SECONDS)
                    wanted = (round_ + 1) * 100
                    await until(lambda wanted=wanted: len(set(taken)) == wanted)
                    if how == "kill":
                        server.kill()
                        await asyncio.sleep(0.3)
                        await asyncio.to_thread(server.start)
                    else:
                        server.pause()
                        await asyncio.sleep(2.5)
                        server.resume()
            assert bridge.stats().connections >= (3 if how == "kill" else 1)
            assert sorted(set(taken)) == list(range(300))

    run(main())


def test_a_consumer_and_a_stream_that_were_deleted_are_made_again(server: Any) -> None:
    async def main() -> None:
        async with reader(server, "billing") as (taken, _):
            bridge = publisher(server)
            async with ctx.scope("publisher", disposables=[bridge], isolated=True):
                client = await nats.connect(server.url)
                js = client.jetstream()
                async with asyncio.timeout(SECONDS):
                    while not await js.consumers_info("haiway"):
                        await asyncio.sleep(0.05)
                await js.delete_consumer("haiway", "billing=Order")
                ctx.send(Order(number=1))
                await until(lambda: taken == [1])
                await js.delete_stream("haiway")
                ctx.send(Order(number=2))
                await ctx.flush(Order, timeout=SECONDS)
                await until(lambda: taken == [1, 2])
                await client.close()

    run(main())


def test_a_task_of_the_bridge_that_ends_fails_the_scope() -> None:
    from haiway_bus.integrations._nats.bridge_tasks import BridgeTasks

    async def ends() -> None:
        pass

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with ctx.scope("x"):
                tasks = BridgeTasks()
                tasks.watch()
                tasks.begin("outbox of Order", ends())
                await asyncio.sleep(10)
        assert caught.group_contains(RuntimeError, match="outbox of Order has ended")
        # The watching task does not keep the scope open.
        async with asyncio.timeout(5), ctx.scope("y"):
            BridgeTasks().watch()

    run(main())


def test_a_publish_that_is_repeated_is_stored_once(server: Any) -> None:
    async def main() -> None:
        bridge = publisher(server)
        async with ctx.scope("publisher", disposables=[bridge]):
            outbox = bridge._outboxes[0]
            letters = [outbox.letter(Order(number=number)) for number in range(10)]
            await bridge._publisher.deliver([letter for letter in letters if letter])
            for letter in letters:
                assert letter is not None
                letter.settled = False
            await bridge._publisher.deliver([letter for letter in letters if letter])
            assert bridge.stats().duplicates == 10
        async with reader(server, "billing") as (taken, _):
            await until(lambda: len(taken) == 10)
            await asyncio.sleep(0.2)
            assert taken == list(range(10))

    run(main())


def test_a_server_over_tls_is_reached_with_the_context_given(
    servers: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil
    import ssl
    import subprocess

    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            *names,
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    server = servers(config={"tls": {"cert_file": certificate, "key_file": key}})

    async def main() -> None:
        context = ssl.create_default_context(cafile=certificate)
        bridge = publisher(server, connect={"tls": context})
        async with ctx.scope("publisher", disposables=[bridge]):
            ctx.send(Order(number=1))
            await ctx.flush(Order, timeout=SECONDS)
        stranger = publisher(server, connect={"tls": ssl.create_default_context()})
        with pytest.raises(RuntimeError, match="refuses the connection"):
            async with ctx.scope("publisher", disposables=[stranger]):
                pass

    run(main())

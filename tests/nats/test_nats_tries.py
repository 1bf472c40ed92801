"""When a message becomes a dead letter: for what readers did with it, and not for what happened to others."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_nats_bridge import Order, nats, publish, run, until

from haiway_bus import ctx
from haiway_bus.integrations._nats.deliveries import Tries
from haiway_bus.integrations.nats import NatsBridge

ACTOR = Path(__file__).with_name("poison_actor.py")


async def dead_numbers(server: Any) -> list[int]:
    """The orders that have become dead letters."""
    client = await nats.connect(server.url)
    try:
        js = client.jetstream()
        state = (await js.stream_info("haiway-dead")).state
        letters = [await js.get_msg("haiway-dead", 1 + at) for at in range(state.messages)]
        return [Order.from_json(letter.data or b"").number for letter in letters]
    finally:
        await client.close()


def test_what_no_reader_saw_becomes_no_dead_letter_however_often_readers_come_and_go(
    server: Any,
) -> None:
    async def main() -> None:
        await publish(server, range(50))
        bridge = NatsBridge(
            server.url, subscribe=[Order], durable="pages", heartbeat=0.3, max_deliveries=3
        )
        seen: list[int] = []
        async with ctx.scope("pages", disposables=[bridge], isolated=True):
            for _ in range(12):
                seen.append((await ctx.subscribe(Order).first(timeout=10)).number)
                await until(lambda: bridge.stats().unacknowledged == {"Order": 0})
            dead = await dead_numbers(server)
            assert all(seen.count(number) >= 3 for number in dead)
            # With a reader that stays, all others arrive.
            left = set(range(50)) - set(dead)
            ctx.on(Order, lambda order: left.discard(order.number))
            await until(lambda: not left)
            assert await dead_numbers(server) == dead

    run(main())


def test_a_poisoned_event_takes_no_others_with_it_when_its_scope_fails(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(60))
        handled: set[int] = set()

        async def handle(order: Order) -> None:
            if order.number == 20:
                raise ValueError("poison")
            handled.add(order.number)

        for _ in range(8):
            bridge = NatsBridge(
                server.url, subscribe=[Order], durable="billing", heartbeat=0.3, max_deliveries=4
            )
            try:
                async with ctx.scope("process", disposables=[bridge], isolated=True):
                    ctx.on(Order, handle, errors="raise")
                    await until(lambda bridge=bridge: len(handled) == 59 and bridge.stats().dead)
                    break
            except* ValueError:
                pass
        assert handled == set(range(60)) - {20}
        assert await dead_numbers(server) == [20]

    run(main())


def test_a_poisoned_event_that_kills_its_process_becomes_the_only_dead_letter(
    server: Any, tmp_path: Path
) -> None:
    log = tmp_path / "handled"

    async def main() -> None:
        await publish(server, range(300))
        deaths = 0
        while True:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", str(ACTOR), server.url, "billing", str(log), "100")
            )
            try:
                async with asyncio.timeout(6):
                    assert await process.wait() == 9
                deaths += 1
            except TimeoutError:
                process.kill()
                await process.wait()
                break
        assert deaths == 6  # max_deliveries of the actor
        assert await dead_numbers(server) == [100]
        assert {int(line) for line in log.read_text().split()} == set(range(300))

    run(main())


def test_what_waits_for_its_turn_alone_is_not_delivered_again_meanwhile(server: Any) -> None:
    async def main() -> None:
        await publish(server, range(12))
        slow = NatsBridge(
            server.url,
            subscribe=[Order],
            durable="slow",
            ack_wait=1.0,
            max_deliveries=1,
            heartbeat=0.3,
        )
        taken: list[int] = []

        async def handle(order: Order) -> None:
            await asyncio.sleep(0.2)
            taken.append(order.number)

        async with ctx.scope("slow", disposables=[slow], isolated=True):
            ctx.on(Order, handle)
            await until(lambda: len(taken) == 12)
            await asyncio.sleep(1.2)
            assert slow.stats().redelivered == 0
        assert taken == list(range(12))
        assert await dead_numbers(server) == []

    run(main())


def message(sequence: int, delivered: int) -> Any:
    return SimpleNamespace(reply=f"$JS.ACK.haiway.billing.{delivered}.{sequence}.1.1.0")


@pytest.mark.parametrize(
    ("most", "sizes"), [(20, [300, 64, 16, 4, 1, 1]), (4, [300, 64, 1, 1, 1, 1]), (1, [1] * 6)]
)
def test_what_was_tried_often_is_handed_over_with_few_others_and_alone_at_last(
    most: int, sizes: list[int]
) -> None:
    for tries, size in enumerate(sizes, 1):
        batch = [message(number, tries) for number in range(300)]
        parts = list(Tries(most).parts(batch))
        assert max(map(len, parts)) == size
        # As many as go over together are here at a time, and no more.
        assert Tries(most).width([message(1, 1), batch[0]], 300) == (1 if most == 1 else size)
        assert sorted(one.reply for part in parts for one in part) == sorted(
            one.reply for one in batch
        )


def test_those_with_the_fewest_tries_go_first_and_new_ones_in_order() -> None:
    batch = [message(1, 9), message(2, 1), message(3, 1), message(4, 3)]
    assert list(Tries(20).parts(batch)) == [[batch[1], batch[2]], [batch[3]], [batch[0]]]


def test_a_delivery_that_reached_no_reader_is_no_try() -> None:
    tries = Tries(20)
    tries.spare(message(1, 1))
    tries.spare(message(1, 2))
    assert tries.of(message(1, 3)) == 1
    assert tries.of(message(1, 4)) == 2
    assert tries.of(message(2, 4)) == 4
    # A stream that was made anew begins with these numbers again.
    assert tries.of(message(1, 1)) == 1
    tries.forget(message(1, 4))
    assert tries.of(message(1, 4)) == 4

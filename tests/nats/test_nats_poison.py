"""Messages that the class itself chokes on: each is a dead letter, and no scope ends by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

import annotated_types
import pytest
from test_nats_bridge import nats, run, until

from haiway_bus import State, ctx
from haiway_bus.integrations._nats.decoding import Undecodable, reason_of
from haiway_bus.integrations.nats import NatsBridge, WireType


def no_zero(value: float) -> bool:
    return 1 / value > 0


class Ratio(State):
    value: Annotated[float, annotated_types.Predicate(no_zero)]


class Tree(State):
    value: float = 1.0
    child: Tree | None = None


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        return "\ud800"


def odd(plain: dict[str, Any]) -> dict[str, Any]:
    if plain["value"] == 0:
        raise Odd
    return plain


def deep() -> Any:
    tree: dict[str, Any] = {"value": 0.0}
    for _ in range(300):
        tree = {"child": tree}
    return tree


@pytest.mark.parametrize(
    ("wire", "poison", "reason"),
    [
        (WireType(Ratio, "T"), lambda: {"value": 0.0}, "ZeroDivisionError: float division"),
        (WireType(Tree, "T"), deep, "RecursionError: "),
        (
            WireType(Tree, "T", version=2, upcasters={1: odd}),
            lambda: {"value": 0},
            r"raised \ud800",
        ),
    ],
    ids=["predicate", "depth", "upcaster"],
)
def test_a_message_that_its_class_chokes_on_is_a_dead_letter_and_ends_nothing(
    server: Any, wire: WireType, poison: Callable[[], Any], reason: str
) -> None:
    async def main() -> None:
        bridge = NatsBridge(server.url, subscribe=[wire], durable="billing", heartbeat=0.3)
        taken: list[Any] = []
        async with ctx.scope("reader", disposables=[bridge], isolated=True):
            ctx.on(wire.event, taken.append)
            client = await nats.connect(server.url)
            js = client.jetstream()
            for body in (poison(), {"value": 2.0}):
                await js.publish(
                    "haiway.events.T", json.dumps(body).encode(), headers={"Haiway-Type": "T"}
                )
            await until(lambda: taken)
            letter = await js.get_msg("haiway-dead", 1)
            assert letter.headers is not None
            assert reason in letter.headers["Haiway-Dead-Reason"]
            await asyncio.sleep(0)
            assert bridge.stats().dead == 1
            await client.close()
        assert [event.value for event in taken] == [2.0]

    run(main())


def test_the_reason_is_what_the_error_says_and_can_be_written() -> None:
    assert reason_of(Undecodable("not JSON")) == "not JSON"
    assert reason_of(ValueError("a \ud800 b")) == "ValueError: a \\ud800 b"
    assert reason_of(Odd()) == "Odd: its text cannot be made"

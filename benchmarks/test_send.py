"""The parts: `send`, with nobody subscribed and with 1, 10 and 100 subscriptions that nobody reads."""

from __future__ import annotations

from typing import Any

import pytest
from comparison.events import Event, cycle

SENDS = 1_000


def empty(event: Any) -> None:
    """What a send that nobody hears is measured by."""


def send_all(send: Any, events: list[Any]) -> None:
    for event in events:
        send(event)


@pytest.mark.benchmark(group="send 1,000 events that nobody hears")
@pytest.mark.parametrize("contender", ["empty call", "compiled", "pure"])
def test_send_unheard(benchmark: Any, stage: Any, contender: str) -> None:
    send = empty if contender == "empty call" else stage.open(contender, 0).send
    events = cycle(Event, SENDS)
    benchmark(stage.in_context(lambda: send_all(send, events)))


@pytest.mark.parametrize("fan_out", [1, 10, 100])
@pytest.mark.parametrize("contender", ["compiled", "pure", "asyncio.Queue"])
def test_send_heard(benchmark: Any, stage: Any, contender: str, fan_out: int) -> None:
    benchmark.group = f"send 1,000 events to {fan_out} subscriptions"
    topic = stage.open(contender, fan_out)
    events = cycle(Event, SENDS)
    sent = 0

    def call() -> None:
        nonlocal sent
        send_all(topic.send, events)
        sent += SENDS

    benchmark.pedantic(stage.in_context(call), rounds=30, warmup_rounds=2)
    assert topic.waiting() == [sent] * fan_out
    for reader in topic.readers:
        reader.close()

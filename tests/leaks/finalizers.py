"""Run alone: finalizers use a bus that is garbage like themselves, and find it whole (guarantee 3.4).

The compiled twin has borrowed pointers in its table. They hold because the collector calls every finalizer before it
takes the first object apart, and because what a finalizer makes keeps alive whatever it refers to. So each bus here
has events whose finalizers subscribe and send more events with finalizers, which then call everything there is.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from haiway_bus import ContextMissing
from haiway_bus._bus import Bus

whole: list[bool] = []


class Finalizer:
    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __del__(self) -> None:
        with suppress(ContextMissing):  # an earlier one has ended the bus
            self.call()


class Event:
    more: Any = None


class Other(Event):
    pass


def leave_garbage(limit: int | None) -> list[weakref.ref[Any]]:
    bus = Bus("garbage")
    first = bus.subscribe(Event, limit)
    kept: list[Any] = []

    def send(event: Event, finalizer: Callable[[], Any]) -> None:
        event.more = Finalizer(finalizer)
        bus.send(event)

    def early() -> None:
        kept.extend((bus.subscribe(Event, limit), bus.subscribe(Other, limit)))
        for _ in range(3):
            send(Event(), late)
            send(Other(), late)
        kept.append(Finalizer(late))

    def late() -> None:
        whole.append(bus.table is not None and first.event_type is Event)
        calls: tuple[Callable[[], Any], ...] = (
            lambda: bus.send(Other()),
            lambda: bus.subscribe(Other, limit),
            lambda: bus.subscribe(Event, limit).close(),
            lambda: kept[1].receive_nowait(),
            lambda: kept[0].close(),
            lambda: repr((bus, first, kept, bus.events(), bus.unread())),
            bus.close,
        )
        for call in calls:
            with suppress(ContextMissing, asyncio.QueueEmpty):
                call()

    send(Event(), early)
    return [weakref.ref(one) for one in (bus, first)]


async def main() -> None:
    gc.disable()
    for limit in (None, 1, 10):
        left = [one for _ in range(50) for one in leave_garbage(limit)]
        # What finalizers make keeps the bus for one collection more, and a drop that is yet to be told for a turn.
        for _ in range(4):
            gc.collect()
            await asyncio.sleep(0)
        assert not any(one() for one in left), limit
    assert len(whole) > 500, len(whole)
    assert all(whole)


if __name__ == "__main__":
    asyncio.run(main())

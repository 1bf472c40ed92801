"""Guarantee 2.1, 4.1: a `send` reaches every subscription, or it raises and has reached none."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests.shared import alone, turns

pytestmark = pytest.mark.anyio

OVERFLOWS = ("drop_oldest", "drop_newest", "raise")


class Sent:
    pass


def in_depth(depth: int, call: Callable[[], Any]) -> Any:
    """Call it that many frames deeper in the stack."""
    return call() if depth == 0 else in_depth(depth - 1, call)


def stack_size() -> int:
    frame = sys._getframe()
    for size in count(1):
        if frame.f_back is None:
            return size
        frame = frame.f_back
    raise AssertionError


class Case:
    """A bus with full, empty and unlimited subscriptions; a reader of one that waits, or was woken, or nobody."""

    def __init__(self, hb: Any, waits: str) -> None:
        self.hb = hb
        self.waits = waits
        self.bus = hb._bus.Bus("case")
        self.told = 0
        self.bus.observer = self.hear
        self.subscriptions = [
            self.bus.subscribe(Sent),
            *[self.bus.subscribe(Sent, 1, overflow) for overflow in OVERFLOWS],
            *[self.bus.subscribe(Sent, 9, overflow) for overflow in OVERFLOWS],
            self.bus.subscribe(Sent),
        ]
        self.read = self.bus.subscribe(Sent)
        self.got = 0
        self.reader = asyncio.create_task(self.reads())

    def hear(self, dropped: Any) -> None:
        self.told += dropped.number

    async def reads(self) -> None:
        async for _ in self.read:
            self.got += 1

    async def prepare(self) -> None:
        if self.waits == "nobody":
            self.reader.cancel()
        await turns()
        self.bus.send(Sent())  # what has a limit of one is full
        if self.waits != "has been woken":
            await turns()

    def counts(self) -> list[int]:
        sent = self.bus.events()[Sent].sent
        return [sent, *[one.pending + one.dropped for one in self.subscriptions]]

    async def check_after(self, sent: int) -> None:
        """The bus works: what is sent next arrives, each drop is counted and told, and no reader sleeps."""
        self.bus.send(Sent())
        assert self.counts() == [sent + 1] * (len(self.subscriptions) + 1)
        await turns()
        if self.waits != "nobody":
            assert self.got == sent + 1
        for one in self.subscriptions:
            left = one.pending
            while one.pending:
                try:
                    one.receive_nowait()
                    left -= 1
                except self.hb.SubscriptionOverflow:
                    continue
            assert left == 0
        dropped = self.bus.events()[Sent].dropped
        assert dropped == sent * len(OVERFLOWS)
        self.bus.close()
        assert self.told == dropped
        self.reader.cancel()
        await asyncio.wait([self.reader])


@pytest.mark.parametrize("waits", ["nobody", "a reader waits", "has been woken"])
async def test_near_the_recursion_limit_it_reaches_all_or_none(hb: Any, waits: str) -> None:
    """Guarantee 2.1, 4.1, 4.2: at each depth near the limit."""
    outcomes = []
    for room in range(40, -10, -1):
        case = Case(hb, waits)
        await case.prepare()
        before = case.counts()
        raised = False
        gc.disable()  # what earlier cases and tests have left is not to be finalized near the limit
        try:
            in_depth(
                sys.getrecursionlimit() - stack_size() - room, lambda one=case: one.bus.send(Sent())
            )
        except RecursionError:
            raised = True
        finally:
            gc.enable()
        assert case.counts() == [one + (not raised) for one in before], room
        outcomes.append(raised)
        await case.check_after(1 if raised else 2)
    assert outcomes[0] is False
    assert outcomes[-1] is True


@pytest.mark.parametrize("fails", ["call_soon", "call_later"])
async def test_a_report_that_cannot_be_made_is_made_with_the_next_drop(
    hb: Any, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee 4.2: the event is sent by then, and the drop is counted."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(fails)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    bus = hb._bus.Bus("test")
    told: list[int] = []
    bus.observer = lambda dropped: told.append(dropped.number)
    subscriptions = [bus.subscribe(Sent, 1, overflow) for overflow in OVERFLOWS]
    bus.send(Sent())
    with monkeypatch.context() as patched:
        patched.setattr(loop, fails, fail)
        bus.send(Sent())
        if fails == "call_later":
            await turns()  # the report that fails is the one that the loop makes
    assert [one.dropped for one in subscriptions] == [1, 1, 1]
    await turns()
    assert told == []
    bus.send(Sent())
    await turns()
    assert told == [6]
    bus.close()


@pytest.mark.skipif(
    sys.implementation.name != "cpython",
    reason="elsewhere no collector runs where an object is made",
)
async def test_what_the_collector_runs_in_a_send_comes_before_it_everywhere(hb: Any) -> None:
    """Guarantee 2.1, 4.1: events sent from there come in one order; who subscribes, reads or closes breaks nothing.

    Objects are made in a send where a subscription that takes no further event comes to its limit.
    """
    bus = hb._bus.Bus("test")
    sending = False
    made: list[Any] = []
    full: list[Any] = []
    read: set[Any] = set()

    class Cycle:
        """Sends, subscribes, reads and closes when the collector finds it."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            if sending:
                bus.send(Sent())
                made.append(bus.subscribe(Sent, 3))
                if len(made) > 5:
                    made.pop(0).close()
                for one in full[2:12:3]:
                    read.add(one)
                    one.receive_nowait()
                for one in full[3:12:3]:
                    one.close()

    subscriptions = [bus.subscribe(Sent), *[bus.subscribe(Sent, 1 << 20) for _ in range(50)]]
    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(50):
            full[:] = [
                bus.subscribe(Sent, 2, overflow) for overflow in ("drop_newest", "raise") * 10
            ]
            sent = bus.events()[Sent].sent
            first = Sent()
            bus.send(first)
            bus.send(Sent())
            Cycle()
            sending = True
            bus.send(Sent())
            sending = False
            sent = bus.events()[Sent].sent - sent
            for one in full:
                if not one.closed:
                    assert one.pending == 2 or one in read
                    taken = one in read
                    assert one.pending + one.dropped + taken == sent
                    assert (one.receive_nowait() is first) != taken
                one.close()
            read.clear()
    finally:
        gc.set_threshold(*threshold)
    assert made
    orders = []
    for one in subscriptions:
        order = []
        while one.pending:
            order.append(one.receive_nowait())
        orders.append(order)
    assert len(orders[0]) > 50
    assert all(order == orders[0] for order in orders)
    bus.close()


def test_a_dropped_event_that_closes_a_long_backlog_does_not_crash(hb: Any) -> None:
    """Guarantee 3.3, 4.1: on a small stack."""
    code = """
        import asyncio, sys, threading
        from haiway_bus._bus import Bus

        class Sent:
            closes = None
            def __del__(self):
                if self.closes is not None:
                    self.closes.close()

        async def main():
            bus = Bus("test")
            subscription = bus.subscribe(Sent, 300_000)
            first = Sent()
            first.closes = subscription
            bus.send(first)
            del first
            for _ in range(300_000):
                bus.send(Sent())
            assert subscription.closed
            print("closed")

        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()
    """
    assert alone(hb, "-c", code) == "closed\n"


SIGNALS = """
import asyncio, signal
from haiway_bus import ctx

class Event:
    pass

async def main():
    async with ctx.scope("test"):
        full = [ctx.subscribe(Event, limit=1_000_000) for _ in range(20)]
        handled = 0

        def handler(*_):
            nonlocal handled
            handled += 1
            ctx.send(Event())

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        for _ in range(6000):
            ctx.send(Event())
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert {one.pending for one in full} == {6000 + handled}
        for one in full:
            one.close()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signal here")
def test_a_signal_s_handler_that_sends_in_the_middle_of_a_send_breaks_nothing(hb: Any) -> None:
    """Guarantee 2.1, 4.1: as one that sends `Shutdown()` at SIGTERM."""
    assert alone(hb, "-c", SIGNALS) == ""

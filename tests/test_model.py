"""Guarantee 1, 2, 4.1 and 5: any sequence of calls has the same effect on both backends as on lists.

Each step is done on every copy of the package, by a task that stands in its scopes, and then everything runs until
nothing is ready. What came of it must be what the naive bus says, and so the same on both backends.
"""

from __future__ import annotations

import asyncio
from asyncio import QueueEmpty
from collections.abc import Awaitable, Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from tests.schedules.naive import Ended, Loss, NaiveBus, NaiveSubscription, NaiveWorker
from tests.schedules.side import Side, take
from tests.shared import COPIES, COUNTS_REFERENCES, let_go


class Ordered:
    pass


class Paid:
    pass


class Cancelled(Paid):
    """A subclass is another type (guarantee 1.2)."""


KINDS = (Ordered, Paid, Cancelled)
OVERFLOWS = ("drop_oldest", "drop_newest", "raise")
kinds = st.sampled_from(KINDS)
bursts = st.lists(kinds, min_size=1, max_size=5)


class TheBus(RuleBasedStateMachine):
    """The calls that a program can make, in any order, in up to three scopes within each other.

    Invariant: `depths` has the bus of each open scope, the innermost last; `naive` and `parked` have what the keys
    of `subscriptions` and `workers` stand for.
    """

    subscriptions = Bundle("subscriptions")
    workers = Bundle("workers")

    @initialize()
    def begin(self) -> None:
        self.sides = [Side(modules["haiway_bus"]) for modules in COPIES.values()]
        self.naive: dict[int, NaiveSubscription] = {}
        self.parked: dict[int, NaiveWorker] = {}
        self.depths: list[NaiveBus] = []
        self.keys = 0

    def key(self) -> int:
        self.keys += 1
        return self.keys

    def do(self, call: Callable[[Side], Awaitable[Any]]) -> Any:
        """Do it on every side; what it gave, which is the same on all."""
        results = [side.do(call) for side in self.sides]
        assert all(result == results[0] for result in results)
        return results[0]

    # --- scopes

    @precondition(lambda self: len(self.depths) < 3)
    @rule(isolated=st.booleans())
    def enter_a_scope(self, isolated: bool) -> None:
        """Guarantee 5.1."""

        async def enter(side: Side) -> bool:
            scope = side.hb.ctx.scope("scope", isolated=isolated, observability=Silent())
            side.scopes.append(scope)
            return len(await scope.__aenter__()) == 32

        assert self.do(enter) is True
        if isolated or not self.depths:
            self.depths.append(NaiveBus(len(self.depths)))
        else:
            self.depths.append(self.depths[-1])

    @precondition(lambda self: self.depths)
    @rule()
    def leave_the_scope(self) -> None:
        """Guarantee 5.4, 5.6: its own tasks' waits end, and with its own bus everybody's."""

        async def leave(side: Side) -> Any:
            return await side.scopes.pop().__aexit__(None, None, None)

        assert self.do(leave) is False
        bus = self.depths.pop()
        depth = len(self.depths)
        for one in self.naive.values():
            for worker in [worker for worker in one.workers if worker.depth == depth]:
                one.workers.remove(worker)
                worker.outcome = Ended
        if bus.depth == depth:
            bus.end()

    @precondition(lambda self: not self.depths)
    @rule(kind=kinds)
    def call_outside_of_any_scope(self, kind: type[Any]) -> None:
        """Guarantee 5.2."""
        for name in ("send", "subscribe"):

            async def call(side: Side, name: str = name) -> bool:
                try:
                    getattr(side.hb.ctx, name)(kind() if name == "send" else kind)
                except side.hb.ContextMissing:
                    return True
                return False

            assert self.do(call) is True

    # --- sending and subscribing

    @precondition(lambda self: self.depths)
    @rule(
        target=subscriptions,
        kind=kinds,
        limit=st.none() | st.integers(1, 3),
        overflow=st.sampled_from(OVERFLOWS),
    )
    def subscribe(self, kind: type[Any], limit: int | None, overflow: str) -> int:
        """Guarantee 2.1, 4.1."""
        key = self.key()
        options = {} if limit is None else {"limit": limit, "overflow": overflow}

        async def subscribe(side: Side) -> None:
            side.subscriptions[key] = side.hb.ctx.subscribe(kind, **options)

        assert self.do(subscribe) is None
        bus = self.depths[-1]
        self.naive[key] = NaiveSubscription(bus, kind, limit, overflow)
        bus.join(self.naive[key])
        return key

    @precondition(lambda self: self.depths)
    @rule(burst=bursts)
    def send(self, burst: list[type[Any]]) -> None:
        """Guarantee 1.2, 1.3, 2.1, 4.1: in one go, before any reader runs."""
        events = [kind() for kind in burst]

        async def send(side: Side) -> list[Any]:
            return [side.hb.ctx.send(event) for event in events]

        assert self.do(send) == [None] * len(events)
        self.depths[-1].send(events)

    # --- reading

    @rule(key=subscriptions)
    def receive_nowait(self, key: int) -> None:
        """Guarantee 2.10."""

        async def receive(side: Side) -> Any:
            return side.subscriptions[key].receive_nowait()

        got = self.do(receive)
        naive = self.naive[key]
        if naive.waiting and not naive.workers:
            assert got == naive.take()
        else:
            assert got is QueueEmpty

    @rule(key=subscriptions, seconds=st.none() | st.integers(1, 2))
    def read_one(self, key: int, seconds: int | None) -> None:
        """Guarantee 2.1, 2.3, 2.5, 5.6: `anext`, alone when it need not wait, else with a time-out."""
        naive = self.naive[key]
        if naive.workers:
            return
        ready = bool(naive.waiting) or naive.state != "open"

        async def read(side: Side) -> Any:
            if seconds is None and ready:
                return await anext(side.subscriptions[key])
            return await asyncio.wait_for(take(side.subscriptions[key]), seconds or 1)

        got = self.do(read)
        if naive.waiting:
            assert got == naive.take()
        elif naive.state != "open":
            assert got is Ended
        else:
            assert got is TimeoutError

    @rule(key=subscriptions, limit=st.integers(1, 4))
    def read_a_batch(self, key: int, limit: int) -> None:
        """Guarantee 2.10, 4.1: a batch ends before a loss, which comes alone."""
        naive = self.naive[key]
        if naive.workers or not naive.waiting:
            return

        async def read(side: Side) -> Any:
            return await anext(side.subscriptions[key].batches(limit))

        got = self.do(read)
        if isinstance(naive.waiting[0], Loss):
            assert got == naive.take()
            return
        due = []
        while naive.waiting and len(due) < limit and not isinstance(naive.waiting[0], Loss):
            due.append(naive.take())
        assert got == due

    @rule(key=subscriptions)
    def read_all_that_is_left(self, key: int) -> None:
        """Guarantee 5.6: `async for` over what has ended gives the backlog and then ends."""
        naive = self.naive[key]
        if naive.state == "open":
            return

        async def read(side: Side) -> list[Any]:
            got: list[Any] = []
            while True:
                try:
                    async for event in side.subscriptions[key]:
                        got.append(event)
                    return got
                except side.hb.SubscriptionOverflow as overflow:
                    got.append(Loss(overflow.lost))

        assert self.do(read) == naive.waiting
        while naive.waiting:
            naive.take()

    @rule(key=subscriptions, kind=kinds)
    def find_the_first(self, key: int, kind: type[Any]) -> None:
        """Guarantee 2.12: it gives the event or times out, and the subscription is closed."""
        naive = self.naive[key]
        if naive.workers or any(isinstance(item, Loss) for item in naive.waiting):
            return
        last = naive.waiting[-1] if naive.waiting else None
        state = naive.state

        async def find(side: Side) -> Any:
            try:
                return await side.subscriptions[key].first(lambda event: event is last, timeout=1)
            except side.hb.SubscriptionClosed:
                return Ended

        got = self.do(find)
        while naive.waiting:
            naive.take()
        if last is not None:
            assert got is last
        elif state == "open":
            assert got is TimeoutError
        else:
            assert got is Ended
        naive.close()

    # --- workers

    @rule(target=workers, key=subscriptions, spawned=st.booleans())
    def send_a_worker(self, key: int, spawned: bool) -> Any:
        """Guarantee 2.4, 5.3: a task that takes one event, the scope's or nobody's."""
        naive = self.naive[key]
        if spawned and not self.depths:
            return multiple()
        number = self.key()

        async def start(side: Side) -> None:
            coroutine = take(side.subscriptions[key])
            if spawned:
                side.workers[number] = side.hb.ctx.spawn(coroutine)
            else:
                side.workers[number] = side.loop.create_task(coroutine)

        assert self.do(start) is None
        worker = self.parked[number] = NaiveWorker(len(self.depths) - 1 if spawned else None)
        naive.workers.append(worker)
        naive.serve()
        if naive.state != "open":
            naive.end_waits()
        return number

    @rule(number=consumes(workers), kind=kinds, send=st.sampled_from(["no", "before", "after"]))
    def cancel_a_worker(self, number: int, kind: type[Any], send: str) -> None:
        """Guarantee 2.5: an event that comes in the same step goes to the next one, or waits."""
        worker = self.parked[number]
        event = kind()
        sends = send != "no" and bool(self.depths)

        async def cancel(side: Side) -> None:
            if sends and send == "before":
                side.hb.ctx.send(event)
            if number in side.workers:
                side.workers[number].cancel()
            if sends and send == "after":
                side.hb.ctx.send(event)

        assert self.do(cancel) is None
        for one in self.naive.values():
            if worker in one.workers:
                one.workers.remove(worker)
                worker.outcome = asyncio.CancelledError
        if sends:
            self.depths[-1].send([event])

    # --- closing

    @rule(key=subscriptions)
    def close(self, key: int) -> None:
        """Guarantee 2.8: and a second time, which does nothing."""

        async def close(side: Side) -> None:
            side.subscriptions[key].close()

        assert self.do(close) is None
        self.naive[key].close()

    @rule(key=consumes(subscriptions))
    def forget(self, key: int) -> None:
        """Guarantee 2.8: the last reference goes, unless a worker has one."""
        naive = self.naive.pop(key)
        if naive.workers:
            self.naive[key] = naive
            return

        async def forget(side: Side) -> None:
            del side.subscriptions[key]
            let_go()

        assert self.do(forget) is None
        naive.close()

    # --- what can be seen

    @invariant()
    def subscriptions_tell_the_same(self) -> None:
        """Guarantee 2.9."""
        if not hasattr(self, "sides"):
            return
        for key, naive in self.naive.items():
            dropped = "" if naive.limit is None else f" dropped={naive.dropped}"
            for side in self.sides:
                subscription = side.subscriptions[key]
                assert subscription.pending == naive.pending
                assert subscription.dropped == naive.dropped
                assert subscription.closed == (naive.state != "open")
                assert repr(subscription) == (
                    f"<Subscription {naive.event_type.__qualname__} pending={naive.pending}"
                    f"{dropped} {naive.state}>"
                )

    @invariant()
    def workers_have_the_same(self) -> None:
        """Guarantee 2.4, first come, first served."""
        if not hasattr(self, "sides"):
            return
        for number, worker in self.parked.items():
            for side in self.sides:
                assert side.outcomes.get(number) == worker.outcome

    @invariant()
    def buses_count_the_same(self) -> None:
        """Guarantee 2.8, 8.3: what is counted by type; a type whose last subscription is gone is forgotten."""
        if not getattr(self, "depths", None):
            return

        async def look(side: Side) -> dict[type[Any], tuple[int, ...]]:
            return {kind: tuple(told)[:6] for kind, told in side.hb.ctx.events().items()}

        assert self.do(look) == self.depths[-1].events()

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        while self.depths:
            self.leave_the_scope()
        for side in self.sides:
            side.end()


class Silent:
    """Hears what scopes tell, and forgets it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *told: None


TestTheBus = TheBus.TestCase
# Fewer where each reference that is dropped has to be waited for: a run of the collector takes tens of milliseconds.
TestTheBus.settings = settings(
    max_examples=150 if COUNTS_REFERENCES else 30, stateful_step_count=40, deadline=None
)


def test_a_subscription_whose_reader_was_cancelled_is_forgotten_with_its_last_reference(
    hb: Any, no_garbage: None
) -> None:
    """Guarantee 2.8, 3.2: found by the machine above; the traceback of the cancellation must not lead back to it."""

    async def main() -> None:
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            worker = asyncio.get_running_loop().create_task(take(subscription))
            await asyncio.sleep(0)
            worker.cancel()
            await asyncio.wait([worker])
            del worker, subscription
            let_go()
            assert hb.ctx.events() == {}

    asyncio.run(main())

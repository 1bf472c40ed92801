"""Guarantee 4: subscriptions with a limit, what they lose and who hears of it, and waiting for readers to catch up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import sys
import weakref
from typing import Any

import pytest

from tests.schedules.naive import Loss, NaiveBus, NaiveSubscription
from tests.shared import let_go, turns

pytestmark = pytest.mark.anyio


OVERFLOWS = ("drop_oldest", "drop_newest", "raise")


class Tick:
    def __init__(self, number: int = 0) -> None:
        self.number = number


async def numbers(subscription: Any, count: int) -> list[int]:
    return [(await anext(subscription)).number for _ in range(count)]


class Clock:
    """The time as looks at the bus find it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(sys.modules["haiway_bus._bus.stats"], "monotonic", lambda: self.now)


class TestLimit:
    async def test_it_never_holds_more_than_its_limit(self, hb: Any) -> None:
        """Guarantee 4.1."""
        async with hb.ctx.scope("test"):
            for overflow in (None, "drop_oldest", "drop_newest", "raise"):
                subscription = hb.ctx.subscribe(Tick, limit=3, overflow=overflow)
                for number in range(10):
                    hb.ctx.send(Tick(number))
                    assert subscription.pending == min(number + 1, 3)
                assert (subscription.dropped, subscription.limit) == (7, 3)
                assert repr(subscription) == "<Subscription Tick pending=3 dropped=7 open>"

    async def test_the_oldest_give_way_unless_said_otherwise(self, hb: Any) -> None:
        """Guarantee 4.1."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick, limit=3)
            for number in range(10):
                hb.ctx.send(Tick(number))
            assert await numbers(subscription, 2) == [7, 8]
            hb.ctx.send(Tick(10))
            assert await numbers(subscription, 2) == [9, 10]

    async def test_drop_newest_keeps_what_was_there(self, hb: Any) -> None:
        """Guarantee 4.1."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick, limit=3, overflow="drop_newest")
            for number in range(10):
                hb.ctx.send(Tick(number))
            assert await numbers(subscription, 2) == [0, 1]
            hb.ctx.send(Tick(10))
            hb.ctx.send(Tick(11))
            hb.ctx.send(Tick(12))
            assert await numbers(subscription, 3) == [2, 10, 11]
            assert subscription.dropped == 8

    async def test_raise_tells_the_reader_in_the_place_of_what_was_lost_and_reading_goes_on(
        self, hb: Any
    ) -> None:
        """Guarantee 4.1: every way of reading meets it."""

        async def read(subscription: Any, into: list[Any]) -> None:
            while True:
                try:
                    async for event in subscription:
                        into.append(event.number)
                    return
                except hb.SubscriptionOverflow as overflow:
                    into.append(f"lost {overflow.lost}")

        async def batches(subscription: Any, into: list[Any]) -> None:
            while True:
                try:
                    async for batch in subscription.batches():
                        into.append([event.number for event in batch])
                    return
                except hb.SubscriptionOverflow as overflow:
                    into.append(f"lost {overflow.lost}")

        singles: list[Any] = []
        batched: list[Any] = []
        at_once: list[Any] = []
        async with hb.ctx.scope("test"):
            one, two, three = (hb.ctx.subscribe(Tick, limit=2, overflow="raise") for _ in range(3))
            for number in range(5):
                hb.ctx.send(Tick(number))
            for subscription in (one, two, three):
                assert (await anext(subscription)).number == 0
            hb.ctx.send(Tick(5))
            hb.ctx.send(Tick(6))
            assert (one.pending, one.dropped) == (2, 4)
            for _ in range(4):
                try:
                    at_once.append(three.receive_nowait().number)
                except hb.SubscriptionOverflow as overflow:
                    at_once.append(f"lost {overflow.lost}")
            hb.ctx.spawn(read, one, singles)
            hb.ctx.spawn(batches, two, batched)
            await turns()
            hb.ctx.send(Tick(7))
        assert singles == [1, "lost 3", 5, "lost 1", 7]
        assert batched == [[1], "lost 3", [5], "lost 1", [7]]
        assert at_once == [1, "lost 3", 5, "lost 1"]

    async def test_the_error_says_how_much_was_lost_and_survives_pickling(self, hb: Any) -> None:
        """Guarantee 4.1."""
        import pickle

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick, limit=1, overflow="raise")
            for number in range(3):
                hb.ctx.send(Tick(number))
            await anext(subscription)
            with pytest.raises(
                hb.SubscriptionOverflow,
                match="events of Tick lost here: 2, as the subscription holds at most 1",
            ) as error:
                await anext(subscription)
            assert pickle.loads(pickle.dumps(error.value)).lost == 2

    async def test_a_waiting_reader_is_woken_and_other_readers_are_not_concerned(
        self, hb: Any
    ) -> None:
        """Guarantee 2.2, 4.1."""
        got: list[int] = []
        full: list[int] = []

        async def read(subscription: Any, into: list[int]) -> None:
            async for event in subscription:
                into.append(event.number)

        async with hb.ctx.scope("test"):
            stuck = hb.ctx.subscribe(Tick, limit=1)
            hb.ctx.spawn(read, hb.ctx.subscribe(Tick, limit=5), got)
            hb.ctx.spawn(read, hb.ctx.subscribe(Tick), full)
            await turns()
            for number in range(20):
                hb.ctx.send(Tick(number))
                if number % 4 == 3:
                    await turns()
            assert stuck.pending == 1
        assert got == full == list(range(20))

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "raise"])
    async def test_it_pins_no_event_but_those_it_holds(
        self, hb: Any, overflow: str, no_garbage: None
    ) -> None:
        """Guarantee 4.3: a stuck one beside a reader that takes everything."""
        async with hb.ctx.scope("test"):
            stuck = hb.ctx.subscribe(Tick, limit=3, overflow=overflow)
            reader = hb.ctx.subscribe(Tick)
            alive = []
            for number in range(10):
                event = Tick(number)
                alive.append(weakref.ref(event))
                hb.ctx.send(event)
                del event
                await anext(reader)
            let_go()
            kept = [number for number in range(10) if alive[number]() is not None]
            assert kept == ([7, 8, 9] if overflow == "drop_oldest" else [0, 1, 2])
            stuck.close()
            let_go()
            assert not any(one() for one in alive)

    async def test_a_type_read_only_with_limits_is_forgotten_when_they_are_closed(
        self, hb: Any
    ) -> None:
        """Guarantee 2.8, 4.1."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            one, two = hb.ctx.subscribe(Tick, limit=1), hb.ctx.subscribe(Tick, limit=2)
            hb.ctx.send(Tick())
            one.close()
            hb.ctx.send(Tick())
            assert (one.pending, two.pending) == (0, 2)
            del two
            gc.collect()
            assert id(Tick) not in bus.table

    @pytest.mark.parametrize(
        ("given", "kind", "says"),
        [
            ({"limit": 0}, ValueError, "at least one event, not 0"),
            ({"limit": -5}, ValueError, "at least one event, not -5"),
            ({"limit": 1.5}, TypeError, "at least one event, not 1.5"),
            ({"limit": True}, TypeError, "at least one event, not True"),
            (
                {"limit": 1, "overflow": "block"},
                ValueError,
                "'drop_oldest', 'drop_newest', 'raise', not 'block'",
            ),
            ({"limit": 1, "overflow": 5}, ValueError, "not 5"),
            ({"overflow": "raise"}, TypeError, "with a limit only"),
        ],
        ids=str,
    )
    async def test_what_is_no_limit_or_no_overflow_is_refused(
        self, hb: Any, given: dict[str, Any], kind: type[Exception], says: str
    ) -> None:
        """Guarantee 4.1: and no subscription is left behind."""
        async with hb.ctx.scope("test"):
            with pytest.raises(kind, match=says):
                hb.ctx.subscribe(Tick, **given)
            assert id(Tick) not in hb._bus.current.get().table

    async def test_events_that_act_when_they_are_freed_harm_nothing(self, hb: Any) -> None:
        """Guarantee 4.1: what is dropped may send, subscribe and close the very subscription."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            made: list[Any] = []

            class Nasty:
                def __init__(self, subscription: Any) -> None:
                    self.subscription = subscription

                def __del__(self) -> None:
                    made.append(bus.subscribe(Nasty, 2))
                    self.subscription.close()

            for overflow in ("drop_oldest", "drop_newest", "raise"):
                subscription = hb.ctx.subscribe(Nasty, limit=2, overflow=overflow)
                for _ in range(6):
                    hb.ctx.send(Nasty(subscription))
                del subscription
            made.clear()
            gc.collect()
            let_go()

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "raise"])
    @pytest.mark.parametrize("limit", [1, 2, 3])
    async def test_a_dropped_event_whose_del_sends_breaks_no_limit(
        self, hb: Any, limit: int, overflow: str
    ) -> None:
        """Guarantee 4.1, 4.2: and received + dropped + pending = sent."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            sent = 0

            class Nasty:
                def __init__(self, more: int) -> None:
                    self.more = more

                def __del__(self) -> None:
                    if self.more:
                        send(self.more - 1)

            def send(more: int) -> None:
                nonlocal sent
                sent += 1
                bus.send(Nasty(more))

            subscription = bus.subscribe(Nasty, limit, overflow)
            for _ in range(5):
                send(3)
                assert subscription.pending <= limit
                assert not subscription.closed
            assert subscription.pending == limit
            assert subscription.dropped + subscription.pending == sent
            taken = 0
            let_go()
            while subscription.pending:
                with contextlib.suppress(hb.SubscriptionOverflow):
                    subscription.receive_nowait().more = 0
                    taken += 1
                let_go()
            assert subscription.dropped + taken == sent

    async def test_a_limit_beyond_all_counting_is_the_same_on_both_backends(self, hb: Any) -> None:
        async with hb.ctx.scope("test"):
            assert hb.ctx.subscribe(Tick, limit=10**30).limit == sys.maxsize

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "raise"])
    async def test_what_it_lost_is_free_at_once_and_it_pins_its_limit_while_it_comes_and_goes(
        self, hb: Any, overflow: str, no_garbage: None
    ) -> None:
        """Guarantee 4.3: full, read a little, full again, closed."""
        async with hb.ctx.scope("test"):
            stuck = hb.ctx.subscribe(Tick, limit=3, overflow=overflow)
            alive: list[Any] = []

            def send(count: int) -> None:
                for _ in range(count):
                    event = Tick(len(alive))
                    alive.append(weakref.ref(event))
                    hb.ctx.send(event)

            def kept() -> list[int]:
                let_go()
                return [number for number, one in enumerate(alive) if one() is not None]

            def take() -> int:
                while True:
                    with contextlib.suppress(hb.SubscriptionOverflow):
                        return int(stuck.receive_nowait().number)

            waits: list[int] = []
            for burst, reads in ((7, 2), (1, 1), (5, 3), (2, 1), (9, 2)):
                sent = len(alive)
                send(burst)
                new = list(range(sent, sent + burst))
                waits = (waits + new)[-3:] if overflow == "drop_oldest" else (waits + new)[:3]
                assert (kept(), stuck.pending) == (waits, len(waits))
                for _ in range(reads):
                    assert take() == waits.pop(0)
                    assert kept() == waits
            stuck.close()
            assert kept() == []

    async def test_any_order_of_sends_and_reads_is_as_on_lists(self, hb: Any) -> None:
        """Guarantee 4.1, 2.9, 2.10: many subscriptions at a time, which fall behind and catch up."""
        chance = random.Random(14)
        for _ in range(20):
            bus = hb._bus.Bus("test")
            pairs: list[tuple[Any, NaiveSubscription]] = []
            naive = NaiveBus(0)
            for _ in range(400):
                step = chance.random()
                if not pairs or (step < 0.04 and len(pairs) < 12):
                    limit = chance.choice([None, 1, 2, 3, 5, 8, 13])
                    overflow = chance.choice(OVERFLOWS) if limit else None
                    one = NaiveSubscription(naive, Tick, limit, overflow)
                    naive.join(one)
                    pairs.append((bus.subscribe(Tick, limit, overflow), one))
                elif step < 0.06:
                    subscription, one = pairs.pop(chance.randrange(len(pairs)))
                    subscription.close()
                    one.close()
                elif step < 0.5:
                    events = [Tick() for _ in range(chance.choice([1, 1, 2, 9]))]
                    naive.send(events)
                    for event in events:
                        bus.send(event)
                else:
                    subscription, one = chance.choice(pairs)
                    number = chance.choice([1, 1, 2, 20])
                    while one.waiting and number:
                        number -= 1
                        expected: Any = one.take()
                        batch = step > 0.9
                        if batch and not isinstance(expected, Loss):
                            # As many as wait before the next loss, up to three.
                            expected = [expected]
                            while (
                                len(expected) < 3
                                and one.waiting
                                and not isinstance(one.waiting[0], Loss)
                            ):
                                expected.append(one.take())
                        try:
                            if batch:
                                got = await anext(subscription.batches(3))
                            else:
                                got = subscription.receive_nowait()
                        except hb.SubscriptionOverflow as overflow:
                            got = Loss(overflow.lost)
                        assert got == expected
                for subscription, one in pairs:
                    assert (subscription.pending, subscription.dropped) == (
                        one.pending,
                        one.dropped,
                    )
                if pairs:
                    assert tuple(bus.events()[Tick])[:6] == naive.events()[Tick]
            bus.close()


class TestCost:
    async def test_nothing_is_made_for_an_event_and_a_subscription(self, hb: Any) -> None:
        """Guarantee 3.1: limits that are not reached, counted in objects and in blocks of memory."""
        grown = []
        gc.collect()
        gc.disable()
        try:
            for subscriptions in (1, 1, 100):  # the first run fills the free lists
                async with hb.ctx.scope("test"):
                    held = [
                        hb.ctx.subscribe(Tick, limit=1000, overflow=OVERFLOWS[number % 3])
                        for number in range(subscriptions)
                    ]
                    event = Tick()
                    for _ in range(100):
                        hb.ctx.send(event)
                    before = len(gc.get_objects()), sys.getallocatedblocks()
                    for _ in range(500):
                        hb.ctx.send(event)
                    after = len(gc.get_objects()), sys.getallocatedblocks()
                    grown.append([late - early for early, late in zip(before, after, strict=True)])
                    for one in held:
                        one.close()
        finally:
            gc.enable()
        assert abs(grown[1][0] - grown[2][0]) < 10, grown
        assert abs(grown[1][1] - grown[2][1]) < 50, grown

    @pytest.mark.parametrize("overflow", ["drop_newest", "raise"])
    async def test_one_that_takes_no_more_has_eight_bytes_for_each_event_and_frees_them(
        self, hb: Any, overflow: str
    ) -> None:
        """Guarantee 3.1: and no object for each of them."""
        tracemalloc = pytest.importorskip("tracemalloc", reason="this Python has no tracemalloc")
        async with hb.ctx.scope("test"):
            event = Tick()
            many = [hb.ctx.subscribe(Tick, limit=1000, overflow=overflow) for _ in range(20)]
            hb.ctx.send(event)
            gc.collect()
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(1500):
                    hb.ctx.send(event)
                grown = tracemalloc.get_traced_memory()[0] - before
                assert grown <= 20 * (8 * 1000 + 300) + 2000
                for one in many:
                    while one.pending:
                        one.receive_nowait()
                    with contextlib.suppress(asyncio.QueueEmpty, hb.SubscriptionOverflow):
                        one.receive_nowait()
                gc.collect()
                assert tracemalloc.get_traced_memory()[0] - before < 20 * 300 + 2000
            finally:
                tracemalloc.stop()
            for one in many:
                one.close()

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "raise"])
    async def test_a_limit_that_is_not_reached_is_not_looked_at(
        self, hb: Any, overflow: str
    ) -> None:
        """Guarantee 4.6: so many calls of functions as with one such subscription. They show in the pure backend."""
        calls = []
        for subscriptions in (1, 100):
            async with hb.ctx.scope("test"):
                held = [
                    hb.ctx.subscribe(Tick, limit=500, overflow=overflow)
                    for _ in range(subscriptions)
                ]
                for _ in range(400):
                    hb.ctx.send(Tick())
                for one in held:
                    await anext(one.batches(300))
                # They are looked at once more, where they would be at their limits had nobody read.
                calls.append([calls_of(hb, 100), calls_of(hb, 1), calls_of(hb, 200)])
                for one in held:
                    one.close()
        first, last = calls
        assert first[0] == last[0]
        assert first[2] == last[2]

    @pytest.mark.parametrize("overflow", ["drop_newest", "raise"])
    async def test_a_send_costs_nothing_for_those_that_have_left_the_chain(
        self, hb: Any, overflow: str
    ) -> None:
        """Guarantee 4.6: likewise."""
        calls = []
        for subscriptions in (1, 100):
            async with hb.ctx.scope("test"):
                held = [
                    hb.ctx.subscribe(Tick, limit=2, overflow=overflow) for _ in range(subscriptions)
                ]
                for _ in range(3):
                    hb.ctx.send(Tick())
                calls.append(calls_of(hb, 100))
                assert [one.dropped for one in held] == [101] * subscriptions
                for one in held:
                    one.close()
        assert calls[0] == calls[1]


def calls_of(hb: Any, sends: int) -> int:
    """How many calls of functions there are in so many sends."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    events = [Tick() for _ in range(sends)]
    sys.setprofile(count)
    try:
        for event in events:
            hb.ctx.send(event)
    finally:
        sys.setprofile(None)
    return calls


class TestNames:
    async def test_a_name_stands_where_the_subscription_is_told_of(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantees 2.9, 4.2, 4.4, 5.11: in its repr, in the report of drops, and where flush waits for it."""
        async with hb.ctx.scope("shop") as _:
            orders = hb.ctx.subscribe(Tick, limit=2, overflow="drop_newest", name="orders")
            others = [hb.ctx.subscribe(Tick, limit=5) for _ in range(3)]
            for _ in range(9):
                hb.ctx.send(Tick())
            await turns()
            assert orders.name == "orders"
            assert repr(orders) == "<Subscription Tick 'orders' pending=2 dropped=7 open>"
            assert [one.getMessage() for one in caplog.records] == [
                (
                    "events of Tick dropped: 19, in 4 of 4 subscriptions; the most, 7, in 'orders' with"
                    " limit=2, overflow='drop_newest'"
                )
            ]
            for one in others:
                one.close()
            waiting = hb.ctx.spawn(hb.ctx.flush(Tick))
            await turns()
            [told] = [one.waits_for for one in hb.ctx.waiting()]
            assert told == "flush of Tick: the subscription 'orders' is read by nobody"
            waiting.cancel()
            with pytest.raises(TimeoutError, match="<Subscription Tick 'orders' pending=2"):
                await hb.ctx.flush(Tick, timeout=0.001)
            # It is still told when the subscription is gone.
            caplog.clear()
            hb.ctx.send(Tick())
            orders.close()
            del orders
        assert "in 'orders' with limit=2" in caplog.text

    async def test_flush_names_one_of_several(self, hb: Any) -> None:
        """Guarantee 5.11."""
        async with hb.ctx.scope("shop"):
            held = [hb.ctx.subscribe(Tick, name=name) for name in ("first", "second")]
            hb.ctx.send(Tick())
            waiting = hb.ctx.spawn(hb.ctx.flush(Tick))
            await turns()
            [told] = [one.waits_for for one in hb.ctx.waiting()]
            assert told == "flush of Tick: 2 subscriptions, of which 'first' is read by nobody"
            waiting.cancel()
            assert len(held) == 2

    async def test_a_handler_gives_its_subscription_its_name(self, hb: Any) -> None:
        """Guarantee 2.11: unless it is given another."""

        def ship(tick: Tick) -> None:
            pass

        async with hb.ctx.scope("shop"):
            assert hb.ctx.on(Tick, ship).name.endswith("ship")
            assert hb.ctx.on(Tick, ship, name="shipping").name == "shipping"
            assert hb.ctx.subscribe(Tick).name is None

    @pytest.mark.parametrize("bounds", [{}, {"limit": 2}])
    async def test_debug_mode_tells_the_place(self, hb: Any, bounds: dict[str, Any]) -> None:
        """Guarantee 2.9: in asyncio's debug mode, where no name is given."""
        loop = asyncio.get_running_loop()
        async with hb.ctx.scope("shop"):
            loop.set_debug(True)
            try:
                one = hb.ctx.subscribe(Tick, **bounds)
                line = sys._getframe().f_lineno - 1
                named = hb.ctx.subscribe(Tick, name="mine", **bounds)
            finally:
                loop.set_debug(False)
            assert one.name == f"{__file__}:{line}"
            assert f"test_bounded.py:{line}' pending=0" in repr(one)
            assert named.name == "mine"

    async def test_what_is_no_name_is_refused(self, hb: Any) -> None:
        """Guarantee 2.9: in words, at the call; and a subclass of str is taken for its text."""

        class Name(str):
            def __str__(self) -> str:
                raise AssertionError

        def ignore(tick: Tick) -> None:
            pass

        async with hb.ctx.scope("shop"):
            for wrong, error in ((7, TypeError), (b"x", TypeError), ("", ValueError)):
                with pytest.raises(error, match="name") as refused:
                    hb.ctx.subscribe(Tick, name=wrong)
                assert repr(wrong) in str(refused.value)
                with pytest.raises(error, match="name"):
                    hb.ctx.on(Tick, ignore, name=wrong)
            assert not hb.ctx.events()
            taken = hb.ctx.subscribe(Tick, name=Name("odd\nname"), limit=1)
            assert type(taken.name) is str
            assert "'odd\\nname'" in repr(taken)


class TestReports:
    async def test_one_line_a_second_tells_of_all_subscriptions_of_the_type(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 4.2: with the number, in how many of how many, and the worst."""
        async with hb.ctx.scope("shop"):
            held = [
                *[hb.ctx.subscribe(Tick, limit=4) for _ in range(50)],
                *[hb.ctx.subscribe(Tick, limit=3, overflow="raise") for _ in range(30)],
                *[hb.ctx.subscribe(Tick, limit=9) for _ in range(20)],
                hb.ctx.subscribe(Tick),
            ]
            for number in range(6):
                hb.ctx.send(Tick(number))
            await turns()
            for one in held[:70]:
                one.close()
            for _ in range(2):
                hb.ctx.send(Tick())
            held[70].close()
            assert [one.getMessage() for one in caplog.records] == [
                (
                    "events of Tick dropped: 190, in 80 of 101 subscriptions;"
                    " the most, 3, in one with limit=3, overflow='raise'"
                )
            ]
            caplog.clear()
            await anext(held[-1].batches())
            held[71:] = []
            let_go()
        # Those that have closed meanwhile are among them.
        assert [one.getMessage() for one in caplog.records] == [
            (
                "events of Tick dropped: 20, in 10 of 10 subscriptions;"
                " the most, 2, in one with limit=3, overflow='raise'"
            )
        ]

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "raise"])
    async def test_the_looks_end_when_nothing_is_lost_and_begin_again(
        self, hb: Any, overflow: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 4.2: of one that has left the chain, too."""
        monkeypatch.setattr(sys.modules["haiway_bus._bus.drops"], "SECONDS", 0.0)
        bus = hb._bus.Bus("test")
        told: list[int] = []
        bus.observer = lambda dropped: told.append(dropped.number)
        subscription = bus.subscribe(Tick, 2, overflow)
        async with asyncio.timeout(5):
            for _ in range(3):
                for _ in range(4):
                    bus.send(Tick())
                assert bus.losses
                while bus.losses:
                    await asyncio.sleep(0)
        assert told == [2, 4, 4]
        assert subscription.dropped == 10
        bus.close()
        assert told == [2, 4, 4]

    async def test_a_type_that_is_subscribed_to_again_within_the_second_waits_for_its_turn(
        self, hb: Any
    ) -> None:
        """Guarantee 4.2: at most one a second and type, however often its last subscription is closed."""
        bus = hb._bus.Bus("test")
        told: list[tuple[int, int, int]] = []
        bus.observer = lambda dropped: told.append(
            (dropped.number, dropped.losing, dropped.subscriptions)
        )
        for _ in range(5):
            subscription = bus.subscribe(Tick, 1)
            for _ in range(3):
                bus.send(Tick())
            subscription.close()
            assert bus.events() == {}
        assert told == [(2, 1, 1)]
        bus.close()
        assert told == [(2, 1, 1), (8, 4, 4)]

    async def test_the_first_drop_is_told_and_then_at_most_one_report_a_second(
        self, hb: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 4.2: and what was not told by then is told at the end."""
        async with hb.ctx.scope("shop"):
            subscription = hb.ctx.subscribe(Tick, limit=1)
            hb.ctx.send(Tick())
            assert caplog.records == []
            for _ in range(5):
                hb.ctx.send(Tick())
            assert caplog.records == []  # send itself tells nobody
            await turns()
            for _ in range(5):
                hb.ctx.send(Tick())
                await turns()
            assert [one.getMessage() for one in caplog.records] == [
                (
                    "events of Tick dropped: 5, in 1 of 1 subscriptions;"
                    " the most, 5, in one with limit=1, overflow='drop_oldest'"
                )
            ]
            assert subscription.dropped == 10
        messages = [one.getMessage() for one in caplog.records]
        assert [one.split(",")[0] for one in messages[1:]] == [
            "events of Tick dropped: 5",
            "events of Tick left unread at the end of the scope: 1",
        ]
        assert {(one.name, one.levelno) for one in caplog.records} == {("shop", logging.WARNING)}

    async def test_a_closed_subscription_tells_the_rest(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 4.2."""
        async with hb.ctx.scope("shop"):
            subscription = hb.ctx.subscribe(Tick, limit=1)
            for _ in range(3):
                hb.ctx.send(Tick())
            subscription.close()
            assert [one.getMessage() for one in caplog.records] == [
                (
                    "events of Tick dropped: 2, in 1 of 1 subscriptions;"
                    " the most, 2, in one with limit=1, overflow='drop_oldest'"
                )
            ]
            await turns()
        assert len(caplog.records) == 1

    async def test_events_left_unread_at_the_end_are_told_once_a_type(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 5.4: type and number."""
        async with hb.ctx.scope("shop"):
            one, two = hb.ctx.subscribe(Tick), hb.ctx.subscribe(Tick)
            for _ in range(3):
                hb.ctx.send(Tick())
            await anext(one)
        assert [one.getMessage() for one in caplog.records] == [
            "events of Tick left unread at the end of the scope: 5"
        ]
        assert two.pending == 3

    async def test_an_observer_that_fails_leaves_no_subscription_open(self, hb: Any) -> None:
        """Guarantee 5.4, 5.6: the bus is ended first and told of then."""

        def fail(*_: Any) -> None:
            raise OSError("nobody listens")

        async with hb.ctx.scope("test"):
            bus = hb._bus.Bus("other")
            ends = []

            async def read(subscription: Any) -> None:
                async for _ in subscription:
                    pass
                ends.append(True)

            full = bus.subscribe(Tick, 1)
            later = [bus.subscribe(kind) for kind in (type("A", (), {}), type("B", (), {}))]
            for one in later:
                hb.ctx.spawn(read, one)
            await turns()
            for _ in range(2):
                bus.send(Tick())
            bus.observer = fail
            with pytest.raises(OSError, match="nobody listens"):
                bus.close()
            async with asyncio.timeout(5):
                while len(ends) < 2:
                    await asyncio.sleep(0)
            assert full.closed


class TestStats:
    async def test_events_are_counted_by_type(self, hb: Any) -> None:
        """Guarantee 8.3: and sent times subscriptions is delivered and dropped and pending."""
        async with hb.ctx.scope("test"):
            assert hb.ctx.events() == {}
            full = hb.ctx.subscribe(Tick)
            limited = hb.ctx.subscribe(Tick, limit=2)
            newest = hb.ctx.subscribe(Tick, limit=2, overflow="drop_newest")
            gone = hb.ctx.subscribe(Tick)
            for number in range(5):
                hb.ctx.send(Tick(number))
            await numbers(full, 1)
            await numbers(limited, 2)
            await numbers(newest, 1)
            await numbers(gone, 5)
            gone.close()
            assert hb.ctx.events() == {
                Tick: hb.EventStats(
                    subscriptions=3,
                    sent=5,
                    delivered=9,
                    dropped=6,
                    pending=5,
                    lag=4,
                    age=0.0,
                    peak=4,
                    at_limit=2,
                    slowest=None,
                )
            }
            full.close()
            limited.close()
            newest.close()
            assert hb.ctx.events() == {}
        with pytest.raises(hb.ContextMissing):
            hb.ctx.events()

    async def test_the_age_of_the_oldest_is_known_from_looks(
        self, hb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 8.3: at least so old, and older by the distance of two looks at most."""
        clock = Clock(monkeypatch)
        async with hb.ctx.scope("test"):
            slow, fast = hb.ctx.subscribe(Tick), hb.ctx.subscribe(Tick)

            def age() -> float:
                found: float = hb.ctx.events()[Tick].age
                return found

            assert age() == 0
            clock.now += 5
            hb.ctx.send(Tick())
            clock.now += 5
            assert age() == 0  # nobody had looked since it was sent
            clock.now += 5
            assert age() == 5
            hb.ctx.send(Tick())
            await numbers(fast, 2)
            clock.now += 5
            assert age() == 10
            await numbers(slow, 1)
            clock.now += 5
            assert age() == 5  # that of the second
            await numbers(slow, 1)
            assert age() == 0
            clock.now += 100
            hb.ctx.send(Tick())
            assert age() == 0

    @pytest.mark.parametrize("overflow", OVERFLOWS)
    async def test_a_random_history_of_looks_gives_the_age_within_their_distance(
        self, hb: Any, overflow: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 8.3: also of subscriptions that miss events, whose places are not those of what was sent."""
        clock = Clock(monkeypatch)
        for seed in range(20):
            random_ = random.Random(seed)
            async with hb.ctx.scope("test"):
                other = hb.ctx.subscribe(Tick)
                limited = hb.ctx.subscribe(Tick, limit=4, overflow=overflow)
                sent: list[float] = []
                waiting: list[list[int]] = [[], []]
                before, longest = clock.now, 0.0
                for _ in range(200):
                    clock.now += random_.randrange(3)
                    choice = random_.random()
                    if choice < 0.4:
                        hb.ctx.send(Tick(len(sent)))
                        sent.append(clock.now)
                        waiting[0].append(len(sent) - 1)
                        if limited.pending > len(waiting[1]) or overflow == "drop_oldest":
                            waiting[1].append(len(sent) - 1)
                        waiting[1] = waiting[1][-4:]
                    elif choice < 0.8:
                        for place, one in enumerate((other, limited)):
                            if one.pending:
                                with contextlib.suppress(hb.SubscriptionOverflow):
                                    event = one.receive_nowait()
                                    assert event.number == waiting[place].pop(0)
                    else:
                        told = hb.ctx.events()[Tick].age
                        true = max(
                            (clock.now - sent[each[0]] for each in waiting if each), default=0
                        )
                        longest = max(longest, clock.now - before)
                        assert 0 <= true - told <= longest
                        before = clock.now

    async def test_a_long_history_is_known_less_exactly_and_takes_no_memory(
        self, hb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 8.3."""
        clock = Clock(monkeypatch)
        async with hb.ctx.scope("test"):
            stuck = hb.ctx.subscribe(Tick)
            for _ in range(1000):
                hb.ctx.send(Tick())
                hb.ctx.events()
                clock.now += 1
            assert hb.ctx.events()[Tick].age == 1000
            for _ in range(500):
                stuck.receive_nowait()
            assert 400 <= hb.ctx.events()[Tick].age <= 500
            looks = hb._bus.current.get().table[id(Tick)].looks
            assert len(looks.moments.found) <= 64

    async def test_the_peak_and_who_was_at_its_limit_are_of_the_time_since_the_last_look(
        self, hb: Any
    ) -> None:
        """Guarantee 8.3: for each who looks, also when others have looked meanwhile."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            other = sys.modules["haiway_bus._bus.stats"].Observer()

            def told(observer: Any = None) -> tuple[int, int, int, str | None]:
                stats = bus.events(observer)[Tick]
                return stats.lag, stats.peak, stats.at_limit, stats.slowest

            free = hb.ctx.subscribe(Tick, name="free")
            held = [
                hb.ctx.subscribe(Tick, limit=4, overflow=overflow, name=overflow)
                for overflow in OVERFLOWS
            ]
            for number in range(3):
                hb.ctx.send(Tick(number))
            assert told() == (3, 3, 0, "free")
            hb.ctx.send(Tick(3))
            assert told() == (4, 4, 3, "free")  # they have lost nothing, and are at their limits
            for one in (free, *held):
                await numbers(one, 4)
            assert told() == (0, 0, 0, None)
            assert told(other) == (0, 4, 3, None)
            for number in range(6):
                hb.ctx.send(Tick(number))
            await numbers(free, 6)
            for one in held:
                await numbers(one, 4)
            # Nobody has looked meanwhile, but the losses tell.
            assert told() == (0, 4, 3, None)
            assert told() == (0, 0, 0, None)
            held.pop().close()
            assert told(other) == (0, 4, 2, None)
            assert told(other) == (0, 0, 0, None)
            assert told(sys.modules["haiway_bus._bus.stats"].Observer()) == (0, 4, 2, None)


class TestFlush:
    async def test_it_returns_when_all_have_taken_everything_and_come_back(self, hb: Any) -> None:
        """Guarantee 4.4."""
        done: list[int] = []

        async def read(seconds: float) -> None:
            async for event in hb.ctx.subscribe(Tick):
                await asyncio.sleep(seconds)
                done.append(event.number)

        async with hb.ctx.scope("test"):
            for seconds in (0, 0.001, 0.002):
                hb.ctx.spawn(read, seconds)
            await turns()
            for number in range(5):
                hb.ctx.send(Tick(number))
            await hb.ctx.flush(Tick)
            assert sorted(done) == sorted(list(range(5)) * 3)
            await hb.ctx.flush(Tick)  # nothing to wait for

    async def test_without_subscriptions_or_events_it_returns_at_once(self, hb: Any) -> None:
        """Guarantee 4.4."""
        async with hb.ctx.scope("test"):
            await hb.ctx.flush(Tick)
            subscription = hb.ctx.subscribe(Tick)
            await hb.ctx.flush(Tick)
            assert not subscription.closed

    async def test_it_waits_for_what_was_sent_before_only(self, hb: Any) -> None:
        """Guarantee 4.4."""
        gate = asyncio.Event()
        done: list[int] = []

        async def read() -> None:
            async for event in hb.ctx.subscribe(Tick):
                done.append(event.number)
                if event.number == 2:
                    await gate.wait()

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(read)
            await turns()
            hb.ctx.send(Tick(1))
            waiting = asyncio.get_running_loop().create_task(hb.ctx.flush(Tick))
            await turns(1)
            hb.ctx.send(Tick(2))
            await asyncio.wait_for(waiting, 5)
            assert done[0] == 1
            gate.set()

    async def test_every_worker_of_a_pool_has_to_come_back(self, hb: Any) -> None:
        """Guarantee 2.4, 4.4."""
        done: list[int] = []

        async def handler(event: Any) -> None:
            await asyncio.sleep(0.002 if event.number == 0 else 0)
            done.append(event.number)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Tick, handler, workers=3)
            for number in range(10):
                hb.ctx.send(Tick(number))
            await hb.ctx.flush(Tick)
            assert sorted(done) == list(range(10))

    async def test_a_worker_that_dies_is_waited_for_no_longer(self, hb: Any) -> None:
        """Guarantee 4.4: or ended."""

        async def read(subscription: Any) -> None:
            async for _ in subscription:
                await asyncio.sleep(60)

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(read(subscription)) for _ in range(3)]
            await turns()
            hb.ctx.send(Tick())
            await turns()
            loop.call_later(0.002, tasks[0].cancel)
            await asyncio.wait_for(hb.ctx.flush(Tick), 5)
            for task in tasks:
                task.cancel()

    async def test_a_subscription_that_ends_is_waited_for_no_longer(self, hb: Any) -> None:
        """Guarantee 4.4: closed, or dropped."""
        async with hb.ctx.scope("test"):
            held = [hb.ctx.subscribe(Tick), hb.ctx.subscribe(Tick, limit=1)]
            hb.ctx.send(Tick())
            waiting = asyncio.get_running_loop().create_task(hb.ctx.flush(Tick))
            await turns()
            assert not waiting.done()
            held.pop().close()
            await turns()
            assert not waiting.done()
            held.clear()
            gc.collect()
            await asyncio.wait_for(waiting, 5)

    async def test_a_time_out_names_who_is_behind_and_by_how_much(self, hb: Any) -> None:
        """Guarantee 4.4."""
        async with hb.ctx.scope("test"):
            slow, working = hb.ctx.subscribe(Tick), hb.ctx.subscribe(Tick)
            for number in range(3):
                hb.ctx.send(Tick(number))
            await numbers(working, 3)
            with pytest.raises(TimeoutError) as error:
                await hb.ctx.flush(Tick, timeout=0.001)
            assert str(error.value) == (
                "flush() of Tick waited 0.001 s: <Subscription Tick pending=3 open> is behind by 3 and was never read;"
                " <Subscription Tick pending=0 open> took all, but is still at work"
            )
            # It leaves nothing behind: reading goes on as before.
            assert await numbers(slow, 3) == [0, 1, 2]

    async def test_limited_subscriptions_count_what_they_dropped_as_taken(self, hb: Any) -> None:
        """Guarantee 4.1, 4.4."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick, limit=2)
            hb.ctx.send(Tick(0))
            hb.ctx.send(Tick(1))
            waiting = asyncio.get_running_loop().create_task(hb.ctx.flush(Tick))
            await turns()
            hb.ctx.send(Tick(2))
            hb.ctx.send(Tick(3))
            reading = asyncio.get_running_loop().create_task(numbers(subscription, 3))
            await asyncio.wait_for(waiting, 5)
            reading.cancel()

    async def test_outside_a_scope_it_is_refused(self, hb: Any) -> None:
        """Guarantee 5.2."""
        with pytest.raises(hb.ContextMissing):
            await hb.ctx.flush(Tick)

    async def test_it_returns_when_the_scope_ends_meanwhile(self, hb: Any) -> None:
        """Guarantee 4.4: called in a task that is none of the scope's."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            hb.ctx.send(Tick())
            flushing = asyncio.create_task(hb.ctx.flush(Tick))
            await turns()
        async with asyncio.timeout(5):
            await flushing
        assert (await anext(subscription)).number == Tick().number

    async def test_it_goes_without_those_that_are_named(self, hb: Any) -> None:
        """Guarantee 4.4: a reader of the type can call it, when it does not wait for itself."""
        async with hb.ctx.scope("test"):
            own, other = hb.ctx.subscribe(Tick), hb.ctx.subscribe(Tick, limit=9)
            hb.ctx.send(Tick())
            with pytest.raises(TimeoutError, match="behind by 1"):
                await hb.ctx.flush(Tick, timeout=0.001, without=[own])
            await anext(other)
            flushing = hb.ctx.spawn(hb.ctx.flush(Tick, timeout=5, without=iter([own])))
            await turns()
            with pytest.raises(asyncio.QueueEmpty):
                other.receive_nowait()
            await flushing
            assert own.pending == 1

    async def test_it_leaves_nothing_on_the_tasks_of_a_pool(self, hb: Any) -> None:
        """Guarantee 4.4, 3: however often it is called while they go on."""
        async with hb.ctx.scope("test"):
            workers: set[Any] = set()

            async def handle(event: Any) -> None:
                workers.add(asyncio.current_task())
                await asyncio.sleep(0)

            hb.ctx.on(Tick, handle, workers=2)
            counts = []
            for _ in range(3):
                for _ in range(20):
                    hb.ctx.send(Tick())
                    hb.ctx.send(Tick())
                    await hb.ctx.flush(Tick)
                counts.append([len(getattr(one, "_callbacks", None) or ()) for one in workers])
            assert counts[0] == counts[1] == counts[2]

    async def test_what_is_no_type_and_no_time_is_refused(self, hb: Any) -> None:
        """Guarantee 1.4, 4.4, 2.12: flush() of an event would return at once, and nan seconds are never over."""
        async with hb.ctx.scope("test"):
            for wrong in (Tick(), "Tick", None, int):
                with pytest.raises(TypeError, match=r"flush\(\) takes a class"):
                    await hb.ctx.flush(wrong)
            for call in (
                hb.ctx.flush,
                lambda kind, timeout: hb.ctx.subscribe(kind).first(timeout=timeout),
            ):
                for timeout in ("5", True):
                    with pytest.raises(TypeError, match="a timeout in seconds, a number, not"):
                        await call(Tick, timeout=timeout)
                with pytest.raises(ValueError, match="a timeout in seconds, not nan"):
                    await call(Tick, timeout=float("nan"))


class TestHandlersOfSignals:
    """One may run wherever a function begins: what it sends or takes comes before the read or after it."""

    @staticmethod
    def at_each_call(handler: Any, action: Any) -> Any:
        """Runs the action once for each call that it makes, with the handler in that call; gives way after each."""
        at, fired = 0, True
        while fired:
            number, fired = 0, False

            def look(_frame: Any, event: str, _argument: Any, at: int = at) -> None:
                nonlocal number, fired
                if event in ("call", "c_call"):
                    number += 1
                    if number > at and not fired:
                        fired = True
                        sys.setprofile(None)
                        handler()

            sys.setprofile(look)
            try:
                action()
            finally:
                sys.setprofile(None)
            yield at
            at += 1

    @pytest.mark.parametrize("away", [False, True])
    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
    async def test_that_send_while_one_is_taken(self, hb: Any, overflow: str, away: bool) -> None:
        async with hb.ctx.scope("test"):
            got: list[int] = []
            number = 0

            def send() -> None:
                nonlocal number
                number += 1
                hb.ctx.send(Tick(number))

            def send_two() -> None:
                send()
                send()

            def take() -> None:
                got.append(subscription.receive_nowait().number)

            def fill() -> Any:
                for _ in range(3 if away else 2):
                    send()

            subscription = hb.ctx.subscribe(Tick, limit=2, overflow=overflow)
            fill()
            for _ in self.at_each_call(send_two, take):
                while subscription.pending:
                    take()
                assert got == sorted(set(got))
                assert len(got) + subscription.dropped == number
                fill()

    async def test_that_take_while_a_loop_does(self, hb: Any) -> None:
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Tick)
            got: list[int] = []

            async def one() -> None:
                async for event in subscription:
                    got.append(event.number)
                    break

            def take() -> None:
                if subscription.pending:
                    got.append(subscription.receive_nowait().number)

            def step() -> None:
                with contextlib.suppress(StopIteration):
                    one().send(None)

            hb.ctx.send(Tick(0))
            hb.ctx.send(Tick(1))
            for at in self.at_each_call(take, step):
                while subscription.pending:
                    take()
                assert sorted(got) == list(range(2 * at + 2))
                hb.ctx.send(Tick(2 * at + 2))
                hb.ctx.send(Tick(2 * at + 3))

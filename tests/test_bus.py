"""Guarantee 1 and 2: what can be sent, to whom it goes, and how it is read."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import math
import weakref
from typing import Any, NamedTuple

import pytest

from tests.shared import import_copy, let_go, own_modules, switch_to, turns

pytestmark = pytest.mark.anyio


@dataclasses.dataclass(frozen=True)
class Ordered:
    number: int


class Paid(NamedTuple):
    number: int


class Special(Ordered):
    pass


class Unfriendly:
    """Nothing that a dictionary, a set or a comparison would want works on it."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("the bus compared an event")

    def __bool__(self) -> bool:
        raise AssertionError("the bus asked for the truth of an event")


def reader(subscription: Any, into: list[Any]) -> asyncio.Task[None]:
    async def read() -> None:
        async for event in subscription:
            into.append(event)

    return asyncio.get_running_loop().create_task(read())


async def count(subscription: Any) -> int:
    number = 0
    async for _ in subscription:
        number += 1
        del _
    return number


class TestEvents:
    @pytest.mark.parametrize(
        "event", [Ordered(1), Paid(2), Unfriendly()], ids=lambda event: type(event).__name__
    )
    async def test_an_instance_of_any_class_defined_in_python_is_an_event(
        self, hb: Any, event: Any
    ) -> None:
        """Guarantee 1.1, 1.6. A NamedTuple, too, arrives as itself though StopIteration would unpack it."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(type(event))
            assert hb.ctx.send(event) is None
            assert (await anext(subscription)) is event

    async def test_a_state_an_enum_member_and_an_exception_are_events(self, hb: Any) -> None:
        """Guarantee 1.1."""
        import enum

        class Made(hb.State):
            number: int

        class Color(enum.Enum):
            RED = 1

        class Failed(Exception):
            pass

        async with hb.ctx.scope("test"):
            for event in (Made(number=1), Color.RED, Failed("x")):
                subscription = hb.ctx.subscribe(type(event))
                hb.ctx.send(event)
                assert (await anext(subscription)) is event

    async def test_a_subclass_is_another_type(self, hb: Any) -> None:
        """Guarantee 1.2."""
        async with hb.ctx.scope("test"):
            base, special = hb.ctx.subscribe(Ordered), hb.ctx.subscribe(Special)
            hb.ctx.send(Special(1))
            hb.ctx.send(Ordered(2))
            assert (base.pending, special.pending) == (1, 1)
            assert (await anext(base)) == Ordered(2)
            assert type(await anext(special)) is Special

    async def test_send_runs_no_reader(self, hb: Any) -> None:
        """Guarantee 1.3."""
        async with hb.ctx.scope("test"):
            got: list[Any] = []
            task = reader(hb.ctx.subscribe(Ordered), got)
            await turns()
            hb.ctx.send(Ordered(1))
            assert got == []
            await turns(1)
            assert got == [Ordered(1)]
            task.cancel()

    @pytest.mark.parametrize(
        ("event", "says"),
        [
            (Ordered, "not a class: Ordered was given, send an instance"),
            (None, "not None"),
            (5, "built-in int: 5 was given"),
            ("x" * 500, "built-in str"),
            ([Ordered(1)], "built-in list"),
            (asyncio, "built-in module"),
        ],
        ids=str,
    )
    async def test_what_cannot_be_an_event_is_refused_and_told_what_to_do(
        self, hb: Any, event: Any, says: str
    ) -> None:
        """Guarantee 1.4."""
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match=says) as refused:
                hb.ctx.send(event)
            assert len(str(refused.value)) < 250

    async def test_a_class_with_a_metaclass_is_refused_as_any_class(self, hb: Any) -> None:
        """Guarantee 1.4: its type was defined in Python, and is no type of events for that."""

        class Kind(type):
            pass

        class Made(metaclass=Kind):
            pass

        class Sold(hb.State):  # type: ignore[misc,name-defined]
            number: int

        async with hb.ctx.scope("test"):
            for given in (Made, Sold):
                with pytest.raises(TypeError, match="not a class: .* was given, send an instance"):
                    hb.ctx.send(given)
                with pytest.raises(TypeError, match="not a metaclass"):
                    hb.ctx.subscribe(type(given))

    async def test_a_coroutine_is_refused(self, hb: Any) -> None:
        """Guarantee 1.4."""

        async def forgotten() -> None: ...

        coroutine = forgotten()
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match="not a coroutine.*await it"):
                hb.ctx.send(coroutine)
        coroutine.close()

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (Ordered(1), "pass the class itself"),
            (int, "built-in int"),
            (type(None), "built-in NoneType"),
            (type, "metaclass"),
            (list[Ordered], "not an instance of GenericAlias"),
            ("Ordered", "not an instance of str"),
        ],
        ids=str,
    )
    async def test_what_is_no_class_of_events_cannot_be_subscribed(
        self, hb: Any, given: Any, says: str
    ) -> None:
        """Guarantee 1.4."""
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match=says):
                hb.ctx.subscribe(given)

    async def test_an_event_nobody_subscribes_to_is_dropped_at_once(
        self, hb: Any, no_garbage: None
    ) -> None:
        """Guarantee 1.5."""
        async with hb.ctx.scope("test"):
            event = Ordered(1)
            gone = weakref.ref(event)
            hb.ctx.send(event)
            del event
            let_go()
            assert gone() is None


class TestStream:
    async def test_everything_after_subscribe_arrives_once_and_in_order(self, hb: Any) -> None:
        """Guarantee 2.1. Iteration begins later: what was sent in between is waiting."""
        async with hb.ctx.scope("test"):
            early = hb.ctx.subscribe(Ordered)
            for number in range(5):
                hb.ctx.send(Ordered(number))
            late = hb.ctx.subscribe(Ordered)
            for number in range(5, 8):
                hb.ctx.send(Ordered(number))
            assert (early.pending, late.pending) == (8, 3)
            assert [(await anext(early)).number for _ in range(8)] == list(range(8))
            assert [(await anext(late)).number for _ in range(3)] == [5, 6, 7]

    async def test_each_subscription_receives_all_whatever_the_others_do(self, hb: Any) -> None:
        """Guarantee 2.2: one is cancelled, one fails, one is slow, one reads."""
        async with hb.ctx.scope("test"):
            slow = hb.ctx.subscribe(Ordered)
            got: list[Any] = []
            fine = reader(hb.ctx.subscribe(Ordered), got)
            cancelled = reader(hb.ctx.subscribe(Ordered), [])

            async def fail(subscription: Any) -> None:
                async for _ in subscription:
                    raise LookupError("reader failed")

            failed = asyncio.get_running_loop().create_task(fail(hb.ctx.subscribe(Ordered)))
            await turns()
            hb.ctx.send(Ordered(0))
            cancelled.cancel()
            await turns()
            for number in range(1, 4):
                hb.ctx.send(Ordered(number))
            await turns()
            assert [event.number for event in got] == [0, 1, 2, 3]
            assert slow.pending == 4
            assert cancelled.cancelled()
            assert isinstance(failed.exception(), LookupError)
            fine.cancel()

    async def test_break_and_iterate_again_goes_on_with_the_next(self, hb: Any) -> None:
        """Guarantee 2.3."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            for number in range(4):
                hb.ctx.send(Ordered(number))
            got = []
            async for event in subscription:
                got.append(event.number)
                if len(got) == 2:
                    break
            async for event in subscription:
                got.append(event.number)
                if len(got) == 4:
                    break
            assert got == [0, 1, 2, 3]

    async def test_it_works_with_all_that_asyncio_offers(self, hb: Any) -> None:
        """Guarantee 2.3: anext, wait_for, timeout, create_task, gather, TaskGroup; ready and parked."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            loop = asyncio.get_running_loop()
            for sent_before in (True, False):

                def send(number: int, now: bool = sent_before) -> None:
                    if now:
                        hb.ctx.send(Ordered(number))
                    else:
                        loop.call_later(0.001, hb.ctx.send, Ordered(number))

                send(1)
                assert (await asyncio.wait_for(anext(subscription), 5)).number == 1
                send(2)
                async with asyncio.timeout(5):
                    assert (await anext(subscription)).number == 2
                send(3)
                assert (await asyncio.create_task(anext(subscription))).number == 3
                send(4)
                send(5)
                both = await asyncio.gather(anext(subscription), anext(subscription))
                assert [event.number for event in both] == [4, 5]
                send(6)
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(anext(subscription))
                assert task.result().number == 6
                send(7)
                assert (await asyncio.shield(anext(subscription))).number == 7
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.001)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await anext(subscription)

    async def test_eager_tasks_read(self, hb: Any) -> None:
        """Guarantee 2.3."""
        loop = asyncio.get_running_loop()
        if not hasattr(asyncio, "eager_task_factory") or not isinstance(
            loop, asyncio.BaseEventLoop
        ):
            pytest.skip(
                "eager tasks came with Python 3.12, and uvloop does not start them on every version"
            )
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.subscribe(Ordered)
                hb.ctx.send(Ordered(1))
                ready = asyncio.create_task(anext(subscription))
                assert ready.done()
                assert ready.result().number == 1
                waiting = asyncio.create_task(anext(subscription))
                hb.ctx.send(Ordered(2))
                assert (await waiting).number == 2
        finally:
            loop.set_task_factory(None)

    async def test_a_read_twice_awaited_is_refused(self, hb: Any) -> None:
        """Guarantee 2.1: no event is taken by an awaitable that is over."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            hb.ctx.send(Ordered(1))
            hb.ctx.send(Ordered(2))
            read = anext(subscription)
            await read
            with pytest.raises(RuntimeError, match="cannot reuse"):
                await read
            assert subscription.pending == 1


class TestWorkers:
    async def test_each_event_goes_to_exactly_one_worker(self, hb: Any) -> None:
        """Guarantee 2.4."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            taken: list[list[int]] = [[] for _ in range(4)]

            async def work(mine: list[int]) -> None:
                async for event in subscription:
                    mine.append(event.number)
                    if event.number % 3 == 0:
                        await asyncio.sleep(0)

            for mine in taken:
                hb.ctx.spawn(work, mine)
            await turns()
            for number in range(1000):
                hb.ctx.send(Ordered(number))
                if number % 7 == 0:
                    await asyncio.sleep(0)
        assert sorted(number for mine in taken for number in mine) == list(range(1000))
        assert all(mine == sorted(mine) for mine in taken)
        assert all(taken)

    async def test_waiting_workers_are_served_first_come_first_served(self, hb: Any) -> None:
        """Guarantee 2.4, also when another reader comes between the sending and the waking."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            got: list[tuple[str, int]] = []

            async def take(name: str) -> None:
                got.append((name, (await anext(subscription)).number))

            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(take(name)) for name in "abc"]
            await turns()
            hb.ctx.send(Ordered(0))
            tasks.append(loop.create_task(take("late")))
            hb.ctx.send(Ordered(1))
            hb.ctx.send(Ordered(2))
            hb.ctx.send(Ordered(3))
            await asyncio.gather(*tasks)
            assert got == [("a", 0), ("b", 1), ("c", 2), ("late", 3)]

    async def test_the_event_of_a_cancelled_worker_goes_to_the_next(self, hb: Any) -> None:
        """Guarantee 2.4, 2.5."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            loop = asyncio.get_running_loop()
            first, second, third = (loop.create_task(anext(subscription)) for _ in range(3))
            await turns()
            hb.ctx.send(Ordered(1))
            first.cancel()
            await turns()
            assert first.cancelled()
            assert second.done()
            assert second.result().number == 1
            third.cancel()
            await turns()
            hb.ctx.send(Ordered(2))
            assert (await anext(subscription)).number == 2

    async def test_workers_leave_the_line_in_any_order(self, hb: Any) -> None:
        """Guarantee 2.4, 2.5."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(anext(subscription)) for _ in range(10)]
            await turns()
            for index in (3, 0, 9, 5, 1):
                tasks[index].cancel()
            for number in range(5):
                hb.ctx.send(Ordered(number))
            await turns()
            left = [tasks[index] for index in (2, 4, 6, 7, 8)]
            assert [task.result().number for task in left] == [0, 1, 2, 3, 4]
            assert subscription.pending == 0


class TestCancelling:
    async def test_cancelling_one_of_three_waiting_readers_leaves_the_other_two_reading(
        self, hb: Any
    ) -> None:
        """Guarantee 2.5."""
        async with hb.ctx.scope("test"):
            got: list[list[Any]] = [[], [], []]
            tasks = [reader(hb.ctx.subscribe(Ordered), into) for into in got]
            await turns()
            tasks[1].cancel()
            await turns()
            hb.ctx.send(Ordered(1))
            await turns()
            assert [len(into) for into in got] == [1, 0, 1]
            assert tasks[1].cancelled()

    async def test_an_event_that_arrives_with_the_cancellation_is_there_for_the_next_read(
        self, hb: Any
    ) -> None:
        """Guarantee 2.5, in both orders within one turn of the loop."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            for send_first in (True, False):
                task = asyncio.get_running_loop().create_task(anext(subscription))
                await turns()
                if send_first:
                    hb.ctx.send(Ordered(1))
                task.cancel("reason")
                if not send_first:
                    hb.ctx.send(Ordered(1))
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await task
                assert cancelled.value.args == ("reason",)
                assert subscription.pending == 1
                assert (await anext(subscription)).number == 1

    async def test_an_event_that_arrives_with_the_time_out_is_not_lost(self, hb: Any) -> None:
        """Guarantee 2.5: whatever wait_for makes of it, the event is its result or still there."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            loop = asyncio.get_running_loop()
            seen = []
            for number in range(50):
                loop.call_later(0.0005, hb.ctx.send, Ordered(number))
                try:
                    seen.append((await asyncio.wait_for(anext(subscription), 0.0005)).number)
                except TimeoutError:
                    seen.append((await anext(subscription)).number)
            assert seen == list(range(50))

    async def test_a_task_that_outlives_its_cancellation_reads_on(self, hb: Any) -> None:
        """Guarantee 2.5."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)

            async def stubborn() -> int:
                try:
                    await anext(subscription)
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel()  # type: ignore[union-attr]
                return (await anext(subscription)).number

            task = asyncio.get_running_loop().create_task(stubborn())
            await turns()
            task.cancel()
            await turns()
            hb.ctx.send(Ordered(7))
            assert (await task) == 7


class TestWaking:
    async def test_a_burst_wakes_a_reader_once_and_it_drains_without_the_loop(
        self, hb: Any
    ) -> None:
        """Guarantee 2.6."""
        async with hb.ctx.scope("test", turn=math.inf):
            subscription = hb.ctx.subscribe(Ordered)
            got: list[Any] = []
            task = reader(subscription, got)
            await turns()
            for number in range(1000):
                hb.ctx.send(Ordered(number))
            await turns(1)
            assert len(got) == 1000
            task.cancel()

    @pytest.mark.parametrize("workers", [1, 3])
    async def test_a_backlog_gives_the_loop_its_turn_when_the_time_is_over(
        self, hb: Any, workers: int
    ) -> None:
        """Guarantee 2.6: for one reader and for a pool. However short the time is, an event is read in each turn."""
        events = 300
        async with hb.ctx.scope("test", turn=1e-9):
            subscription = hb.ctx.subscribe(Ordered)
            for number in range(events):
                hb.ctx.send(Ordered(number))
            got: list[Any] = []
            tasks = [reader(subscription, got) for _ in range(workers)]
            between = []
            while len(got) < events:
                before = len(got)
                await turns(1)
                between.append(len(got) - before)
            # First as many as are read before the clock was looked at twice.
            assert max(between) <= 10
            assert set(between[2:]) == {0, 1}
            assert len(between) <= 2 * events + 5
            assert got == sorted(got, key=lambda event: event.number)
            for task in tasks:
                task.cancel()

    async def test_before_it_is_over_the_loop_is_not_asked(self, hb: Any) -> None:
        """Guarantee 2.6."""
        async with hb.ctx.scope("test", turn=math.inf):
            got: list[Any] = []
            subscription = hb.ctx.subscribe(Ordered)
            for number in range(20_000):
                hb.ctx.send(Ordered(number))
            task = reader(subscription, got)
            await turns(1)
            assert len(got) == 20_000
            task.cancel()

    @pytest.mark.parametrize("woken", [True, False])
    @pytest.mark.parametrize("handlers", [True, False])
    async def test_all_readers_of_a_bus_have_the_time_together_and_take_turns(
        self, hb: Any, woken: bool, handlers: bool
    ) -> None:
        """Guarantee 2.6: of several types, readers and handlers, woken by a burst or begun with a backlog."""
        kinds = [type(f"Kind{number}", (), {}) for number in range(4)]
        async with hb.ctx.scope("test", turn=1e-9):
            got: list[list[Any]] = [[] for _ in range(12)]

            def begin() -> None:
                for number, into in enumerate(got):
                    if handlers:
                        hb.ctx.on(kinds[number % 4], into.append)
                    else:
                        reader(hb.ctx.subscribe(kinds[number % 4]), into)

            if handlers or woken:
                begin()
            if woken:
                await turns()
            elif not handlers:
                held = [hb.ctx.subscribe(kinds[number % 4]) for number in range(12)]
            for _ in range(20):
                for kind in kinds:
                    hb.ctx.send(kind())
            if not handlers and not woken:
                for subscription, into in zip(held, got, strict=True):
                    reader(subscription, into)
            taken = 0
            while taken < 12 * 20:
                await turns(1)
                before, taken = taken, sum(len(one) for one in got)
                assert taken - before <= 12  # the first looks at the clock are some reads apart
                counts = [len(one) for one in got]
                assert max(counts) - min(counts) <= 10  # nobody starves

    async def test_one_that_is_cancelled_does_not_wait_for_the_backlogs_of_others(
        self, hb: Any
    ) -> None:
        """Guarantee 2.5, 2.6: whether it stands behind them with events of its own or waited for one."""
        async with hb.ctx.scope("test", turn=1e-9):
            held = [hb.ctx.subscribe(Ordered) for _ in range(20)]
            got: list[list[Any]] = [[] for _ in held]
            tasks = [reader(one, into) for one, into in zip(held, got, strict=True)]
            await turns()
            for number in range(50):
                hb.ctx.send(Ordered(number))
            await turns(3)
            for number in (3, 19):
                before = len(got[number])
                tasks[number].cancel()
                await turns(2)
                assert tasks[number].cancelled()
                assert len(got[number]) == before
                assert held[number].pending == 50 - before
                assert (await anext(held[number])).number == before
            await turns(2 * 20 * 50 + 100)
            assert [len(one) for one in got].count(50) == 18
            for task in tasks:
                task.cancel()

    async def test_a_reader_runs_in_the_context_of_its_task(self, hb: Any) -> None:
        """Guarantee 2.7."""
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

        async def read(name: str, subscription: Any, seen: list[tuple[str, str]]) -> None:
            variable.set(name)
            async for _ in subscription:
                seen.append((name, variable.get()))

        async with hb.ctx.scope("test"):
            seen: list[tuple[str, str]] = []
            for name in "abc":
                hb.ctx.spawn(read, name, hb.ctx.subscribe(Ordered), seen)
            await turns()
            variable.set("sender")
            hb.ctx.send(Ordered(1))
            await turns()
            hb.ctx.send(Ordered(2))
        assert sorted(seen) == [(name, name) for name in "aabbcc"]

    async def test_debug_mode_of_the_loop_finds_nothing(self, hb: Any) -> None:
        """Guarantee 2.3: asyncio's own checks are on."""
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        try:
            async with hb.ctx.scope("test"):
                got: list[Any] = []
                task = reader(hb.ctx.subscribe(Ordered), got)
                await turns()
                hb.ctx.send(Ordered(1))
                await turns()
                assert "wait_for=<Receive of <Subscription Ordered" in repr(task)
                assert got == [Ordered(1)]
        finally:
            loop.set_debug(False)


class TestInterrupts:
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_in_one_reader_loses_no_wake_up_of_another(
        self, hb: Any, kind: type[BaseException]
    ) -> None:
        """Guarantee 2.7."""
        loop = asyncio.new_event_loop()
        got: list[Any] = []

        async def interrupted(subscription: Any) -> None:
            async for _ in subscription:
                raise kind

        async def start() -> Any:
            scope = hb.ctx.scope("test")
            await scope.__aenter__()
            before = reader(hb.ctx.subscribe(Ordered), got)
            hit = loop.create_task(interrupted(hb.ctx.subscribe(Ordered)))
            after = reader(hb.ctx.subscribe(Ordered), got)
            await turns()
            return scope, before, hit, after

        async def send() -> None:
            scope.bus.send(Ordered(1))
            await turns()

        scope, before, hit, after = loop.run_until_complete(start())
        with pytest.raises(kind):
            loop.run_until_complete(send())
        loop.run_until_complete(turns())
        assert got == [Ordered(1), Ordered(1)]
        assert isinstance(hit.exception(), kind)
        for task in (before, after):
            task.cancel()
        loop.run_until_complete(scope.__aexit__(None, None, None))
        loop.close()


class TestClosing:
    async def test_close_frees_the_backlog_ends_the_readers_and_forgets_the_type(
        self, hb: Any, no_garbage: None
    ) -> None:
        """Guarantee 2.8."""
        async with hb.ctx.scope("test") as _:
            bus = hb._bus.current.get()
            subscription = hb.ctx.subscribe(Ordered)
            other = hb.ctx.subscribe(Ordered)
            tasks = [asyncio.get_running_loop().create_task(count(other)) for _ in range(3)]
            await turns()
            event = Ordered(1)
            gone = weakref.ref(event)
            hb.ctx.send(event)
            del event
            await turns()
            assert subscription.pending == 1
            subscription.close()
            subscription.close()
            let_go()
            assert gone() is None
            assert subscription.closed
            assert (subscription.pending, id(Ordered) in bus.table) == (0, True)
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)
            assert [event async for event in subscription] == []
            other.close()
            assert id(Ordered) not in bus.table
            assert sum(await asyncio.gather(*tasks)) == 1

    async def test_async_with_closes(self, hb: Any) -> None:
        """Guarantee 2.8."""
        async with hb.ctx.scope("test"):
            async with hb.ctx.subscribe(Ordered) as subscription:
                hb.ctx.send(Ordered(1))
                assert (await anext(subscription)).number == 1
            assert subscription.closed

    async def test_dropping_the_last_reference_closes(self, hb: Any, no_garbage: None) -> None:
        """Guarantee 2.8."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            subscription = hb.ctx.subscribe(Ordered)
            event = Ordered(1)
            gone = weakref.ref(event)
            hb.ctx.send(event)
            del event
            let_go()
            assert gone() is not None
            del subscription
            let_go()
            assert gone() is None
            assert id(Ordered) not in bus.table

    async def test_a_read_keeps_its_subscription_open(self, hb: Any) -> None:
        """Guarantee 2.8: whoever waits holds a reference."""
        async with hb.ctx.scope("test"):
            task = asyncio.get_running_loop().create_task(anext(hb.ctx.subscribe(Ordered)))
            await turns()
            hb.ctx.send(Ordered(1))
            assert (await task).number == 1

    async def test_a_subscription_tells_its_state(self, hb: Any) -> None:
        """Guarantee 2.9."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            hb.ctx.send(Ordered(1))
            assert (subscription.pending, subscription.dropped, subscription.closed) == (
                1,
                0,
                False,
            )
            assert subscription.event_type is Ordered
            assert repr(subscription) == "<Subscription Ordered pending=1 open>"
            subscription.close()
            assert repr(subscription) == "<Subscription Ordered pending=0 closed>"


class TestBatches:
    async def test_batches_hold_what_waits_at_least_one_and_at_most_the_limit(
        self, hb: Any
    ) -> None:
        """Guarantee 2.10."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            for number in range(10):
                hb.ctx.send(Ordered(number))
            sizes, numbers = [], []

            async def read() -> None:
                async for batch in subscription.batches(limit=4):
                    assert type(batch) is list
                    sizes.append(len(batch))
                    numbers.extend(event.number for event in batch)

            hb.ctx.spawn(read)
            await turns()
            hb.ctx.send(Ordered(10))
        assert sizes == [4, 4, 2, 1]
        assert numbers == list(range(11))

    async def test_a_batch_gives_the_loop_its_turns(self, hb: Any) -> None:
        """Guarantee 2.6, 2.10: it counts as its events, and the time is looked at after each of such a size."""
        async with hb.ctx.scope("test", turn=1e-9):
            subscription = hb.ctx.subscribe(Ordered)
            for number in range(10_000):
                hb.ctx.send(Ordered(number))
            taken = 0

            async def read() -> None:
                nonlocal taken
                async for batch in subscription.batches(limit=100):
                    taken += len(batch)

            hb.ctx.spawn(read)
            between = []
            while taken < 10_000:
                before = taken
                await turns(1)
                between.append(taken - before)
            assert max(between) <= 200
            assert between.count(100) >= 95

    async def test_long_batches_free_their_nodes_one_by_one(self, hb: Any) -> None:
        """Guarantee 3.3: no recursion however long the batch is."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            event = Ordered(1)
            for _ in range(300_000):
                hb.ctx.send(event)
            batch = await anext(aiter(subscription.batches(limit=10**30)))
            assert len(batch) == 300_000
            assert subscription.pending == 0

    async def test_batches_and_single_reads_share_the_stream(self, hb: Any) -> None:
        """Guarantee 2.4, 2.10."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            singles: list[Any] = []
            batched: list[Any] = []

            async def read() -> None:
                async for batch in subscription.batches(limit=3):
                    batched.extend(batch)

            hb.ctx.spawn(read)
            task = reader(subscription, singles)
            await turns()
            for number in range(100):
                hb.ctx.send(Ordered(number))
                await turns(number % 3)
            await turns()
            task.cancel()
        assert sorted(event.number for event in singles + batched) == list(range(100))
        assert singles
        assert batched

    async def test_a_batch_of_nothing_ends_with_the_subscription(self, hb: Any) -> None:
        """Guarantee 2.8, 2.10."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            subscription.close()
            assert [batch async for batch in subscription.batches()] == []

    async def test_a_limit_that_is_no_number_of_events_is_refused(self, hb: Any) -> None:
        """Guarantee 2.10."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            for limit in (0, -1):
                with pytest.raises(ValueError, match=f"at least one event, not {limit}"):
                    subscription.batches(limit)
            for limit in (None, 1.5, "2", True):
                with pytest.raises(TypeError, match="at least one event"):
                    subscription.batches(limit)

    async def test_receive_nowait_takes_one_or_raises_queue_empty(self, hb: Any) -> None:
        """Guarantee 2.10, and 2.4: what waits for a reader in line is not taken from it."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            with pytest.raises(asyncio.QueueEmpty, match="receive_nowait"):
                subscription.receive_nowait()
            for number in range(3):
                hb.ctx.send(Ordered(number))
            assert [subscription.receive_nowait().number for _ in range(3)] == [0, 1, 2]
            task = asyncio.get_running_loop().create_task(anext(subscription))
            await turns()
            hb.ctx.send(Ordered(3))
            with pytest.raises(asyncio.QueueEmpty):
                subscription.receive_nowait()
            assert (await task).number == 3
            hb.ctx.send(Ordered(4))
        assert subscription.receive_nowait().number == 4
        with pytest.raises(asyncio.QueueEmpty):
            subscription.receive_nowait()


class TestTable:
    async def test_types_come_and_go_and_each_keeps_its_readers(self, hb: Any) -> None:
        """Guarantee 1.2, 2.8: the table of types finds every one of them, however they were added and forgotten."""
        import random

        chance = random.Random(7)
        kinds = [type(f"Kind{number}", (), {}) for number in range(500)]
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            held: dict[type, Any] = {}
            for _ in range(5000):
                kind = chance.choice(kinds)
                if kind in held:
                    held.pop(kind).close()
                else:
                    held[kind] = hb.ctx.subscribe(kind)
                probe = chance.choice(kinds)
                before = held[probe].pending if probe in held else 0
                hb.ctx.send(probe())
                if probe in held:
                    assert held[probe].pending == before + 1
            assert set(bus.table) == set(map(id, held))
            for kind, subscription in held.items():
                assert not subscription.pending or type(await anext(subscription)) is kind

    async def test_routing_does_not_ask_the_metaclass(self, hb: Any) -> None:
        """Guarantee 1.6, taken further: a metaclass whose comparison fails."""

        class Odd(type):
            def __eq__(cls, other: object) -> bool:
                raise AssertionError("the bus compared a type")

            __hash__ = type.__hash__

        kinds = [Odd(f"Kind{number}", (), {}) for number in range(20)]
        async with hb.ctx.scope("test"):
            subscriptions = [hb.ctx.subscribe(kind) for kind in kinds]
            for kind in kinds:
                hb.ctx.send(kind())
            assert [subscription.pending for subscription in subscriptions] == [1] * 20

    async def test_types_that_their_metaclass_holds_for_one_are_two(self, hb: Any) -> None:
        """Guarantee 1.2: exact types, also for classes that are equal by name, or have no hash."""

        class ByName(type):
            def __eq__(cls, other: object) -> bool:
                return isinstance(other, ByName) and cls.__name__ == other.__name__

            def __hash__(cls) -> int:
                return hash(cls.__name__)

        class NoHash(type):
            __hash__ = None  # type: ignore[assignment]

        kinds = [ByName("Same", (), {}), ByName("Same", (), {}), NoHash("Unhashable", (), {})]
        async with hb.ctx.scope("test"):
            subscriptions = []
            for number, kind in enumerate(kinds):
                for one in kinds:
                    hb.ctx.send(one())
                subscriptions.append(hb.ctx.subscribe(kind))
                assert [one.pending for one in subscriptions] == list(range(number, -1, -1))
            subscriptions[1].close()
            await hb.ctx.flush(kinds[1], timeout=5)
            assert not subscriptions[0].closed

    async def test_a_proxy_of_a_class_is_none(self, hb: Any) -> None:
        """Guarantee 1.4: it says that it is a type, and no event's type is it."""

        class Proxy:
            @property
            def __class__(self) -> Any:  # type: ignore[override]
                return type

        async with hb.ctx.scope("test"):
            for call in (hb.ctx.subscribe, hb._bus.current.get().subscribe):
                with pytest.raises(
                    TypeError, match=r"takes a class of events, not an instance of .*Proxy"
                ):
                    call(Proxy())

    async def test_a_scope_may_be_named_by_a_kind_of_str(self, hb: Any) -> None:
        class Name(str):
            __slots__ = ()

        async with hb.ctx.scope(Name("orders")):
            assert repr(hb._bus.current.get()) == "<Bus 'orders' types=0>"


async def test_a_second_import_of_the_package_takes_no_class_from_the_first(hb: Any) -> None:
    """As `mock.patch.dict(sys.modules)` makes it. The compiled modules are there once for both."""
    first = own_modules()
    second = import_copy(pure=hb.backend == "pure")["haiway_bus"]
    switch_to(first)
    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(Ordered)
        assert isinstance(subscription, hb.Subscription)
        await hb.ctx.flush(Ordered, without=[subscription])

    for package in (hb, second):

        class Order(package.State):
            number: int

        assert Order.from_json(Order(number=1).to_json()).to_mapping() == {"number": 1}
        with pytest.raises(package.StateError):
            Order(number="x")
        with pytest.raises(package.StateError):
            Order.from_mapping({"number": "x"})
        for text in ("{", '{"number":"x"}'):
            with pytest.raises(package.StateError):
                Order.from_json(text)


async def test_a_patched_read_is_the_one_that_a_loop_makes(
    hb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of a user's may replace `Subscription.__anext__`; with the patch undone, all is as before."""

    async def patched(_: Any) -> Any:
        return "patched"

    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(Ordered)
        event = Ordered(1)
        hb.ctx.send(event)
        with monkeypatch.context() as patch:
            patch.setattr(hb.Subscription, "__anext__", patched)
            async for got in subscription:
                assert got == "patched"
                break
        async for got in subscription:
            assert got is event
            break

"""Guarantees 2.13, 2.14 and 6.1: a read belongs to whoever awaits it first, and holds nothing when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import inspect
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.shared import in_a_task, let_go, turns

pytestmark = pytest.mark.anyio


class Event:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Question(Event):
    pass


class Answer(Event):
    pass


async def in_a_thread(read: Any) -> Any:
    loop = asyncio.get_running_loop()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(read, loop))


# What somebody may do with a read that is not his.
CALLS: dict[str, Callable[[Any], Any]] = {
    "await": lambda read: asyncio.create_task(in_a_task(read)),
    "create_task": asyncio.create_task,
    "ensure_future": asyncio.ensure_future,
    "shield": asyncio.shield,
    "gather": asyncio.gather,
    "wait": lambda read: asyncio.wait([read]),
    "wait_for": lambda read: asyncio.wait_for(read, 5),
    "run_coroutine_threadsafe": in_a_thread,
    "send": lambda read: read.send(None),
    "throw": lambda read: read.throw(ValueError("from a stranger")),
    "throw a class": lambda read: read.throw(ValueError),
    "close": lambda read: read.close(),
    "next": lambda read: next(read.__await__()),
    "add_done_callback": lambda read: read.add_done_callback(print, context=None),
}


async def refused(call: Callable[[Any], Any], read: Any) -> BaseException | None:
    """What a call raised, there and then or to whoever awaits what it gave."""
    try:
        given = call(read)
        if inspect.isawaitable(given):
            await asyncio.wait_for(given, 5)
    except (RuntimeError, TypeError, ValueError) as error:
        return error
    return None


# How somebody gets a read by hand.
READS: dict[str, Callable[[Any], Any]] = {
    "anext": anext,
    "aiter": lambda subscription: anext(aiter(subscription)),
    "by name": lambda subscription: subscription.__aiter__().__anext__(),
    "aiter twice": lambda subscription: aiter(aiter(subscription)).__anext__(),
}


class Waiting:
    """A task that waits on a read, in one of the states in which somebody else may find it."""

    def __init__(self, hb: Any, state: str, got: str = "anext") -> None:
        self.subscription = hb.ctx.subscribe(Event)
        self.read = READS[got](self.subscription)
        self.state = state

    async def first(self) -> Any:
        if self.state == "yielded":
            # At the read after so many the time is over, however short it is, and the loop has its turn.
            for _ in range(FIRST):
                await anext(self.subscription)
        try:
            return (await self.read).number
        except StopAsyncIteration:
            return "ended"

    async def begin(self, hb: Any) -> None:
        if self.state == "yielded":
            for number in range(FIRST + 1):
                hb.ctx.send(Event(number))
        self.task = asyncio.create_task(self.first())
        await asyncio.sleep(0)
        assert not self.task.done()
        if self.state == "woken":
            hb.ctx.send(Event(7))
        elif self.state == "cancelled":
            self.task.cancel("enough")
        elif self.state == "closed":
            self.subscription.close()

    async def end(self, hb: Any) -> None:
        """The first one got what it was to get."""
        if self.state == "waiting":
            hb.ctx.send(Event(7))
        if self.state == "cancelled":
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await asyncio.wait_for(self.task, 5)
            hb.ctx.send(Event(8))
            assert (await anext(self.subscription)).number == 8
            return
        expected = {"closed": "ended", "yielded": FIRST}.get(self.state, 7)
        assert await asyncio.wait_for(self.task, 5) == expected
        if self.state != "closed":
            assert self.subscription.pending == 0
            later = asyncio.create_task(in_a_task(anext(self.subscription)))
            await turns()
            hb.ctx.send(Event(9))
            assert (await asyncio.wait_for(later, 5)).number == 9


FIRST = 9
STATES = ("waiting", "woken", "cancelled", "closed", "yielded")


class TestOwner:
    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("call", CALLS)
    async def test_what_somebody_else_does_with_a_read_is_refused_and_its_owner_unharmed(
        self, hb: Any, call: str, state: str
    ) -> None:
        """Guarantee 2.13: a table of calls times states."""
        async with hb.ctx.scope("test", turn=1e-9):
            waiting = Waiting(hb, state)
            await waiting.begin(hb)
            # While those that run in a task of their own get there, the loop goes on.
            error = await refused(CALLS[call], waiting.read)
            if call == "wait":
                assert isinstance(error, TypeError)  # asyncio's own word: it takes no coroutines
            elif state in ("woken", "cancelled", "closed", "yielded") and waiting.task.done():
                assert isinstance(error, RuntimeError)
            else:
                assert isinstance(error, RuntimeError)
                assert "belongs to the task that awaits it" in str(error)
            await waiting.end(hb)

    @pytest.mark.parametrize("got", READS)
    @pytest.mark.parametrize("call", CALLS)
    async def test_it_is_so_however_the_read_was_got(self, hb: Any, call: str, got: str) -> None:
        """Guarantee 2.13: from an iterator that somebody holds, as well."""
        async with hb.ctx.scope("test"):
            waiting = Waiting(hb, "waiting", got)
            await waiting.begin(hb)
            error = await refused(CALLS[call], waiting.read)
            assert isinstance(error, TypeError if call == "wait" else RuntimeError)
            await waiting.end(hb)

    async def test_a_loop_over_an_iterator_that_somebody_holds_reads_on(self, hb: Any) -> None:
        """Guarantee 2.1, 2.13: and each loop over it, in a comprehension or within an async generator."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            iterator = aiter(subscription)
            for number in range(4):
                hb.ctx.send(Event(number))
            got = [(await anext(iterator)).number]
            async for event in iterator:
                got.append(event.number)
                break
            got.append((await anext(event async for event in iterator)).number)
            subscription.close()
            got += [event.number async for event in iterator]
            assert got == [0, 1, 2]

    @pytest.mark.parametrize("kind", ["statement", "comprehension"])
    async def test_the_pure_backend_gives_coroutines_to_loops(self, hb: Any, kind: str) -> None:
        """Guarantee 2.13: nobody gets hold of what a loop reads with, and so it may be what is fastest."""
        if hb.backend != "pure":
            pytest.skip("the compiled backend has one kind of read")

        async def statement(subscription: Any) -> None:
            async for _ in subscription:
                pass

        async def comprehension(subscription: Any) -> None:
            assert [event async for event in subscription]

        async with hb.ctx.scope("test"):
            reading = {"statement": statement, "comprehension": comprehension}[kind]
            task = asyncio.create_task(reading(hb.ctx.subscribe(Event)))
            await turns()
            steps: Any = task.get_coro()
            names = []
            while (steps := getattr(steps, "cr_await", None)) is not None:
                names.append(steps.__qualname__)
            assert "Loop.__anext__" in names
            task.cancel()

    @pytest.mark.parametrize("call", CALLS)
    async def test_the_owner_can_still_be_cancelled(self, hb: Any, call: str) -> None:
        """Guarantee 2.13."""
        async with hb.ctx.scope("test"):
            waiting = Waiting(hb, "waiting")
            await waiting.begin(hb)
            assert await refused(CALLS[call], waiting.read)
            waiting.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(waiting.task, 5)

    @pytest.mark.parametrize(
        "call", [name for name in CALLS if name not in ("wait", "throw", "throw a class", "close")]
    )
    async def test_a_read_that_is_over_is_not_read_again(self, hb: Any, call: str) -> None:
        """Guarantee 2.13."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            hb.ctx.send(Event(1))
            hb.ctx.send(Event(2))
            read = anext(subscription)
            assert (await read).number == 1
            error = await refused(CALLS[call], read)
            assert isinstance(error, RuntimeError)
            assert "cannot reuse a read that is over" in str(error)
            assert (await anext(subscription)).number == 2

    async def test_whoever_waits_is_named(self, hb: Any) -> None:
        """Guarantee 2.13."""
        async with hb.ctx.scope("test"):
            waiting = Waiting(hb, "waiting")
            await waiting.begin(hb)
            waiting.task.set_name("the first one")
            with pytest.raises(RuntimeError, match="'the first one'.*call anext"):
                await waiting.read
            await waiting.end(hb)

    async def test_a_read_that_nobody_awaits_is_closed_and_thrown_into(self, hb: Any) -> None:
        """Guarantee 2.13: it has no owner yet."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            hb.ctx.send(Event(1))
            read = anext(subscription)
            read.close()
            read.close()
            with pytest.raises(RuntimeError, match="over"):
                await read
            with pytest.raises(ValueError, match="mine"):
                anext(subscription).throw(ValueError("mine"))
            assert (await anext(subscription)).number == 1

    async def test_an_owner_whose_coroutine_is_closed_gives_the_read_up(self, hb: Any) -> None:
        """Guarantee 2.13: what comes down the owner's own chain of awaits is his."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)

            async def inner() -> None:
                await anext(subscription)

            async def outer() -> None:
                await inner()

            coroutine = outer()
            coroutine.send(None)
            coroutine.close()
            hb.ctx.send(Event(1))
            assert (await anext(subscription)).number == 1

    @pytest.mark.parametrize("wrap", ["plain", "shield", "gather", "wait_for", "create_task"])
    async def test_a_read_that_nobody_awaits_yet_can_be_wrapped(self, hb: Any, wrap: str) -> None:
        """Guarantee 2.13, 2.3: the wrapper is then the one that awaits it."""
        wrappers: dict[str, Callable[[Any], Any]] = {
            "plain": in_a_task,
            "shield": asyncio.shield,
            "gather": asyncio.gather,
            "wait_for": lambda read: asyncio.wait_for(read, 5),
            "create_task": asyncio.create_task,
        }
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            waiting = asyncio.create_task(in_a_task(wrappers[wrap](anext(subscription))))
            await turns()
            event = Event()
            hb.ctx.send(event)
            assert await asyncio.wait_for(waiting, 5) in (event, [event])

    async def test_a_default_is_given_at_the_end_only(self, hb: Any) -> None:
        """Guarantee 2.3: anext() with a default asks the read anew at each step."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            waiting = asyncio.create_task(in_a_task(anext(subscription, None)))
            await turns()
            hb.ctx.send(event := Event())
            assert await asyncio.wait_for(waiting, 5) is event
            waiting = asyncio.create_task(in_a_task(anext(subscription, None)))
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            subscription.close()
            assert await anext(subscription, None) is None


class TestNothingHeld:
    async def test_a_function_that_returned_has_given_up_its_subscription(
        self, hb: Any, no_garbage: None
    ) -> None:
        """Guarantee 2.14: also in the same step, when the read in it had to wait (the seed document's make_request)."""
        ctx = hb.ctx

        async def make_request() -> int:
            responses = ctx.subscribe(Answer)
            ctx.send(Question())
            async for response in responses:
                return int(response.number)
            raise AssertionError

        async def service(questions: Any) -> None:
            number = 0
            async for _ in questions:
                ctx.send(Answer(number := number + 1))

        async with ctx.scope("test"):
            ctx.spawn(service, ctx.subscribe(Question))
            for number in range(1, 4):
                assert await make_request() == number
                let_go()
                assert Answer not in ctx.events()
                late = Answer()
                gone = weakref.ref(late)
                ctx.send(late)
                del late
                let_go()
                assert gone() is None

    @pytest.mark.parametrize("waits", [False, True])
    async def test_a_read_that_is_kept_holds_neither_event_nor_subscription(
        self, hb: Any, waits: bool, no_garbage: None
    ) -> None:
        """Guarantee 2.14, 3.2."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            closed = weakref.ref(subscription)
            read = anext(subscription)
            event = Event()
            gone = weakref.ref(event)
            if waits:
                waiting = asyncio.create_task(in_a_task(read))
                await turns()
                hb.ctx.send(event)
                assert await waiting is event
                del waiting
            else:
                hb.ctx.send(event)
                assert await read is event
            del event, subscription
            await turns()
            let_go()
            assert gone() is None
            assert closed() is None
            assert not hb.ctx.events()
            del read

    async def test_a_cancelled_read_holds_no_subscription(self, hb: Any, no_garbage: None) -> None:
        """Guarantee 2.14: as soon as it is cancelled."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            closed = weakref.ref(subscription)
            read = anext(subscription)
            del subscription
            waiting = asyncio.create_task(in_a_task(read))
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            del waiting
            let_go()
            assert closed() is None
            del read

    async def test_an_event_that_was_awaited_is_held_by_nobody(
        self, hb: Any, no_garbage: None
    ) -> None:
        """Guarantee 3.2: not by the StopIteration that handed it over, either, for one who never reads again."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            hb.ctx.send(Event())
            event = await anext(subscription)
            gone = weakref.ref(event)
            del event
            let_go()
            assert gone() is None


class TestStopIterations:
    """Guarantee 2.15: the StopIteration that carries an event is one like any other."""

    async def test_those_that_are_kept_keep_their_event(self, hb: Any) -> None:
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            for number in range(6):
                hb.ctx.send(Event(number))
            kept: list[StopIteration] = []
            for _ in range(4):
                try:
                    next(anext(subscription).__await__())  # type: ignore[arg-type]
                except StopIteration as stop:
                    stop.add_note("seen")
                    kept.append(stop)
            assert [type(stop) for stop in kept] == [StopIteration] * 4
            assert (await anext(subscription)).number == 4
            assert [stop.value.number for stop in kept] == [0, 1, 2, 3]
            gone = [weakref.ref(stop.value) for stop in kept]
            del kept[1]
            kept.clear()
            gc.collect()
            assert [one() for one in gone] == [None] * 4
            assert (await anext(subscription)).number == 5

    async def test_one_that_is_alive_while_others_come_and_go(self, hb: Any) -> None:
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            for number in range(100):
                hb.ctx.send(Event(number))
            with pytest.raises(StopIteration) as raised:
                next(anext(subscription).__await__())  # type: ignore[arg-type]
            seen = [event.number async for event in _until(subscription, 99)]
            assert seen == list(range(1, 100))
            assert raised.value.value.number == 0
            assert raised.value.__context__ is None


async def _until(subscription: Any, count: int) -> Any:
    async for event in subscription:
        yield event
        if (count := count - 1) == 0:
            return


class TestHome:
    """Guarantee 6.1: one bus, one loop; each read is checked, not the first alone."""

    @pytest.mark.parametrize("way", ["anext", "batches", "async for", "receive_nowait"])
    def test_a_read_in_another_loop_of_the_same_thread_is_refused(self, hb: Any, way: str) -> None:
        kept: list[Any] = []

        async def home() -> None:
            async with hb.ctx.scope("home"):
                subscription = hb.ctx.subscribe(Event)
                for number in range(9):
                    hb.ctx.send(Event(number))
                await anext(subscription)  # so that no read after this is the first
                kept.extend((subscription, subscription.batches(2), anext(subscription)))

        async def elsewhere() -> None:
            subscription, batches, _ = kept
            with pytest.raises(RuntimeError, match="belongs to the loop and thread of its bus"):
                if way == "anext":
                    await anext(subscription)
                elif way == "batches":
                    await anext(batches)
                elif way == "async for":
                    async for _ in subscription:
                        pass
                else:
                    subscription.receive_nowait()
            assert subscription.pending == 8

        asyncio.run(home())
        asyncio.run(elsewhere())

    def test_a_read_made_at_home_is_refused_elsewhere(self, hb: Any) -> None:
        kept: list[Any] = []

        async def home() -> None:
            async with hb.ctx.scope("home"):
                subscription = hb.ctx.subscribe(Event)
                hb.ctx.send(Event())
                hb.ctx.send(Event())
                await anext(subscription)
                kept.extend((subscription, anext(subscription)))

        async def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="belongs to the loop and thread of its bus"):
                await kept[1]

        asyncio.run(home())
        asyncio.run(elsewhere())
        assert kept[0].pending == 1

    def test_a_read_in_another_thread_is_refused_though_its_loop_runs(self, hb: Any) -> None:
        async def home() -> None:
            async with hb.ctx.scope("home"):
                subscription = hb.ctx.subscribe(Event)
                for _ in range(9):
                    hb.ctx.send(Event())
                await anext(subscription)

                async def elsewhere() -> None:
                    with pytest.raises(RuntimeError, match="belongs to the loop and thread"):
                        await anext(subscription)

                await asyncio.to_thread(asyncio.run, elsewhere())
                assert subscription.pending == 8

        asyncio.run(home())

    def test_a_loop_that_runs_again_goes_on(self, hb: Any) -> None:
        """As with `run_until_complete` called again and again: each run is another, of the same loop."""
        loop = asyncio.new_event_loop()
        scope = hb.ctx.scope("test")
        got: list[int] = []

        async def begin() -> Any:
            await scope.__aenter__()
            return hb.ctx.subscribe(Event)

        async def take(subscription: Any) -> None:
            scope.bus.send(Event(len(got)))
            got.append((await anext(subscription)).number)
            scope.bus.send(Event(len(got)))
            async for event in subscription:
                got.append(event.number)
                if event.number % 10 == 9:
                    return
                scope.bus.send(Event(event.number + 1))

        try:
            subscription = loop.run_until_complete(begin())
            for _ in range(3):
                loop.run_until_complete(take(subscription))
            assert got == list(range(30))
            loop.run_until_complete(scope.__aexit__(None, None, None))
        finally:
            loop.close()

    def test_a_loop_that_runs_again_in_another_thread_is_refused(self, hb: Any) -> None:
        loop = asyncio.new_event_loop()
        scope = hb.ctx.scope("test")
        told: list[str] = []

        async def begin() -> Any:
            await scope.__aenter__()
            subscription = hb.ctx.subscribe(Event)
            for _ in range(5):
                hb.ctx.send(Event())
            await anext(subscription)
            return subscription

        async def read(subscription: Any) -> None:
            for way in (anext(subscription), in_a_task(_all(subscription))):
                try:
                    await way
                except RuntimeError as error:
                    told.append(str(error))

        subscription = loop.run_until_complete(begin())
        thread = threading.Thread(target=loop.run_until_complete, args=(read(subscription),))
        thread.start()
        thread.join()
        assert len(told) == 2
        assert all("belongs to the loop and thread" in one for one in told)
        loop.run_until_complete(scope.__aexit__(None, None, None))
        loop.close()


async def _all(subscription: Any) -> None:
    async for _ in subscription:
        pass


class TestNobodyBehind:
    """Guarantee 2.4, 2.7: a read that is parked, and that nobody waits on, keeps nobody waiting."""

    async def test_one_that_was_stepped_by_hand_and_dropped_lets_those_behind_it_go_on(
        self, hb: Any
    ) -> None:
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            next(anext(subscription).__await__())  # type: ignore[arg-type]
            waiting = asyncio.create_task(in_a_task(anext(subscription)))
            await turns()
            hb.ctx.send(Event(1))
            hb.ctx.send(Event(2))
            assert (await asyncio.wait_for(waiting, 5)).number == 1
            assert (await anext(subscription)).number == 2

    def test_first_in_another_loop_is_refused_and_closes_nothing(self, hb: Any) -> None:
        """Guarantee 6.1: the backlog is its owner's."""
        kept: list[Any] = []

        async def home() -> None:
            async with hb.ctx.scope("home"):
                kept.append(hb.ctx.subscribe(Event))
                hb.ctx.send(Event(1))
                hb.ctx.send(Event(2))
                await anext(kept[0])
                with pytest.raises(RuntimeError, match="belongs to the loop and thread"):
                    await asyncio.to_thread(asyncio.run, in_a_task(kept[0].first()))
                assert (await anext(kept[0])).number == 2

        asyncio.run(home())

    async def test_a_kept_iterator_is_refused_in_another_loop(self, hb: Any) -> None:
        """Guarantee 6.1: an async generator around it, as well, which each of its drivers may run elsewhere."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Event)
            for number in range(3):
                hb.ctx.send(Event(number))
            events = _until(subscription, 9)
            assert (await anext(events)).number == 0

            async def elsewhere() -> None:
                with pytest.raises(RuntimeError, match="belongs to the loop and thread"):
                    await anext(events)

            await asyncio.to_thread(asyncio.run, elsewhere())
            assert subscription.pending == 2


class TestCopies:
    @pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle", "deepcopy of a list"])
    @pytest.mark.parametrize(
        "what",
        [
            "subscription",
            "read",
            "batches",
            "a batch's read",
            "scope",
            "iterator",
            "bus",
            "attach",
            "updated",
        ],
    )
    async def test_neither_subscriptions_nor_reads_nor_scopes_are_copied(
        self, hb: Any, what: str, way: str
    ) -> None:
        """Guarantee 2.13: on both backends, and what they were is unharmed."""
        ways: dict[str, Callable[[Any], Any]] = {
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
            "pickle": pickle.dumps,
            "deepcopy of a list": lambda value: copy.deepcopy([value]),
        }
        async with hb.ctx.scope("test") as _:
            subscription = hb.ctx.subscribe(Event)
            hb.ctx.send(Event(1))
            things: dict[str, Callable[[], Any]] = {
                "subscription": lambda: subscription,
                "read": lambda: anext(subscription),
                "batches": subscription.batches,
                "a batch's read": lambda: anext(subscription.batches()),
                "scope": lambda: hb.ctx.scope("another"),
                "attach": lambda: hb.ctx.scope("another").attach(),
                "updated": hb.ctx.updated,
                "iterator": lambda: aiter(subscription),
                "bus": lambda: hb._bus.Bus("another"),
            }
            thing = things[what]()
            with pytest.raises(TypeError, match="cannot copy or pickle"):
                ways[way](thing)
            gc.collect()
            hb.ctx.send(Event(2))
            assert [subscription.receive_nowait().number for _ in range(2)] == [1, 2]
            subscription.close()
            with contextlib.suppress(AttributeError):
                thing.close()

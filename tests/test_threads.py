"""Guarantee 5.9, 6.2: other threads, and code that did not inherit the scope."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.shared import COUNTS_REFERENCES, let_go

pytestmark = pytest.mark.anyio


class Sent:
    def __init__(self, sender: int, number: int) -> None:
        self.sender = sender
        self.number = number


class TestThreads:
    async def test_events_of_each_thread_arrive_in_order_and_none_is_lost_before_the_end(
        self, hb: Any
    ) -> None:
        """Guarantee 6.2: by to_thread, and by an executor with a copied context."""
        got: dict[int, list[int]] = defaultdict(list)

        def produce(sender: int) -> None:
            for number in range(2000):
                hb.ctx.send(Sent(sender, number))

        async with hb.ctx.scope("test"):
            hb.ctx.on(Sent, lambda event: got[event.sender].append(event.number))
            with ThreadPoolExecutor(4) as executor:
                loop = asyncio.get_running_loop()
                for sender in range(4):
                    context = contextvars.copy_context()
                    hb.ctx.spawn(
                        _awaited, loop.run_in_executor(executor, context.run, produce, sender)
                    )
                hb.ctx.spawn(asyncio.to_thread, produce, 4)
                await asyncio.sleep(0)
        assert got == {sender: list(range(2000)) for sender in range(5)}

    async def test_what_a_thread_sent_just_before_the_end_is_delivered(self, hb: Any) -> None:
        """Guarantee 5.4, 6.2: the loop has had no turn since."""
        got = []
        async with hb.ctx.scope("test"):
            hb.ctx.on(Sent, lambda event: got.append(event.number))
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(hb.ctx.send, Sent(0, 1)))
            thread.start()
            thread.join()
        assert got == [1]

    async def test_a_burst_wakes_the_loop_once(
        self, hb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 6.2."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Sent)
            bus = hb._bus.current.get()
            woken = []

            class Loop:
                def __getattr__(self, name: str) -> Any:
                    if name == "call_soon_threadsafe":
                        woken.append(name)
                    return getattr(bus.loop, name)

            monkeypatch.setattr(bus.inbox, "loop", Loop())

            def produce() -> None:
                for number in range(1000):
                    hb.ctx.send(Sent(0, number))

            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(produce,))
            thread.start()
            thread.join()  # the loop has no turn meanwhile
            assert len(woken) == 1
            while subscription.pending < 1000:
                await asyncio.sleep(0)
            assert subscription.receive_nowait().number == 0

    async def test_what_cannot_be_an_event_is_refused_in_the_thread_that_sends_it(
        self, hb: Any
    ) -> None:
        """Guarantee 1.4, 6.2."""
        async with hb.ctx.scope("test"):

            def produce() -> None:
                with pytest.raises(TypeError, match="built-in int"):
                    hb.ctx.send(5)

            await asyncio.to_thread(produce)

    async def test_after_the_end_of_the_scope_it_is_refused_and_nothing_is_lost_silently(
        self, hb: Any
    ) -> None:
        """Guarantee 5.6, 6.2: every send either arrives or raises, wherever the end falls."""
        accepted = [0] * 3
        refused = []

        def produce(sender: int) -> None:
            try:
                while True:
                    hb.ctx.send(Sent(sender, accepted[sender]))
                    accepted[sender] += 1
            except hb.ContextMissing:
                refused.append(sender)

        threads = []
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Sent)
            for sender in range(3):
                context = contextvars.copy_context()
                threads.append(threading.Thread(target=context.run, args=(produce, sender)))
                threads[-1].start()
            await asyncio.sleep(0.02)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        got: dict[int, list[int]] = defaultdict(list)
        async for event in subscription:
            got[event.sender].append(event.number)
        assert sorted(refused) == [0, 1, 2]
        assert got == {
            sender: list(range(accepted[sender])) for sender in range(3) if accepted[sender]
        }

    def test_after_the_loop_is_closed_it_raises(self, hb: Any) -> None:
        """Guarantee 6.2: a scope that was never left."""
        kept = []

        async def main() -> None:
            scope = hb.ctx.scope("test")
            await scope.__aenter__()
            kept.append((scope, hb.ctx.subscribe(Sent), contextvars.copy_context()))

        asyncio.run(main())
        _, subscription, context = kept[0]
        errors: list[BaseException] = []

        def produce() -> None:
            for number in range(2):
                try:
                    hb.ctx.send(Sent(0, number))
                except RuntimeError as error:
                    errors.append(error)

        thread = threading.Thread(target=context.run, args=(produce,))
        thread.start()
        thread.join()
        assert ["loop of the scope 'test' was closed" in str(error) for error in errors] == [
            True,
            True,
        ]
        assert subscription.pending == 0

    async def test_flush_sees_what_threads_sent_before(self, hb: Any) -> None:
        """Guarantee 4.4, 6.2."""
        got = []
        async with hb.ctx.scope("test"):
            hb.ctx.on(Sent, lambda event: got.append(event.number))
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(hb.ctx.send, Sent(0, 1)))
            thread.start()
            thread.join()
            await hb.ctx.flush(Sent)
            assert got == [1]

    async def test_a_finalizer_that_sends_while_a_thread_sends_locks_nothing_up(
        self, hb: Any
    ) -> None:
        """Guarantee 6.2, 1.3: the collector may run within a send from a thread. The loop here stands for it."""
        got: list[Any] = []

        class Loop:
            def is_closed(self) -> bool:
                return False

            def call_soon_threadsafe(self, *_: Any, **__: Any) -> object:
                if not handles:
                    handles.add(Sent)
                    inbox.put("of the finalizer")
                return Sent

        handles: set[object] = set()
        module = importlib.import_module("haiway_bus._bus.inbox")
        inbox = module.Inbox("test", Loop(), None, got.append)
        thread = threading.Thread(target=inbox.put, args=("of the thread",), daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()
        assert inbox.deliver()
        assert sorted(got) == ["of the finalizer", "of the thread"]


async def _awaited(future: Any) -> None:
    await future


def in_thread(function: Any, *args: Any) -> None:
    """Run it in another thread that has a copy of this context, and let the loop do nothing meanwhile."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(function, *args))
    thread.start()
    thread.join()


def in_thread_raising(function: Any, *args: Any) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(contextvars.copy_context().run, function, *args).result()


class TestASubscriptionMadeAfterASend:
    """Guarantee 2.1, 6.2: it sees what is sent after it was made, and a thread's send that has returned was before."""

    async def test_it_does_not_get_the_event_and_those_before_it_do(self, hb: Any) -> None:
        async with hb.ctx.scope("test"):
            earlier = hb.ctx.subscribe(Sent)
            in_thread(hb.ctx.send, Sent(0, 1))
            later = hb.ctx.subscribe(Sent)
            bounded = hb.ctx.subscribe(Sent, limit=5)
            in_thread(hb.ctx.send, Sent(0, 2))
            await asyncio.sleep(0.01)
            for subscription, numbers in ((earlier, [1, 2]), (later, [2]), (bounded, [2])):
                got = [subscription.receive_nowait().number for _ in range(subscription.pending)]
                assert got == numbers

    async def test_one_to_another_type_leaves_the_order_of_the_thread_as_it_is(
        self, hb: Any
    ) -> None:
        class Other(Sent):
            pass

        async with hb.ctx.scope("test"):
            sent, other = hb.ctx.subscribe(Sent), hb.ctx.subscribe(Other)
            many = range(3000)  # more than the loop delivers in a row
            in_thread(lambda: [hb.ctx.send((Sent, Other)[one % 2](0, one)) for one in many])
            later = hb.ctx.subscribe(Other)
            await asyncio.sleep(0.01)
            assert [sent.receive_nowait().number for _ in range(sent.pending)] == [*many[::2]]
            assert [other.receive_nowait().number for _ in range(other.pending)] == [*many[1::2]]
            assert later.pending == 0

    async def test_the_type_that_a_thread_sends_may_have_lost_its_only_subscription(
        self, hb: Any
    ) -> None:
        """The event was for that one alone."""
        async with hb.ctx.scope("test"):
            earlier = hb.ctx.subscribe(Sent)
            in_thread(hb.ctx.send, Sent(0, 1))
            earlier.close()
            later = hb.ctx.subscribe(Sent)
            in_thread(hb.ctx.send, Sent(0, 2))
            assert (await anext(later)).number == 2

    @pytest.mark.skipif(not COUNTS_REFERENCES, reason="frees an event within its delivery")
    async def test_one_made_by_a_finalizer_within_a_delivery_changes_no_order(
        self, hb: Any
    ) -> None:
        """Guarantee 6.2: the event that is being delivered is not overtaken by those behind it."""

        class Subscribes:
            def __del__(self) -> None:
                with scope.attach():  # the loop delivers outside of any scope
                    made.append(hb.ctx.subscribe(Sent))

        class Dropped(Sent):
            def __init__(self) -> None:
                super().__init__(0, 0)
                self.subscribes = Subscribes()

        made: list[Any] = []
        scope = hb.ctx.scope("test")
        async with scope:
            first = hb.ctx.subscribe(Sent)
            full = hb.ctx.subscribe(Dropped, limit=1)
            hb.ctx.send(Dropped())
            in_thread(
                lambda: [
                    hb.ctx.send(one)
                    for one in (Sent(0, 1), Dropped(), Sent(0, 2), Dropped(), Sent(0, 3))
                ]
            )
            await asyncio.sleep(0.01)
            assert len(made) == 2
            assert [first.receive_nowait().number for _ in range(first.pending)] == [1, 2, 3]
            full.close()
            made.clear()


class TestTheEndOfAScope:
    """Guarantee 6.2: from the moment at which its readers are ended a thread's send raises: none is lost in silence."""

    async def test_what_was_sent_without_an_error_was_received_wherever_the_end_falls(
        self, hb: Any
    ) -> None:
        """Many rounds, each with threads that go on: a copied context, and attach(); readers of several types."""

        class Other(Sent):
            pass

        sent: list[Any] = []  # two threads append: to count here would lose some
        received: dict[Any, int] = defaultdict(int)
        refused: list[int] = []

        def produce(round_: int, send: Any) -> None:
            number = 1
            try:
                while True:
                    kind = (Sent, Other)[number % 2]
                    send(kind(round_, number))
                    sent.append((round_, kind))
                    number += 1
                    if number % 20 == 0:
                        time.sleep(0.0002)  # readers that always have something to read never end
            except hb.ContextMissing:
                refused.append(round_)

        def take(event: Any) -> None:
            received[event.sender, type(event)] += 1

        async def slowly(events: Any) -> None:
            async for event in events:
                take(event)
                if event.number % 100 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.001)  # a reader that has work to do after its loop

        class Last:
            async def __aenter__(self) -> None: ...

            async def __aexit__(self, *_: object) -> None:
                await asyncio.sleep(0.001)

        for round_ in range(40):
            scope = hb.ctx.scope("test", disposables=[Last()])

            def attached(event: Any, scope: Any = scope) -> None:
                with scope.attach():
                    hb.ctx.send(event)

            threads = []
            async with scope:
                hb.ctx.on(Sent, take, workers=1 + round_ % 2)
                hb.ctx.spawn(slowly, hb.ctx.subscribe(Other))
                for send in (hb.ctx.send, attached):
                    context = contextvars.copy_context()
                    threads.append(
                        threading.Thread(target=context.run, args=(produce, round_, send))
                    )
                for thread in threads:
                    thread.start()
                await asyncio.sleep(round_ / 20_000)
            for thread in threads:
                await asyncio.to_thread(thread.join, 20)
                assert not thread.is_alive()
        assert sorted(refused) == [number // 2 for number in range(80)]
        assert received == Counter(sent)

    async def test_what_has_just_been_sent_comes_first(self, hb: Any) -> None:
        """Between the last look at the readers and the end of their waits a thread may send: then they are at work."""
        async with hb.ctx.scope("test"):
            bus, subscription = hb._bus.current.get(), hb.ctx.subscribe(Sent)
            in_thread(hb.ctx.send, Sent(0, 1))
            assert not bus.refuse_threads([Sent])
            assert (await anext(subscription)).number == 1
            in_thread(hb.ctx.send, Sent(0, 2))
            assert (await anext(subscription)).number == 2
            assert bus.refuse_threads([Sent])
            with pytest.raises(hb.ContextMissing):
                in_thread_raising(hb.ctx.send, Sent(0, 3))

    async def test_the_error_says_what_to_do(self, hb: Any) -> None:
        """In the time between: the loop's own code still sends, subscribes, reads and attaches."""
        found: dict[str, str] = {}

        def try_to(name: str, call: Any) -> None:
            try:
                call()
                found[name] = "returned"
            except hb.ContextMissing as error:
                found[name] = str(error)

        class Last:
            async def __aenter__(self) -> None:
                self.heard = hb.ctx.subscribe(Sent)

            async def __aexit__(self, *_: object) -> None:
                in_thread(try_to, "heard", lambda: hb.ctx.send(Sent(0, 1)))
                in_thread(try_to, "unheard", lambda: hb.ctx.send(Unheard()))
                in_thread(try_to, "attach", scope.attach().__enter__)
                with scope.attach():
                    hb.ctx.send(Sent(0, 2))
                    hb.ctx.send(Unheard())
                    late = hb.ctx.subscribe(Unheard)
                    hb.ctx.send(Unheard())
                assert (await anext(self.heard)).number == 2
                await anext(late)
                in_thread(try_to, "heard again", lambda: hb.ctx.send(Unheard()))
                assert self.heard.pending == late.pending == 0

        class Unheard:
            pass

        scope = hb.ctx.scope("app", disposables=[Last()])
        async with scope:
            in_thread(try_to, "in the body", scope.attach().__enter__)
        assert found.pop("in the body") == "returned"
        assert len(found) == 4
        for message in found.values():
            assert "came from a thread when the readers of the scope 'app' had ended" in message
            assert "stop the thread before the end of the scope's body" in message

    async def test_a_reader_that_works_on_in_a_thread_is_heard_by_those_that_still_read(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: chains of consumers end in the reverse order of their subscriptions, threads included."""

        class Report(Sent):
            pass

        got: list[Any] = []

        async def reader() -> None:
            async for event in hb.ctx.subscribe(Sent):
                got.append(event.number)
            await asyncio.to_thread(lambda: hb.ctx.send(Report(0, len(got))))
            with pytest.raises(hb.ContextMissing, match="send.. of Sent came from a thread"):
                await asyncio.to_thread(lambda: hb.ctx.send(Sent(0, 0)))
            again = hb.ctx.subscribe(Sent)
            await asyncio.to_thread(lambda: hb.ctx.send(Sent(0, 3)))
            got.append((await anext(again)).number)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Report, lambda report: got.append((report.number,)))
            hb.ctx.spawn(reader)
            await asyncio.sleep(0)
            hb.ctx.send(Sent(0, 1))
            await asyncio.to_thread(hb.ctx.send, Sent(0, 2))
        assert sorted(got, key=str) == [(2,), 1, 2, 3]

    async def test_the_end_of_a_nested_scope_refuses_nothing(self, hb: Any) -> None:
        """Its bus goes on, and so do the readers around it; a scope with a bus of its own ends for itself."""
        got: list[int] = []
        async with hb.ctx.scope("outer"):
            hb.ctx.on(Sent, lambda event: got.append(event.number))
            context = contextvars.copy_context()
            async with hb.ctx.scope("inner"):
                hb.ctx.on(Sent, lambda event: got.append(-event.number))
                in_thread(hb.ctx.send, Sent(0, 1))
                await asyncio.sleep(0.01)
            async with hb.ctx.scope("apart", isolated=True):
                hb.ctx.on(Sent, lambda event: got.append(100 * event.number))
                in_thread(hb.ctx.send, Sent(0, 2))
            in_thread(context.run, hb.ctx.send, Sent(0, 3))
        assert sorted(got) == [-1, 1, 3, 200]

    @pytest.mark.parametrize("failing", ["body", "task"])
    async def test_a_scope_that_fails_refuses_at_once(self, hb: Any, failing: str) -> None:
        """Its readers are cancelled then, whatever the body and the tasks still do on their way out."""
        refused: list[bool] = []

        def send() -> None:
            try:
                hb.ctx.send(Sent(0, 1))
                refused.append(False)
            except hb.ContextMissing:
                refused.append(True)

        async def last_words() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                in_thread(send)

        async def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises((ZeroDivisionError, ExceptionGroup)):
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.subscribe(Sent)
                hb.ctx.spawn(last_words)
                await asyncio.sleep(0)
                if failing == "body":
                    raise ZeroDivisionError
                hb.ctx.spawn(fail)
                await last_words()
        assert refused == [True] * (1 if failing == "body" else 2)
        assert subscription.pending == 0

    async def test_a_thread_attaches_when_the_body_has_begun(self, hb: Any) -> None:
        """Before that nobody but disposables can have subscribed. These attach in the loop's own thread."""
        refused: list[str] = []

        class First:
            async def __aenter__(self) -> None:
                with pytest.raises(hb.ContextMissing, match="'app' is not open"):
                    await asyncio.to_thread(scope.attach().__enter__)
                refused.append("in a thread")
                with scope.attach():
                    pass

            async def __aexit__(self, *_: object) -> None: ...

        scope = hb.ctx.scope("app", disposables=[First()])
        async with scope:
            await asyncio.to_thread(scope.attach().__enter__)
        assert refused == ["in a thread"]


class TestAClosedLoop:
    """Guarantee 6.2: a send into a scope whose loop has closed raises, in its own thread too."""

    @pytest.fixture(params=["asyncio", "uvloop"])
    def new_loop(self, request: pytest.FixtureRequest) -> Any:
        kind = asyncio if request.param == "asyncio" else pytest.importorskip("uvloop")
        return kind.new_event_loop

    @staticmethod
    def left_open(hb: Any, run: Any) -> tuple[Any, contextvars.Context, Any]:
        """A scope that was never left, a copy of its context, and a subscription to Sent with one event."""

        async def main() -> tuple[Any, contextvars.Context, Any]:
            scope = hb.ctx.scope("test")
            await scope.__aenter__()
            subscription = hb.ctx.subscribe(Sent)
            hb.ctx.send(Sent(0, 0))
            return scope, contextvars.copy_context(), subscription

        left = run(main())
        let_go()  # what tells that a loop is closed: something that it lets go of
        return left

    @staticmethod
    def run_and_close(new_loop: Any) -> Any:
        def run(main: Any) -> Any:
            loop = new_loop()
            try:
                return loop.run_until_complete(main)
            finally:
                loop.close()

        return run

    @pytest.mark.parametrize("by", ["close", "asyncio.run"])
    def test_every_call_is_refused_and_says_so(self, hb: Any, new_loop: Any, by: str) -> None:
        run = asyncio.run if by == "asyncio.run" else self.run_and_close(new_loop)
        scope, context, subscription = self.left_open(hb, run)

        class Unheard:
            pass

        async def in_the_next_loop() -> None:
            for call in calls:
                refused(call)
            async with hb.ctx.scope("apart", isolated=True):
                own = hb.ctx.subscribe(Sent)
                hb.ctx.send(Sent(0, 2))
                await asyncio.to_thread(hb.ctx.send, Sent(0, 3))
                assert [(await anext(own)).number for _ in range(2)] == [2, 3]
            with pytest.raises(hb.ContextMissing, match="isolated=True"):
                async with hb.ctx.scope("nested"):
                    pass
            with pytest.raises(RuntimeError, match="that loop is closed, leave the scope before"):
                await anext(subscription)

        def refused(call: Any) -> None:
            with pytest.raises(hb.ContextMissing, match="loop of the scope 'test' was closed"):
                call()

        calls = [
            lambda: hb.ctx.send(Sent(0, 1)),
            lambda: hb.ctx.send(Unheard()),
            lambda: hb.ctx.subscribe(Sent),
            scope.attach().__enter__,
        ]
        for call in calls:
            context.run(refused, call)
            context.run(in_thread, refused, call)
        context.run(run, in_the_next_loop())
        with pytest.raises(TypeError):
            context.run(hb.ctx.send, 5)
        assert not scope.is_open
        assert subscription.closed
        assert subscription.pending == 1
        subscription.close()
        assert subscription.pending == 0

    def test_one_that_stands_still_may_run_on_and_takes_events(
        self, hb: Any, new_loop: Any
    ) -> None:
        """In the thread where it was run, and from others; and another loop that closes is none of its business."""
        loop = new_loop()
        scope, context, subscription = self.left_open(hb, loop.run_until_complete)
        self.left_open(hb, self.run_and_close(new_loop))
        context.run(hb.ctx.send, Sent(0, 1))
        context.run(in_thread, hb.ctx.send, Sent(0, 2))

        async def go_on() -> list[int]:
            numbers = [(await anext(subscription)).number for _ in range(3)]
            await scope.__aexit__(None, None, None)
            return numbers

        task = context.run(loop.create_task, go_on())
        assert loop.run_until_complete(task) == [0, 1, 2]
        loop.close()
        with pytest.raises(hb.ContextMissing, match="had ended"):
            context.run(hb.ctx.send, Sent(0, 3))

    @pytest.mark.skipif(
        not COUNTS_REFERENCES, reason="frees a task when the last one lets go of it"
    )
    def test_its_tasks_are_left_to_those_who_hold_them(self, hb: Any, new_loop: Any) -> None:
        """A loop that is closed with readers parked runs no code of theirs within close()."""
        ended: list[str] = []

        async def reader() -> None:
            try:
                async for _ in hb.ctx.subscribe(Sent):
                    pass
            finally:
                ended.append("the reader")

        async def main() -> tuple[Any, Any]:
            scope = hb.ctx.scope("test")
            await scope.__aenter__()
            task = asyncio.create_task(reader())
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            return scope, contextvars.copy_context()

        loop = new_loop()
        scope, context = loop.run_until_complete(main())
        loop.close()
        gc.collect()
        assert ended == []
        with pytest.raises(hb.ContextMissing):
            context.run(hb.ctx.send, Sent(0, 1))
        del scope, context
        gc.collect()
        assert ended == ["the reader"]

    def test_nothing_is_kept_for_loops_that_are_gone(self, hb: Any, new_loop: Any) -> None:
        watch = importlib.import_module("haiway_bus._bus.watch")
        gc.collect()
        let_go()
        before = len(watch._by_loop)
        for _ in range(5):
            self.left_open(hb, self.run_and_close(new_loop))
        gc.collect()
        let_go()
        assert len(watch._by_loop) == before


class TestALoopOfAThread:
    """Guarantee 6.1: `asyncio.run` in a thread that has the scope's context, as a synchronous library does it."""

    async def test_its_scopes_have_a_bus_of_their_own(self, hb: Any) -> None:
        async def job(*, isolated: bool) -> list[int]:
            async with hb.ctx.scope("job", isolated=isolated):
                got: list[int] = []
                hb.ctx.on(Sent, lambda event: got.append(event.number))
                async with hb.ctx.scope("nested"):
                    hb.ctx.send(Sent(0, 1))
                await asyncio.to_thread(hb.ctx.send, Sent(0, 2))
                await hb.ctx.flush(Sent)
                return got

        def refused() -> str:
            with pytest.raises(RuntimeError) as error:
                asyncio.run(job(isolated=False))
            return str(error.value)

        heard: list[int] = []
        async with hb.ctx.scope("service"):
            hb.ctx.on(Sent, lambda event: heard.append(event.number))
            message = await asyncio.to_thread(refused)
            assert "`async with ctx.scope(name, isolated=True):`" in message
            assert message.startswith("entering the scope 'job'")
            assert await asyncio.to_thread(asyncio.run, job(isolated=True)) == [1, 2]
        assert heard == []

    async def test_what_it_sends_outside_of_them_goes_to_the_scope_as_from_any_thread(
        self, hb: Any
    ) -> None:
        heard: list[int] = []

        async def send() -> None:
            for number in range(3):
                hb.ctx.send(Sent(0, number))
                await asyncio.sleep(0)

        async with hb.ctx.scope("service"):
            hb.ctx.on(Sent, lambda event: heard.append(event.number))
            await asyncio.to_thread(asyncio.run, send())
        assert heard == [0, 1, 2]


class TestALoopRunLaterInAnotherThread:
    """Guarantee 6.1: it is refused and both threads are named, nothing spins, and the scope can be left."""

    @pytest.fixture(params=["asyncio", "uvloop"])
    def loop(self, request: pytest.FixtureRequest) -> Any:
        kind = asyncio if request.param == "asyncio" else pytest.importorskip("uvloop")
        loop = kind.new_event_loop()
        yield loop
        loop.close()

    @staticmethod
    def opened(hb: Any, loop: Any) -> tuple[Any, contextvars.Context]:
        async def open_scope() -> tuple[Any, contextvars.Context]:
            scope = hb.ctx.scope("test")
            await scope.__aenter__()
            return scope, contextvars.copy_context()

        return loop.run_until_complete(open_scope())

    @staticmethod
    def run_in_thread(loop: Any, context: contextvars.Context, work: Any) -> Any:
        found: list[Any] = []

        def run() -> None:
            task = context.run(loop.create_task, work())
            try:
                found.append(loop.run_until_complete(asyncio.wait_for(task, 10)))
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "it spins"
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def test_every_call_is_refused_and_names_both_threads(self, hb: Any, loop: Any) -> None:
        scope, context = self.opened(hb, loop)

        async def subscribe() -> Any:
            return hb.ctx.subscribe(Sent)

        subscription = loop.run_until_complete(context.run(loop.create_task, subscribe()))
        context.run(hb.ctx.send, Sent(0, 1))  # the loop stands still: it waits for a reader

        async def read() -> None:
            await anext(subscription)

        async def work() -> list[str]:
            calls = (
                lambda: hb.ctx.send(Sent(0, 2)),
                lambda: hb.ctx.subscribe(Sent),
                lambda: hb.ctx.spawn(read),
                subscription.receive_nowait,
                subscription.close,
            )
            messages = []
            for call in calls:
                with pytest.raises(RuntimeError) as refused:
                    call()
                messages.append(str(refused.value))
            with pytest.raises(RuntimeError) as refused:
                await read()
            messages.append(str(refused.value))
            here = threading.get_ident()
            return [f"{message} from {here}" for message in messages]

        for message in self.run_in_thread(loop, context, work):
            text, _, thread = message.rpartition(" from ")
            assert f"in thread {threading.get_ident()}" in text
            assert f"that loop is run in thread {thread} now" in text
        assert subscription.pending == 1
        context.run(loop.run_until_complete, scope.__aexit__(None, None, None))

    def test_what_other_threads_send_is_delivered_and_the_scope_can_be_left(
        self, hb: Any, loop: Any
    ) -> None:
        """Also what is sent in the thread where the loop was run before: it wakes the loop where it is run now."""
        scope, context = self.opened(hb, loop)
        got: list[int] = []
        kept: list[Any] = []
        tasks: list[asyncio.Task[None]] = []

        async def reader(subscription: Any) -> None:
            got.append((await anext(subscription)).number)
            with pytest.raises(RuntimeError, match="that loop is run in thread"):
                await anext(subscription)

        async def park() -> None:
            kept.append(hb.ctx.subscribe(Sent))
            tasks.append(hb.ctx.spawn(reader, hb.ctx.subscribe(Sent)))
            await asyncio.sleep(0)

        loop.run_until_complete(context.run(loop.create_task, park()))
        there = threading.Event()

        async def work() -> int:
            there.set()
            # Nothing else wakes the loop. The reader takes one event in its wait, and is refused when it comes back.
            await asyncio.wait(tasks)
            await asyncio.to_thread(hb.ctx.send, Sent(0, 2))
            while kept[0].pending < 2:
                await asyncio.sleep(0.001)
            # One that is dropped is counted out by the loop.
            kept.clear()
            gc.collect()
            while hb.ctx.events():
                await asyncio.sleep(0.001)
            await scope.__aexit__(None, None, None)
            return len(got)

        copies = [context.copy(), context.copy()]
        results: list[Any] = []
        runner = threading.Thread(
            target=lambda: results.append(self.run_in_thread(loop, copies[0], work))
        )
        runner.start()
        assert there.wait(10)
        time.sleep(0.05)  # so that the loop has come to rest
        copies[1].run(hb.ctx.send, Sent(0, 1))
        runner.join(20)
        assert results == [1]
        assert got == [1]


class TestAttach:
    async def test_it_makes_the_scope_current_where_it_was_not_inherited(self, hb: Any) -> None:
        """Guarantee 5.9: bus, state, tasks and trace id; and a nested scope belongs to it."""

        class Config(hb.State):
            level: int = 1

        got = []

        async def request(scope: Any) -> None:
            with pytest.raises(hb.ContextMissing):
                hb.ctx.trace_id()
            with scope.attach() as attached:
                assert attached is scope
                assert hb.ctx.state(Config).level == 2
                hb.ctx.send(Sent(0, 1))
                async with hb.ctx.scope("request") as trace_id:
                    hb.ctx.send(Sent(0, 2))
                    assert hb.ctx.trace_id() == trace_id == scope._inside.identity.trace_id
                hb.ctx.spawn(send_later)
            with pytest.raises(hb.ContextMissing):
                hb.ctx.trace_id()

        async def send_later() -> None:
            await asyncio.sleep(0.001)
            hb.ctx.send(Sent(0, 3))

        empty = contextvars.copy_context()
        scope = hb.ctx.scope("app", Config(level=2))
        async with scope:
            hb.ctx.on(Sent, lambda event: got.append(event.number))
            loop = asyncio.get_running_loop()
            await asyncio.gather(
                *[loop.create_task(request(scope), context=empty.copy()) for _ in range(3)]
            )
        assert sorted(got) == [1, 1, 1, 2, 2, 2, 3, 3, 3]

    async def test_it_works_in_a_thread_and_in_a_callback(self, hb: Any) -> None:
        """Guarantee 5.9, 6.2."""
        got = []
        empty = contextvars.Context()
        scope = hb.ctx.scope("app")

        def send(number: int) -> None:
            with scope.attach():
                hb.ctx.send(Sent(0, number))

        async with scope:
            hb.ctx.on(Sent, lambda event: got.append(event.number))
            loop = asyncio.get_running_loop()
            loop.call_soon(send, 1, context=empty)
            await loop.run_in_executor(None, send, 2)
        assert sorted(got) == [1, 2]

    async def test_a_scope_that_is_not_open_is_refused(self, hb: Any) -> None:
        """Guarantee 5.6, 5.9."""
        scope = hb.ctx.scope("app")
        with pytest.raises(hb.ContextMissing, match="'app' is not open"), scope.attach():
            pass
        async with scope:
            block = scope.attach()
            with block, pytest.raises(RuntimeError, match="entered once"), block:
                pass
        with pytest.raises(hb.ContextMissing, match="'app' is not open"), scope.attach():
            pass
        inner = hb.ctx.scope("inner")
        async with hb.ctx.scope("outer"):
            async with inner:
                pass
            with pytest.raises(hb.ContextMissing, match="'inner' is not open"), inner.attach():
                pass


async def test_the_loop_has_its_turns_while_threads_send(hb: Any) -> None:
    """Guarantee 2.6, 6.2: what comes from threads is delivered a thousand at a time."""
    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(Sent)
        bus = hb._bus.current.get()

        def produce() -> None:
            for number in range(10_000):
                hb.ctx.send(Sent(0, number))

        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(produce,))
        thread.start()
        thread.join()
        sizes, deadline = [], time.monotonic() + 10
        while subscription.pending < 10_000 and time.monotonic() < deadline:
            before = subscription.pending
            await asyncio.sleep(0)
            sizes.append(subscription.pending - before)
        assert bus is hb._bus.current.get()
        assert max(sizes) <= 1024
        subscription.close()

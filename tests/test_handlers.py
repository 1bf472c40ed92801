"""Guarantee 2.11, 2.12: handlers, and waiting for one event."""

from __future__ import annotations

import asyncio
import sys
import traceback
import types
import weakref
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import pytest

from tests.shared import let_go, turns

pytestmark = pytest.mark.anyio

bound: ContextVar[Any] = ContextVar("bound", default=None)


class Asked:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Answered(Asked):
    pass


class TestOn:
    async def test_it_subscribes_at_once_and_handles_every_event(self, hb: Any) -> None:
        """Guarantee 2.11: no gap between spawning and subscribing; plain and async handlers."""
        plain: list[int] = []
        waited: list[int] = []

        async def handler(event: Any) -> None:
            await asyncio.sleep(0)
            waited.append(event.number)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, lambda event: plain.append(event.number))
            subscription = hb.ctx.on(Asked, handler)
            assert isinstance(subscription, hb.Subscription)
            for number in range(3):
                hb.ctx.send(Asked(number))
        assert plain == waited == [0, 1, 2]

    async def test_an_exception_is_logged_with_event_type_and_handler_and_the_next_event_is_handled(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.11."""
        handled = []

        def handler(event: Any) -> None:
            if event.number == 1:
                raise LookupError("bad event")
            handled.append(event.number)

        async with hb.ctx.scope("shop"):
            hb.ctx.on(Asked, handler)
            for number in range(3):
                hb.ctx.send(Asked(number))
        assert handled == [0, 2]
        [record] = caplog.records
        assert (record.name, record.levelname) == ("shop", "ERROR")
        assert "handler failed to handle an event of Asked" in record.getMessage()
        assert "LookupError: bad event" in caplog.text

    async def test_errors_raise_lets_it_fail_the_scope(self, hb: Any) -> None:
        """Guarantee 2.11."""

        async def handler(event: Any) -> None:
            raise LookupError("bad event")

        with pytest.raises(ExceptionGroup) as failed:
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler, errors="raise")
                hb.ctx.send(Asked())
        assert [str(error) for error in failed.value.exceptions] == ["bad event"]

    async def test_a_predicate_that_is_async_is_refused(self, hb: Any) -> None:
        """Guarantee 2.12: what it returns would hold for every event."""

        async def where(event: Any) -> bool:
            return False

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            hb.ctx.send(Asked())
            with pytest.raises(TypeError, match="a plain function for where, not an async one"):
                await subscription.first(where)

    @pytest.mark.parametrize("errors", ["log", "raise"])
    async def test_a_handler_that_awaits_what_somebody_else_cancelled_has_failed_like_any_other(
        self, hb: Any, errors: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.11: its worker does not die unheard; only a worker that is cancelled itself ends so."""
        handled: list[int] = []
        job = asyncio.get_running_loop().create_task(asyncio.sleep(60))

        async def handler(event: Any) -> None:
            handled.append(event.number)
            if event.number == 1:
                job.cancel()
                await job

        async def run() -> None:
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler, errors=errors)
                for number in range(3):
                    hb.ctx.send(Asked(number))
                await hb.ctx.flush(Asked, timeout=5)

        if errors == "log":
            await run()
            assert handled == [0, 1, 2]
            [record] = caplog.records
            assert "handler failed to handle an event of Asked" in record.getMessage()
            assert record.exc_info is not None
            assert isinstance(record.exc_info[1], asyncio.CancelledError)
        else:
            with pytest.raises(ExceptionGroup) as failed:
                await run()
            [error] = failed.value.exceptions
            assert "failed to handle an event of Asked: what it awaited was cancelled" in str(error)
            assert isinstance(error.__cause__, asyncio.CancelledError)
            assert handled == [0, 1]

    async def test_a_handler_whose_wait_is_ended_or_that_is_cancelled_itself_is_no_failure(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.11, 2.12, 5.5: the end of the scope is no error."""

        async def ask(event: Any) -> None:
            await hb.ctx.subscribe(Answered).first()

        async def ask_shielded(event: Any) -> None:
            await asyncio.shield(hb.ctx.subscribe(Answered).first())

        async with asyncio.timeout(5):
            async with hb.ctx.scope("test"):
                for handler in (ask, ask_shielded):
                    hb.ctx.on(Asked, handler, errors="raise")
                hb.ctx.send(Asked())
            with pytest.raises(LookupError):
                async with hb.ctx.scope("test"):
                    hb.ctx.on(Asked, ask, errors="raise")
                    hb.ctx.send(Asked())
                    await turns()
                    raise LookupError
        assert not [one for one in caplog.records if one.levelname == "ERROR"]

    @pytest.mark.parametrize("how", ["ends", "fails"])
    async def test_the_subscription_closes_with_its_workers_where_the_bus_goes_on(
        self, hb: Any, how: str
    ) -> None:
        """Guarantee 2.11, 4.4: kept, it neither grows nor holds up flush."""

        def handler(event: Any) -> None:
            if how == "fails":
                raise LookupError

        async with hb.ctx.scope("service"):
            try:
                async with hb.ctx.scope("request"):
                    subscription = hb.ctx.on(Asked, handler, workers=2, errors="raise")
                    hb.ctx.send(Asked())
            except ExceptionGroup:
                assert how == "fails"
            assert subscription.closed
            hb.ctx.send(Asked())
            assert subscription.pending == 0
            await hb.ctx.flush(Asked, timeout=5)

    async def test_what_is_left_of_it_can_be_read_after_the_end_of_its_bus(self, hb: Any) -> None:
        """Guarantee 2.11, 5.6."""

        def handler(event: Any) -> None:
            raise LookupError

        with pytest.raises(ExceptionGroup):
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.on(Asked, handler, errors="raise")
                for number in range(3):
                    hb.ctx.send(Asked(number))
        assert [event.number async for event in subscription] == [1, 2]

    async def test_its_tasks_are_named_after_the_handler_and_the_type(self, hb: Any) -> None:
        """Guarantee 2.11: what asyncio's debug mode says of a handler that blocks the loop."""
        names: list[str] = []

        def look(event: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            names.append(task.get_name())

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, look)
            hb.ctx.send(Asked())
        assert names == [f"{look.__qualname__} of Asked"]

    async def test_workers_share_the_events(self, hb: Any) -> None:
        """Guarantee 2.4, 2.11."""
        at_once = most = 0

        async def handler(event: Any) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.001)
            at_once -= 1

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, handler, workers=3)
            for number in range(9):
                hb.ctx.send(Asked(number))
        assert most == 3

    async def test_closing_the_subscription_ends_the_workers(self, hb: Any) -> None:
        """Guarantee 2.11."""
        async with hb.ctx.scope("test"):
            before = len(asyncio.all_tasks())
            subscription = hb.ctx.on(Asked, print, workers=4)
            await turns()
            assert len(asyncio.all_tasks()) == before + 4
            subscription.close()
            await turns()
            assert len(asyncio.all_tasks()) == before

    async def test_a_waiting_worker_holds_no_event(self, hb: Any, no_garbage: None) -> None:
        """Guarantee 2.11, 3.2."""
        seen = []

        async def handler(event: Any) -> Any:
            seen.append(weakref.ref(event))
            return event

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, handler)
            hb.ctx.on(Asked, lambda event: event)
            await turns()
            hb.ctx.send(Asked())
            await turns()
            let_go()
            assert [one() for one in seen] == [None]

    async def test_it_takes_a_limit(self, hb: Any) -> None:
        """Guarantee 2.11, 4.1."""
        handled = []
        async with hb.ctx.scope("test"):
            hb.ctx.on(
                Asked, lambda event: handled.append(event.number), limit=2, overflow="drop_newest"
            )
            for number in range(5):
                hb.ctx.send(Asked(number))
        assert handled == [0, 1]

    @pytest.mark.parametrize("errors", ["log", "raise"])
    async def test_losses_of_a_full_subscription_are_told_like_errors_of_the_handler(
        self, hb: Any, errors: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.11, 4.1: logged, and handling goes on; or they fail the scope."""
        handled: list[int] = []

        async def run() -> None:
            async with hb.ctx.scope("test"):
                hb.ctx.on(
                    Asked,
                    lambda event: handled.append(event.number),
                    limit=2,
                    overflow="raise",
                    errors=errors,
                )
                for number in range(5):
                    hb.ctx.send(Asked(number))
                await turns()
                hb.ctx.send(Asked(5))

        if errors == "raise":
            with pytest.raises(ExceptionGroup) as failed:
                await run()
            assert [error.lost for error in failed.value.exceptions] == [3]
        else:
            await run()
            assert handled == [0, 1, 5]
            [message] = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
            assert message.endswith("<lambda> was too slow for the events of Asked")

    async def test_what_it_cannot_work_with_is_refused(self, hb: Any) -> None:
        """Guarantee 2.11: and nothing is subscribed."""

        def numbers(event: Any) -> Any:
            yield event

        async def later(event: Any) -> Any:
            yield event

        class Calls:
            def __call__(self, event: Any) -> Any:
                yield event

            async def method(self, event: Any) -> Any:
                yield event

        async with hb.ctx.scope("test"):
            for arguments, options, kind, says in (
                ((Asked, 5), {}, TypeError, "a function of one event, plain or async, not 5"),
                ((Asked, print), {"workers": 0}, ValueError, "at least one worker, not 0"),
                ((Asked, print), {"workers": 1.5}, TypeError, "a number of workers, not 1.5"),
                (
                    (Asked, print),
                    {"errors": "ignore"},
                    ValueError,
                    "'log' and 'raise', not 'ignore'",
                ),
                ((5, print), {}, TypeError, "pass the class itself"),
                ((Asked, numbers), {}, TypeError, "numbers, which has a `yield`"),
                ((Asked, later), {}, TypeError, "later, which has a `yield`"),
                ((Asked, partial(later)), {}, TypeError, "which has a `yield`"),
                ((Asked, Calls()), {}, TypeError, "which has a `yield`"),
                ((Asked, Calls().method), {}, TypeError, "method, which has a `yield`"),
            ):
                with pytest.raises(kind, match=says):
                    hb.ctx.on(*arguments, **options)
            assert not hb._bus.current.get().table
        with pytest.raises(hb.ContextMissing):
            hb.ctx.on(Asked, print)


class TestContexts:
    """Guarantee 2.11: each event is handled in a copy of the worker's context."""

    async def test_what_a_handler_binds_for_one_event_the_next_does_not_see(self, hb: Any) -> None:
        """Guarantee 2.11: plain or async, before and after it waited; the tasks that it starts see it."""
        seen: list[tuple[str, Any, Any]] = []

        def plain(event: Any) -> None:
            seen.append(("plain", bound.get(), event.number))
            bound.set(event.number)

        async def quick(event: Any) -> None:
            plain(event)

        async def waits(event: Any) -> None:
            before = bound.get()
            bound.set(event.number)
            for _ in range(3):
                await asyncio.sleep(0)
                assert bound.get() == event.number
            seen.append(("waits", before, event.number))
            bound.set("after")

        async def starts(event: Any) -> None:
            bound.set(event.number)
            task = asyncio.get_running_loop().create_task(reads(event))
            hb.ctx.spawn(reads, event)
            await task

        async def reads(event: Any) -> None:
            seen.append(("reads", bound.get(), event.number))

        bound.set("caller")
        for handler in (plain, quick, waits, starts):
            seen.clear()
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler)
                for number in range(3):
                    hb.ctx.send(Asked(number))
            for _, before, number in seen:
                assert before == (number if handler is starts else "caller")
            assert len(seen) == (6 if handler is starts else 3)
        assert bound.get() == "caller"

    async def test_a_worker_holds_nothing_that_was_bound(self, hb: Any, no_garbage: None) -> None:
        """Guarantee 2.11, 3.2."""
        seen = []

        async def waits(event: Any) -> None:
            seen.append(weakref.ref(event))
            bound.set(event)
            await asyncio.sleep(0)

        def plain(event: Any) -> None:
            bound.set(event)

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, waits)
            hb.ctx.on(Asked, plain)
            hb.ctx.send(Asked())
            await turns()
            let_go()
            assert [one() for one in seen] == [None]

    @pytest.mark.parametrize("kind", ["future", "task", "object", "generator", "coroutine"])
    async def test_whatever_can_be_awaited_runs_in_it(self, hb: Any, kind: str) -> None:
        """Guarantee 2.11."""
        seen: list[Any] = []

        async def work() -> None:
            await asyncio.sleep(0)
            seen.append(bound.get())

        class Waits:
            def __await__(self) -> Any:
                return work().__await__()

        @types.coroutine
        def generator() -> Any:
            yield from work().__await__()

        def handler(event: Any) -> Any:
            bound.set(event.number)
            loop = asyncio.get_running_loop()
            if kind == "future":
                future = loop.create_future()
                loop.call_soon(future.set_result, None)
                seen.append(event.number)
                return future
            if kind == "task":
                return loop.create_task(work())
            return {"object": Waits, "generator": generator, "coroutine": work}[kind]()

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, handler)
            for number in range(3):
                hb.ctx.send(Asked(number))
        assert seen == [0, 1, 2]

    async def test_it_is_still_one_task_to_asyncio_and_anyio(self, hb: Any) -> None:
        """Guarantee 2.3, 2.11: time-outs, groups, cancel scopes, async generators, thrown exceptions."""
        tasks, done = set(), []

        async def numbers() -> Any:
            try:
                for number in range(3):
                    await asyncio.sleep(0)
                    yield number
            finally:
                await asyncio.sleep(0)
                done.append("closed")

        async def handler(event: Any) -> None:
            tasks.add(asyncio.current_task())
            bound.set(event.number)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(60)
            with anyio.move_on_after(0.001) as scope:
                await anyio.sleep(60)
            assert scope.cancelled_caught
            with suppress(ValueError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
            async for number in numbers():
                done.append(number)
                assert bound.get() == event.number
                break_here = number == 1
                if break_here:
                    break
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_exception, LookupError("thrown"))
            with pytest.raises(LookupError, match="thrown"):
                await future
            assert bound.get() == event.number
            done.append("end")

        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler, errors="raise")
                for number in range(2):
                    hb.ctx.send(Asked(number))
        assert len(tasks) == 1
        assert done.count("end") == 2

    async def test_a_scope_or_a_block_that_a_handler_leaves_open_is_its_own(self, hb: Any) -> None:
        """Guarantee 2.11, 5.7, 5.10."""

        class Settings(hb.State):
            number: int = 0

        seen, opened = [], []

        async def handler(event: Any) -> None:
            seen.append((hb.ctx.state(Settings).number, hb._scope.context.current("").scope.name))
            hb.ctx.updated(Settings(number=event.number + 1)).__enter__()
            opened.append(hb.ctx.scope("inner"))
            await opened[-1].__aenter__()
            assert hb.ctx.state(Settings).number == event.number + 1

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, handler, errors="raise")
            for number in range(3):
                hb.ctx.send(Asked(number))
            await turns(20)
            for scope in opened:
                await scope.__aexit__(None, None, None)
        assert seen == [(0, "test")] * 3

    @pytest.mark.parametrize("waits", [False, True])
    async def test_an_error_shows_where_it_was_raised(
        self, hb: Any, waits: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.11: the traceback goes from the worker to the line in the handler."""

        async def handler(event: Any) -> None:
            if waits:
                await asyncio.sleep(0)
            raise StopAsyncIteration if event.number else LookupError

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, handler)
            hb.ctx.send(Asked(0))
            hb.ctx.send(Asked(1))
        assert len(caplog.records) == 2
        for record in caplog.records:
            assert record.exc_info is not None
            frames = [one.name for one in traceback.extract_tb(record.exc_info[2])]
            assert frames[-1] == "handler"
            assert len(frames) <= 3

    async def test_a_handler_that_is_cancelled_or_thrown_away_cleans_up_in_it(
        self, hb: Any
    ) -> None:
        """Guarantee 2.11, 5.5."""
        seen: list[Any] = []

        async def handler(event: Any) -> None:
            bound.set(event.number)
            try:
                await asyncio.sleep(60)
            finally:
                seen.append(bound.get())

        with pytest.raises(LookupError):
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler)
                hb.ctx.send(Asked(5))
                await turns()
                raise LookupError
        assert seen == [5]
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            hb.ctx.send(Asked(6))
            scope = hb._scope.context.current("").scope
            worker = sys.modules["haiway_bus._scope.handlers"].work(
                scope, subscription, handler, "log"
            )
            worker.send(None)
            worker.close()
        assert seen == [5, 6]

    async def test_who_follows_the_await_chain_finds_the_handler(self, hb: Any) -> None:
        """Guarantee 2.11: what a waiting task stands at, as debuggers and asyncio's call graph find it."""

        async def inner() -> None:
            await asyncio.sleep(60)

        async def handler(event: Any) -> None:
            await inner()

        with suppress(LookupError):
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler)
                hb.ctx.send(Asked())
                await turns()
                [task] = [one for one in asyncio.all_tasks() if "handler" in one.get_name()]
                names, at = [], task.get_coro()
                while at is not None and hasattr(at, "cr_await"):
                    names.append(at.cr_frame.f_code.co_name)
                    assert at.cr_code is at.cr_frame.f_code
                    assert not at.cr_running
                    at = at.cr_await
                assert names[:4] == ["work", "handle_each", "handler", "inner"]
                assert task.get_stack()[0].f_code.co_name == "work"
                if hasattr(asyncio, "capture_call_graph"):
                    graph = asyncio.capture_call_graph(task)
                    assert "inner" in [one.frame.f_code.co_name for one in graph.call_stack]
                raise LookupError


class TestFirst:
    async def test_it_gives_the_next_event_that_fits_and_closes(self, hb: Any) -> None:
        """Guarantee 2.12: the race-free half of request and response."""

        async def service(event: Any) -> None:
            for number in range(event.number + 3):
                hb.ctx.send(Answered(number))

        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, service)
            answers = hb.ctx.subscribe(Answered)
            hb.ctx.send(Asked(2))
            assert (await answers.first(lambda answer: answer.number == 2)).number == 2
            assert answers.closed
            any_answer = hb.ctx.subscribe(Answered)
            hb.ctx.send(Asked(0))
            assert (await any_answer.first()).number == 0

    async def test_a_time_out_says_so_and_closes(self, hb: Any) -> None:
        """Guarantee 2.12."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            with pytest.raises(
                TimeoutError, match=r"no event for first\(\) of <Subscription Asked.*0.001 s"
            ):
                await subscription.first(timeout=0.001)
            assert subscription.closed

    async def test_an_error_of_the_predicate_and_a_cancellation_close_it_too(self, hb: Any) -> None:
        """Guarantee 2.12."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            hb.ctx.send(Asked())
            with pytest.raises(ZeroDivisionError):
                await subscription.first(lambda event: 1 / event.number)
            assert subscription.closed
            subscription = hb.ctx.subscribe(Asked)
            task = asyncio.get_running_loop().create_task(subscription.first())
            await turns()
            task.cancel()
            await turns()
            assert subscription.closed

    async def test_a_subscription_that_is_closed_meanwhile_says_so(self, hb: Any) -> None:
        """Guarantee 2.12."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            task = asyncio.get_running_loop().create_task(subscription.first())
            await turns()
            subscription.close()
            with pytest.raises(hb.SubscriptionClosed, match="ended before the event"):
                await task

    async def test_a_task_that_waits_for_what_nobody_will_send_ends_with_its_scope(
        self, hb: Any
    ) -> None:
        """Guarantee 2.12, 5.4: it neither hangs nor fails the scope."""
        async with asyncio.timeout(5):
            async with hb.ctx.scope("test"):
                task = hb.ctx.spawn(hb.ctx.subscribe(Asked).first())
        assert task.cancelled()

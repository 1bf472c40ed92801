"""Contract 2.11, 2.12: handlers, and waiting for one event."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import Any

import pytest

from tests.conftest import let_go

pytestmark = pytest.mark.anyio


class Asked:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Answered(Asked):
    pass


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class TestOn:
    async def test_it_subscribes_at_once_and_handles_every_event(self, hb: Any) -> None:
        """Contract 2.11: no gap between spawning and subscribing; plain and async handlers."""
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
        """Contract 2.11."""
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
        """Contract 2.11."""

        async def handler(event: Any) -> None:
            raise LookupError("bad event")

        with pytest.raises(ExceptionGroup) as failed:
            async with hb.ctx.scope("test"):
                hb.ctx.on(Asked, handler, errors="raise")
                hb.ctx.send(Asked())
        assert [str(error) for error in failed.value.exceptions] == ["bad event"]

    async def test_a_predicate_that_is_async_is_refused(self, hb: Any) -> None:
        """Contract 2.12: what it returns would hold for every event."""

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
        """Contract 2.11: its worker does not die unheard; only a worker that is cancelled itself ends so."""
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
        """Contract 2.11, 2.12, 5.5: the end of the scope is no error."""

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
        """Contract 2.11, 4.4: kept, it neither grows nor holds up flush."""

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
        """Contract 2.11, 5.6."""

        def handler(event: Any) -> None:
            raise LookupError

        with pytest.raises(ExceptionGroup):
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.on(Asked, handler, errors="raise")
                for number in range(3):
                    hb.ctx.send(Asked(number))
        assert [event.number async for event in subscription] == [1, 2]

    async def test_its_tasks_are_named_after_the_handler_and_the_type(self, hb: Any) -> None:
        """Contract 2.11: what asyncio's debug mode says of a handler that blocks the loop."""
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
        """Contract 2.4, 2.11."""
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
        """Contract 2.11."""
        async with hb.ctx.scope("test"):
            before = len(asyncio.all_tasks())
            subscription = hb.ctx.on(Asked, print, workers=4)
            await turns()
            assert len(asyncio.all_tasks()) == before + 4
            subscription.close()
            await turns()
            assert len(asyncio.all_tasks()) == before

    async def test_a_waiting_worker_holds_no_event(self, hb: Any, no_garbage: None) -> None:
        """Contract 2.11, 3.2."""
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
        """Contract 2.11, 4.1."""
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
        """Contract 2.11, 4.1: logged, and handling goes on; or they fail the scope."""
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
        """Contract 2.11: and nothing is subscribed."""

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
            assert not hb.bus.current.get().table
        with pytest.raises(hb.ContextMissing):
            hb.ctx.on(Asked, print)


class TestFirst:
    async def test_it_gives_the_next_event_that_fits_and_closes(self, hb: Any) -> None:
        """Contract 2.12: the race-free half of request and response."""

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
        """Contract 2.12."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            with pytest.raises(
                TimeoutError, match=r"no event for first\(\) of <Subscription Asked.*0.001 s"
            ):
                await subscription.first(timeout=0.001)
            assert subscription.closed

    async def test_an_error_of_the_predicate_and_a_cancellation_close_it_too(self, hb: Any) -> None:
        """Contract 2.12."""
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
        """Contract 2.12."""
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
        """Contract 2.12, 5.4: it neither hangs nor fails the scope."""
        async with asyncio.timeout(5):
            async with hb.ctx.scope("test"):
                task = hb.ctx.spawn(hb.ctx.subscribe(Asked).first())
        assert task.cancelled()

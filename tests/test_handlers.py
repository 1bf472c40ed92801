"""Contract 2.11, 2.12: handlers, and waiting for one event."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest

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

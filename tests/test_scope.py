"""Guarantee 5 and 6.1: what a scope holds, how it ends, and where it may be used."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from tests.shared import Ping, Pong, turns, until

pytestmark = pytest.mark.anyio


class Total(Ping):
    pass


class TestBuses:
    async def test_a_scope_gives_its_trace_id_and_nested_ones_share_it(self, hb: Any) -> None:
        """Guarantee 5.1."""
        async with hb.ctx.scope("outer") as outer:
            assert len(outer) == 32
            assert hb.ctx.trace_id() == outer
            async with hb.ctx.scope("inner") as inner:
                assert inner == outer
        async with hb.ctx.scope("another") as another:
            assert another != outer

    async def test_a_nested_scope_uses_the_bus_around_and_an_isolated_one_its_own(
        self, hb: Any
    ) -> None:
        """Guarantee 5.1."""
        async with hb.ctx.scope("outer"):
            subscription = hb.ctx.subscribe(Ping)
            async with hb.ctx.scope("nested"):
                hb.ctx.send(Ping(1))
            async with hb.ctx.scope("isolated", isolated=True):
                own = hb.ctx.subscribe(Ping)
                hb.ctx.send(Ping(2))
                assert own.pending == 1
            assert subscription.pending == 1
            assert (await anext(subscription)).number == 1

    async def test_buses_of_scopes_at_the_same_time_do_not_leak(self, hb: Any) -> None:
        """Guarantee 5.1."""

        async def subsystem(first: int) -> list[int]:
            async with hb.ctx.scope(f"subsystem {first}"):
                subscription = hb.ctx.subscribe(Ping)
                for number in range(first, first + 3):
                    hb.ctx.send(Ping(number))
                    await asyncio.sleep(0)
                return [(await anext(subscription)).number for _ in range(subscription.pending)]

        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *[loop.create_task(subsystem(first)) for first in (0, 10, 20)]
        )
        assert results == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]

    async def test_outside_any_scope_calls_are_refused_and_told_how_to_open_one(
        self, hb: Any
    ) -> None:
        """Guarantee 5.2."""

        async def work() -> None: ...

        for call in (
            lambda: hb.ctx.send(Ping()),
            lambda: hb.ctx.subscribe(Ping),
            lambda: hb.ctx.spawn(work),
            lambda: hb.ctx.state(hb.State),
            lambda: hb.ctx.updated().__enter__(),
            lambda: hb.ctx.trace_id(),
        ):
            with pytest.raises(hb.ContextMissing, match=r"async with ctx\.scope\(name\)"):
                call()

    async def test_a_bus_whose_scope_has_ended_refuses_and_what_is_left_can_be_read(
        self, hb: Any
    ) -> None:
        """Guarantee 5.6."""
        async with hb.ctx.scope("short"):
            subscription = hb.ctx.subscribe(Ping)
            started = asyncio.Event()

            async def late() -> None:
                await started.wait()
                for call in (lambda: hb.ctx.send(Ping()), lambda: hb.ctx.subscribe(Ping)):
                    with pytest.raises(hb.ContextMissing, match="'short' had ended"):
                        call()
                with pytest.raises(hb.ContextMissing, match="'short' had ended"):
                    async with hb.ctx.scope("nested"):
                        pass
                with pytest.raises(hb.ContextMissing, match="'short' had ended"):
                    hb.ctx.spawn(late)
                async with hb.ctx.scope("isolated", isolated=True):
                    hb.ctx.send(Ping())

            task = asyncio.get_running_loop().create_task(late())
            for number in range(3):
                hb.ctx.send(Ping(number))
        assert subscription.closed
        assert "ended" in repr(subscription)
        assert [event.number async for event in subscription] == [0, 1, 2]
        assert [event async for event in subscription] == []
        started.set()
        await task

    async def test_a_scope_object_is_entered_once(self, hb: Any) -> None:
        """Guarantee 5.7."""
        scope = hb.ctx.scope("once")
        async with scope:
            with pytest.raises(RuntimeError, match="'once' was entered before"):
                await scope.__aenter__()
        with pytest.raises(RuntimeError, match="'once' was entered before"):
            async with scope:
                pass

    async def test_scopes_overlap_across_tasks(self, hb: Any) -> None:
        """Guarantee 5.7: the inner scope is left by another task than the one that entered it, and later."""
        entered, leave = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            async with hb.ctx.scope("inner"):
                entered.set()
                await leave.wait()
                hb.ctx.send(Ping(1))

        async with hb.ctx.scope("outer"):
            subscription = hb.ctx.subscribe(Ping)
            task = hb.ctx.spawn(other)
            await entered.wait()
            async with hb.ctx.scope("sibling"):
                leave.set()
                await task
            assert subscription.pending == 1
            assert hb.ctx.trace_id()

        scope = hb.ctx.scope("moved")
        loop = asyncio.get_running_loop()
        await loop.create_task(scope.__aenter__())
        await loop.create_task(scope.__aexit__(None, None, None))

    async def test_a_scope_needs_a_name(self, hb: Any) -> None:
        for name in ("", None, 5):
            with pytest.raises(TypeError, match="a scope needs a name"):
                hb.ctx.scope(name)

    async def test_what_a_scope_cannot_use_is_refused_when_it_is_made(self, hb: Any) -> None:
        """Guarantee 5.1, 5.10: by name of the argument and with what to write."""
        connection = contextlib.nullcontext()
        for wrong, told in (
            ({"disposables": connection}, r"disposables= takes a list of them, not <context"),
            (
                {"disposables": [contextlib.AsyncExitStack]},
                "an instance with __aenter__ .* not <class",
            ),
            ({"disposables": ["x"]}, "an instance with __aenter__ .* not 'x'"),
            ({"observability": hb.LoggingObservability}, "observability= takes an instance, not"),
        ):
            with pytest.raises(TypeError, match=told):
                hb.ctx.scope("test", **wrong)

    async def test_a_plain_with_is_told_to_be_an_async_one(self, hb: Any) -> None:
        with pytest.raises(TypeError, match="'test' is entered with `async with`, not with `with`"):
            with hb.ctx.scope("test"):
                pass

    async def test_ctx_has_no_instances(self, hb: Any) -> None:
        with pytest.raises(TypeError, match="no instances"):
            hb.ctx()


class TestTasks:
    async def test_spawn_takes_functions_with_arguments_and_coroutines(self, hb: Any) -> None:
        """Guarantee 5.3."""

        async def add(first: int, *, second: int) -> int:
            await asyncio.sleep(0)
            return first + second

        async with hb.ctx.scope("test"):
            one = hb.ctx.spawn(add, 1, second=2)
            two = hb.ctx.spawn(add(3, second=4))
            assert isinstance(one, asyncio.Task)
        assert (one.result(), two.result()) == (3, 7)

    async def test_what_gives_no_coroutine_is_refused(self, hb: Any) -> None:
        """Guarantee 5.3."""

        async def work(number: int) -> None: ...

        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match="returned 3"):
                hb.ctx.spawn(lambda: 3)
            with pytest.raises(TypeError, match="not 5"):
                hb.ctx.spawn(5)
            with pytest.raises(TypeError, match="a coroutine already has its own"):
                hb.ctx.spawn(work(1), 2)

    async def test_a_task_belongs_to_the_innermost_scope_and_has_its_context(self, hb: Any) -> None:
        """Guarantee 5.3: the nested scope waits for its own task, not for the other's."""
        done = []

        async def work(name: str) -> None:
            await asyncio.sleep(0.01)
            done.append((name, hb.ctx.trace_id()))

        async with hb.ctx.scope("outer") as trace_id:
            async with hb.ctx.scope("inner"):
                hb.ctx.spawn(work, "inner")
            assert done == [("inner", trace_id)]
            hb.ctx.spawn(work, "outer")
            assert len(done) == 1
        assert done[1] == ("outer", trace_id)

    async def test_a_failing_task_cancels_the_others_and_the_body(self, hb: Any) -> None:
        """Guarantee 5.3."""
        ended = []

        async def fail() -> None:
            await asyncio.sleep(0)
            raise LookupError("task failed")

        async def wait() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("other")

        with pytest.raises(ExceptionGroup) as failed:
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(wait)
                hb.ctx.spawn(fail)
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append("body")
        assert [type(error) for error in failed.value.exceptions] == [LookupError]
        assert sorted(ended) == ["body", "other"]
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_task_that_fails_during_the_exit_fails_the_scope(self, hb: Any) -> None:
        """Guarantee 5.3, 5.4."""

        async def read() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                raise LookupError("reader failed")

        async def produce() -> None:
            await asyncio.sleep(0.001)
            hb.ctx.send(Ping())
            await asyncio.sleep(60)

        with pytest.raises(ExceptionGroup) as failed:
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(read)
                hb.ctx.spawn(produce)
        assert [str(error) for error in failed.value.exceptions] == ["reader failed"]


class TestEnd:
    async def test_endless_consumers_end_normally_and_lose_nothing(self, hb: Any) -> None:
        """Guarantee 5.4."""
        log: list[Any] = []

        async def consume(name: str) -> None:
            async for event in hb.ctx.subscribe(Ping):
                log.append((name, event.number))
                await asyncio.sleep(0)
            log.append((name, "end"))

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(consume, "a")
            hb.ctx.spawn(consume, "b")
            await asyncio.sleep(0)
            for number in range(5):
                hb.ctx.send(Ping(number))
        for name in "ab":
            assert [what for who, what in log if who == name] == [0, 1, 2, 3, 4, "end"]

    async def test_a_sleeping_producer_keeps_its_consumers_alive(self, hb: Any) -> None:
        """Guarantee 5.4."""
        got = []

        async def consume() -> None:
            async for event in hb.ctx.subscribe(Ping):
                got.append(event.number)

        async def produce() -> None:
            for number in range(5):
                await asyncio.sleep(0.002)
                hb.ctx.send(Ping(number))

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(consume)
            hb.ctx.spawn(produce)
        assert got == [0, 1, 2, 3, 4]

    async def test_chains_of_consumers_pass_everything_on(self, hb: Any) -> None:
        """Guarantee 5.4: also what a stage sends when its own loop has ended."""
        got = []

        async def report() -> None:
            async for total in hb.ctx.subscribe(Total):
                got.append(total.number)

        async def add() -> None:
            total = 0
            async for event in hb.ctx.subscribe(Pong):
                total += event.number
                await asyncio.sleep(0)
            hb.ctx.send(Total(total))

        async def double() -> None:
            last = 0
            async for event in hb.ctx.subscribe(Ping):
                await asyncio.sleep(0.001)
                hb.ctx.send(Pong(event.number * 2))
                last = event.number
            hb.ctx.send(Pong(last))

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(report)
            hb.ctx.spawn(add)
            hb.ctx.spawn(double)
            await asyncio.sleep(0)
            for number in range(5):
                hb.ctx.send(Ping(number))
        assert got == [24]

    async def test_waits_end_through_gather_taskgroup_wait_for_timeout_shield_and_as_completed(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: the wait is an inner task's, or has a time limit that is not over."""
        ended = []

        async def consume() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                pass

        async def gathered() -> None:
            await asyncio.gather(consume(), consume())

        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(consume())
                group.create_task(gathered())

        async def limited() -> None:
            with contextlib.suppress(StopAsyncIteration):
                await asyncio.wait_for(anext(hb.ctx.subscribe(Ping)), 60)

        async def timed() -> None:
            async with asyncio.timeout(60):
                await consume()

        async def shielded() -> None:
            await asyncio.shield(consume())

        async def waited() -> None:
            await asyncio.wait([asyncio.create_task(consume())])

        async def completed() -> None:
            for next_one in asyncio.as_completed([consume(), consume()]):
                await next_one

        async def awaited() -> None:
            await asyncio.create_task(consume())

        ways = [gathered, grouped, limited, timed, shielded, waited, completed, awaited]

        async def run(way: Any) -> None:
            await way()
            ended.append(way)

        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                for way in ways:
                    hb.ctx.spawn(run, way)
        assert set(ended) == set(ways)

    async def test_waits_end_through_helpers_within_each_other(self, hb: Any) -> None:
        """Guarantee 5.4: what stands behind a helper may be another one."""
        ended = []

        async def consume() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                pass

        def gathering() -> Any:
            return asyncio.gather(consume(), consume())

        async def completed() -> None:
            for next_one in asyncio.as_completed([gathering(), consume()]):
                await next_one

        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(shielded_gather())

        async def anyio_group() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(consume)
                group.start_soon(shielded_gather)

        async def shielded_gather() -> None:
            await asyncio.shield(gathering())

        async def gathered_gather() -> None:
            await asyncio.gather(gathering(), consume())

        async def gathered_shield() -> None:
            await asyncio.gather(asyncio.shield(consume()), consume())

        async def waited_gather() -> None:
            await asyncio.wait([gathering(), gathering()])

        async def limited_gather() -> None:
            await asyncio.wait_for(gathering(), 60)

        async def limited_shield() -> None:
            await asyncio.wait_for(asyncio.shield(consume()), 60)

        async def deep() -> None:
            await asyncio.shield(asyncio.gather(asyncio.shield(gathering()), gathering()))

        ways = [
            completed,
            grouped,
            anyio_group,
            shielded_gather,
            gathered_gather,
            gathered_shield,
            waited_gather,
            limited_gather,
            limited_shield,
            deep,
        ]

        async def run(way: Any) -> None:
            await way()
            ended.append(way)

        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                for way in ways:
                    hb.ctx.spawn(run, way)
        assert set(ended) == set(ways)

    async def test_activity_behind_helpers_within_each_other_keeps_a_wait_alive(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: a task at work, or a future that asyncio knows nothing of, among the readers."""
        got = []

        async def consume() -> None:
            async for event in hb.ctx.subscribe(Ping):
                got.append(event.number)

        async def produce() -> None:
            await asyncio.sleep(0.005)
            hb.ctx.send(Ping(1))

        async def by_task() -> None:
            await asyncio.shield(asyncio.gather(asyncio.gather(consume(), produce()), consume()))

        async def by_future() -> None:
            loop = asyncio.get_running_loop()
            reply = loop.create_future()
            loop.call_later(0.02, reply.set_result, 2)
            await asyncio.gather(consume(), asyncio.gather(reply))

        async def then() -> None:
            await asyncio.gather(asyncio.sleep(0.03))
            hb.ctx.send(Ping(3))

        async with hb.ctx.scope("test"):
            for way in (by_task, by_future, then):
                hb.ctx.spawn(way)
        assert sorted(got) == [1] * 3 + [3] * 3

    async def test_a_callback_of_anybody_else_says_nothing(self, hb: Any) -> None:
        """Guarantee 5.4: a producer that waits for a reply is at work, also when a reader's end would finish it."""

        class Supervisor:
            """Has the names that asyncio's own helpers have, and means something else by them."""

            def __init__(self) -> None:
                self._tasks = {"consumer": None}
                self._todo = 5
                self._done = self._on_completed_fut = loop.create_future()

            def ended(self, task: Any) -> None:
                self.told = task

        async def consume(subscription: Any) -> None:
            async for event in subscription:
                got.append(event.number)

        async def produce() -> None:
            with contextlib.suppress(ConnectionError):
                hb.ctx.send(Ping(await reply))
            hb.ctx.send(Ping(await supervisor._done))

        got: list[int] = []
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        supervisor = Supervisor()
        async with hb.ctx.scope("test"):
            reader = hb.ctx.spawn(consume, hb.ctx.subscribe(Ping))
            reader.add_done_callback(
                lambda _: reply.done() or reply.set_exception(ConnectionError("reader gone"))
            )
            reader.add_done_callback(supervisor.ended)
            loop.call_later(0.005, lambda: reply.done() or reply.set_result(7))
            loop.call_later(0.01, lambda: supervisor._done.set_result(8))
            hb.ctx.spawn(produce)
        assert got == [7, 8]

    async def test_an_end_that_breaks_leaves_no_task_behind(
        self, hb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 5.5: whatever is raised while the scope looks at its tasks, they are ended first."""
        kind = sys.modules["haiway_bus._scope.idle"].IdleCheck
        seen: list[Any] = []

        def broken(self: Any, task: Any) -> bool:
            seen.append(task)
            if len(seen) > 1:
                return False
            raise OSError("broken")

        async def consume() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                pass

        monkeypatch.setattr(kind, "at_work", broken)
        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.timeout(5):
                async with hb.ctx.scope("test"):
                    tasks = [hb.ctx.spawn(consume) for _ in range(2)]
        assert [str(one) for one in failed.value.exceptions] == ["broken"]
        assert all(task.done() for task in tasks)

    async def test_long_chains_and_many_paths_of_waiting_tasks_end_at_once(self, hb: Any) -> None:
        """Guarantee 5.4: each task is looked at once, however many wait for it and however deep."""

        async def consume() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                pass

        async def after(*tasks: Any) -> None:
            await asyncio.gather(*tasks) if len(tasks) > 1 else await tasks[0]

        async with asyncio.timeout(20):
            async with hb.ctx.scope("test"):
                last = hb.ctx.spawn(consume)
                for _ in range(3000):
                    last = hb.ctx.spawn(after, last)
                one, two = hb.ctx.spawn(consume), hb.ctx.spawn(consume)
                for _ in range(40):
                    one, two = two, hb.ctx.spawn(after, one, two)
                await asyncio.sleep(0)
        assert last.done()
        assert two.done()

    async def test_activity_behind_a_wait_keeps_it_alive(self, hb: Any) -> None:
        """Guarantee 5.4: one of the tasks that a gather or a wait is for is still at work."""
        got = []

        async def consume() -> None:
            async for event in hb.ctx.subscribe(Ping):
                got.append(event.number)

        async def produce(number: int) -> None:
            await asyncio.sleep(0.005)
            hb.ctx.send(Ping(number))

        async def gathered() -> None:
            await asyncio.gather(consume(), produce(1))

        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(consume())
                group.create_task(produce(2))

        async def waited() -> None:
            await asyncio.wait([asyncio.create_task(consume()), asyncio.create_task(produce(3))])

        async with hb.ctx.scope("test"):
            for way in (gathered, grouped, waited):
                hb.ctx.spawn(way)
        assert sorted(got) == [1, 1, 1, 2, 2, 2, 3, 3, 3]

    async def test_tasks_spawned_by_tasks_during_the_exit_run_to_their_end(self, hb: Any) -> None:
        """Guarantee 5.4."""
        got = []

        async def handle(number: int) -> None:
            await asyncio.sleep(0.001)
            got.append(number)
            if number < 3:
                hb.ctx.send(Ping(number + 1))

        async def dispatch() -> None:
            async for event in hb.ctx.subscribe(Ping):
                hb.ctx.spawn(handle, event.number)

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(dispatch)
            await asyncio.sleep(0)
            hb.ctx.send(Ping(0))
        assert got == [0, 1, 2, 3]

    async def test_a_nested_scope_ends_its_own_consumers_only(self, hb: Any) -> None:
        """Guarantee 5.4."""
        got: dict[str, list[int]] = {"outer": [], "inner": []}

        async def consume(name: str) -> None:
            async for event in hb.ctx.subscribe(Ping):
                got[name].append(event.number)

        async with hb.ctx.scope("outer"):
            hb.ctx.spawn(consume, "outer")
            async with hb.ctx.scope("inner"):
                hb.ctx.spawn(consume, "inner")
                await asyncio.sleep(0)
                hb.ctx.send(Ping(1))
            hb.ctx.send(Ping(2))
        assert got == {"outer": [1, 2], "inner": [1]}

    @pytest.mark.parametrize("way", ["wait", "await", "gather", "shield", "helper", "wait_for"])
    async def test_a_nested_scope_leaves_alone_what_its_tasks_wait_for_in_another(
        self, hb: Any, way: str
    ) -> None:
        """Guarantee 5.4: it is not held up by a consumer of the outer scope either: who waits for that is cancelled."""
        got: list[Any] = []

        async def consume(subscription: Any) -> None:
            async for event in subscription:
                got.append(event.number)
            got.append("ended")

        async def watch() -> None:
            if way == "wait":
                await asyncio.wait([consumer])
            elif way == "await":
                await consumer
            elif way == "gather":
                await asyncio.gather(consumer, consume(hb.ctx.subscribe(Pong)))
            elif way == "helper":
                await asyncio.gather(asyncio.create_task(asyncio.wait([consumer])))
            elif way == "wait_for":
                await asyncio.wait_for(asyncio.shield(consumer), 60)
            else:
                await asyncio.shield(consumer)

        async with asyncio.timeout(10):
            async with hb.ctx.scope("service"):
                consumer = hb.ctx.spawn(consume, hb.ctx.subscribe(Ping))
                hb.ctx.send(Ping(1))
                async with hb.ctx.scope("request"):
                    watching = hb.ctx.spawn(watch)
                    await turns()
                assert watching.cancelled()
                assert not consumer.done()
                hb.ctx.send(Ping(2))
        assert [one for one in got if one != "ended"] == [1, 2]
        assert consumer.result() is None

    async def test_a_task_that_reads_again_and_again_is_cancelled_in_the_end(self, hb: Any) -> None:
        """Guarantee 5.4: a loop around the loop neither hangs the scope nor keeps it busy for ever."""
        rounds: dict[str, int] = {}

        def counted(name: str) -> None:
            rounds[name] = rounds.get(name, 0) + 1

        async def on_overflow(subscription: Any) -> None:
            while True:
                counted("on_overflow")
                with contextlib.suppress(hb.SubscriptionOverflow):
                    async for _ in subscription:
                        pass

        async def until_closed(subscription: Any) -> None:
            while not subscription.closed:
                counted("until_closed")
                await anext(subscription, None)

        async def anew(_: Any) -> None:
            while True:
                counted("anew")
                async for _ in hb.ctx.subscribe(Ping):
                    pass

        async def through_helpers(subscription: Any) -> None:
            while True:
                counted("through_helpers")
                await asyncio.gather(
                    asyncio.shield(anext(subscription, None)), return_exceptions=True
                )

        async def several(subscription: Any) -> str:
            for _ in range(3):
                async for _ in subscription:
                    pass
            return "went on"

        loops = [on_overflow, until_closed, anew, through_helpers]
        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                tasks = [
                    hb.ctx.spawn(loop, hb.ctx.subscribe(Ping, limit=10, overflow="raise"))
                    for loop in loops
                ]
                finite = hb.ctx.spawn(several, hb.ctx.subscribe(Ping))
        assert all(task.cancelled() for task in tasks)
        assert finite.result() == "went on"
        assert max(rounds.values()) < 20

    async def test_a_scope_within_a_task_ends_before_the_task_is_idle(self, hb: Any) -> None:
        """Guarantee 5.4, with an isolated scope whose producer still sleeps."""
        got = []

        async def consume() -> None:
            async for event in hb.ctx.subscribe(Ping):
                got.append(event.number)

        async def produce() -> None:
            await asyncio.sleep(0.005)
            hb.ctx.send(Ping(1))

        async def subsystem() -> None:
            async with hb.ctx.scope("isolated", isolated=True):
                hb.ctx.spawn(consume)
                hb.ctx.spawn(produce)

        async with hb.ctx.scope("outer"):
            hb.ctx.spawn(subsystem)
        assert got == [1]

    async def test_many_types_end_in_few_rounds(self, hb: Any) -> None:
        """Guarantee 5.4: a round a type would be too slow with two thousand of them."""
        kinds = [type(f"Kind{number}", (), {}) for number in range(2000)]

        async def consume(kind: type) -> None:
            async for _ in hb.ctx.subscribe(kind):
                pass

        async with asyncio.timeout(20):
            async with hb.ctx.scope("test"):
                tasks = [hb.ctx.spawn(consume, kind) for kind in kinds]
        assert all(task.done() for task in tasks)

    async def test_when_the_body_raises_tasks_are_cancelled_and_its_exception_comes_out_as_it_was(
        self, hb: Any
    ) -> None:
        """Guarantee 5.5."""
        ended = []

        async def consume() -> None:
            try:
                async for _ in hb.ctx.subscribe(Ping):
                    pass
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        error = LookupError("body failed")
        with pytest.raises(LookupError) as raised:
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(consume)
                await asyncio.sleep(0)
                raise error
        assert raised.value is error
        assert ended == ["cancelled"]

        async def fail() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise OSError("task failed")

        with pytest.raises(ExceptionGroup) as group:
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(fail)
                await asyncio.sleep(0)
                raise error
        assert {type(one) for one in group.value.exceptions} == {LookupError, OSError}

    async def test_when_the_body_is_cancelled_nothing_hangs(self, hb: Any) -> None:
        """Guarantee 5.5: in the body, and while the scope waits for its tasks."""

        async def consume() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                pass

        async def work(seconds: float) -> None:
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(consume)
                hb.ctx.spawn(asyncio.sleep, 60)
                await asyncio.sleep(seconds)

        for seconds in (60.0, 0.0):
            task = asyncio.get_running_loop().create_task(work(seconds))
            await asyncio.sleep(0.005)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await work(0.0)

    @pytest.mark.parametrize("how", ["body", "task", "cancelled", "entry"])
    async def test_a_task_that_reads_while_it_is_cancelled_does_not_hang_the_scope(
        self, hb: Any, how: str
    ) -> None:
        """Guarantee 5.5: subscriptions end, also for who reads what is left in a `finally`."""
        log: list[Any] = []

        async def consume(subscription: Any) -> None:
            try:
                async for event in subscription:
                    log.append(event.number)
            finally:
                async for event in subscription:
                    log.append(event.number)
                await asyncio.sleep(0.001)
                await asyncio.gather(drain(subscription), drain(subscription))
                log.append("drained")

        async def drain(subscription: Any) -> None:
            async for _ in subscription:
                pass

        async def fail() -> None:
            raise LookupError("task")

        @contextlib.asynccontextmanager
        async def refuse() -> AsyncIterator[Any]:
            hb.ctx.spawn(consume, hb.ctx.subscribe(Ping))
            await turns()
            hb.ctx.send(Ping(1))
            raise LookupError("entry")
            yield

        async def serve() -> None:
            async with hb.ctx.scope("test", disposables=[refuse()] if how == "entry" else []):
                hb.ctx.spawn(consume, hb.ctx.subscribe(Ping))
                await turns()
                hb.ctx.send(Ping(1))
                if how == "body":
                    raise LookupError("body")
                if how == "task":
                    hb.ctx.spawn(fail)
                await asyncio.sleep(60)

        serving = asyncio.get_running_loop().create_task(serve())
        if how == "cancelled":
            await until(lambda: log == [1])
            serving.cancel()
        await asyncio.wait([serving], timeout=5)
        assert serving.done()
        assert log == [1, "drained"]
        if how == "cancelled":
            assert serving.cancelled()
        else:
            kind = ExceptionGroup if how == "task" else LookupError
            assert type(serving.exception()) is kind

    async def test_spawning_while_the_scope_is_cancelled_is_refused(self, hb: Any) -> None:
        """Guarantee 5.5, 5.6: and no coroutine is left behind that was never awaited."""
        refused = []

        async def spawn_again() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                with pytest.raises(hb.ContextMissing, match="being cancelled") as error:
                    hb.ctx.spawn(asyncio.sleep, 1)
                refused.append(error)

        with pytest.raises(LookupError):
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(spawn_again)
                await asyncio.sleep(0)
                raise LookupError
        assert len(refused) == 1

    async def test_a_subscription_of_the_body_ends_with_the_bus(self, hb: Any) -> None:
        """Guarantee 5.6: a reader that the scope did not spawn ends, too."""
        got = []

        async def consume(subscription: Any) -> None:
            async for event in subscription:
                got.append(event.number)

        async with hb.ctx.scope("test"):
            task = asyncio.get_running_loop().create_task(consume(hb.ctx.subscribe(Ping)))
            await asyncio.sleep(0)
            hb.ctx.send(Ping(1))
        await asyncio.wait_for(task, 5)
        assert got == [1]

    async def test_a_task_only_spawned_has_not_subscribed(self, hb: Any) -> None:
        """Guarantee 5.8, and the way around it: subscribe first, pass the subscription on."""
        got = []

        async def consume(subscription: Any = None) -> None:
            async for event in hb.ctx.subscribe(Ping) if subscription is None else subscription:
                got.append(event.number)

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(consume)
            hb.ctx.send(Ping(1))
        assert got == []
        async with hb.ctx.scope("test"):
            hb.ctx.spawn(consume, hb.ctx.subscribe(Ping))
            hb.ctx.send(Ping(2))
        assert got == [2]


class TestState:
    async def test_state_is_looked_up_by_exact_type_innermost_first(self, hb: Any) -> None:
        """Guarantee 5.10."""

        class Config(hb.State):
            level: int = 1

        class Special(Config):
            pass

        async with hb.ctx.scope("outer", Config(level=2)):
            assert hb.ctx.state(Config).level == 2
            async with hb.ctx.scope("inner", Config(level=3), Special(level=4)):
                assert (hb.ctx.state(Config).level, hb.ctx.state(Special).level) == (3, 4)
                async with hb.ctx.scope("innermost"):
                    assert hb.ctx.state(Config).level == 3
            assert hb.ctx.state(Special).level == 1

    async def test_a_state_of_defaults_is_made_once_a_scope(self, hb: Any) -> None:
        """Guarantee 5.10."""

        class Config(hb.State):
            level: int = 1

        async with hb.ctx.scope("outer"):
            async with hb.ctx.scope("inner"):
                with hb.ctx.updated():
                    inner = hb.ctx.state(Config)
                assert hb.ctx.state(Config) is inner
            outer = hb.ctx.state(Config)
            assert outer is not inner
            async with hb.ctx.scope("inner"):
                assert hb.ctx.state(Config) is outer

    async def test_a_state_that_cannot_be_made_is_missing_and_says_where_it_was_looked_for(
        self, hb: Any
    ) -> None:
        """Guarantee 5.10."""

        class Needed(hb.State):
            level: int

        async with hb.ctx.scope("outer"):
            async with hb.ctx.scope("inner"):
                with pytest.raises(hb.ContextStateMissing, match="Needed.*'inner', 'outer'.*level"):
                    hb.ctx.state(Needed)
                with pytest.raises(TypeError, match="a class of State, not 5"):
                    hb.ctx.state(5)

    async def test_updated_replaces_instances_for_the_block(self, hb: Any) -> None:
        """Guarantee 5.10: and for what is spawned within it."""

        class Config(hb.State):
            level: int = 1

        seen = []

        async def work() -> None:
            await asyncio.sleep(0)
            seen.append(hb.ctx.state(Config).level)

        async with hb.ctx.scope("test", Config(level=2)):
            with hb.ctx.updated(Config(level=3)):
                assert hb.ctx.state(Config).level == 3
                hb.ctx.spawn(work)
            assert hb.ctx.state(Config).level == 2
        assert seen == [3]

    async def test_only_instances_of_state_are_held(self, hb: Any) -> None:
        class Config(hb.State):
            level: int = 1

        for given, says in ((5, "an instance of int"), (Config, "the class .*Config")):
            with pytest.raises(TypeError, match=says):
                hb.ctx.scope("test", given)


class TestDisposables:
    async def test_they_are_entered_before_the_body_and_left_after_the_tasks_in_reverse(
        self, hb: Any
    ) -> None:
        """Guarantee 5.10."""

        class Connection(hb.State):
            name: str

        log = []

        @contextlib.asynccontextmanager
        async def connect(name: str) -> AsyncIterator[Any]:
            log.append(f"enter {name}")
            yield Connection(name=name) if name == "a" else None
            log.append(f"leave {name}")

        async def work() -> None:
            async for _ in hb.ctx.subscribe(Ping):
                log.append(f"work {hb.ctx.state(Connection).name}")
            log.append("task ended")

        async with hb.ctx.scope("test", disposables=[connect("a"), connect("b")]):
            log.append("body")
            hb.ctx.spawn(work)
            await asyncio.sleep(0)
            hb.ctx.send(Ping())
        assert log == ["enter a", "enter b", "body", "work a", "task ended", "leave b", "leave a"]

    async def test_all_are_left_when_one_fails(self, hb: Any) -> None:
        """Guarantee 5.10: on leaving, and on entering."""
        log = []

        @contextlib.asynccontextmanager
        async def connect(name: str, fail_at: str = "") -> AsyncIterator[Any]:
            if fail_at == "enter":
                raise OSError(name)
            try:
                yield
            finally:
                log.append(name)
            if fail_at == "leave":
                raise OSError(name)

        with pytest.raises(OSError, match="b"):
            async with hb.ctx.scope(
                "test", disposables=[connect("a"), connect("b", "leave"), connect("c")]
            ):
                bus = hb._bus.current.get()
        assert log == ["c", "b", "a"]
        assert bus.ended
        log.clear()
        with pytest.raises(OSError, match="c"):
            async with hb.ctx.scope(
                "test", disposables=[connect("a"), connect("b"), connect("c", "enter")]
            ):
                raise AssertionError("the body must not run")
        assert log == ["b", "a"]
        with pytest.raises(hb.ContextMissing):
            hb.ctx.trace_id()

    async def test_they_can_use_the_scope(self, hb: Any) -> None:
        """Guarantee 5.10: subscribe and spawn when entered, read what is left when left."""
        got = []

        @contextlib.asynccontextmanager
        async def bridge() -> AsyncIterator[Any]:
            subscription = hb.ctx.subscribe(Ping)
            hb.ctx.spawn(asyncio.sleep, 0)
            yield
            got.extend([(await anext(subscription)).number for _ in range(subscription.pending)])
            with pytest.raises(hb.ContextMissing, match="had ended"):
                hb.ctx.spawn(asyncio.sleep, 0)

        async with hb.ctx.scope("test", disposables=[bridge()]):
            hb.ctx.send(Ping(1))
            hb.ctx.send(Ping(2))
        assert got == [1, 2]


class TestHome:
    async def test_another_thread_is_refused_and_both_are_named(self, hb: Any) -> None:
        """Guarantee 6.1."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ping)
            hb.ctx.send(Ping())
            hb.ctx.send(Ping())
            await anext(subscription)

            def elsewhere() -> list[str]:
                messages = []

                async def read() -> None:
                    await anext(subscription)

                async def subscribe() -> None:
                    hb.ctx.subscribe(Ping)

                async def nest() -> None:
                    async with hb.ctx.scope("nested"):
                        pass

                async def spawn() -> None:
                    hb.ctx.spawn(read)

                for call in (read, subscribe, nest, spawn):
                    with pytest.raises(RuntimeError) as refused:
                        asyncio.run(call())
                    messages.append(str(refused.value))
                with pytest.raises(RuntimeError) as refused:
                    subscription.close()
                messages.append(str(refused.value))
                return [f"{message} from {threading.get_ident()}" for message in messages]

            for message in await asyncio.to_thread(elsewhere):
                text, _, thread = message.rpartition(" from ")
                assert f"in thread {threading.get_ident()}" in text
                assert f"in thread {thread}" in text
            assert subscription.pending == 1
            assert not subscription.closed

    def test_another_loop_is_refused_and_both_are_named(self, hb: Any) -> None:
        """Guarantee 6.1."""
        subscriptions = []

        async def leave() -> None:
            scope = hb.ctx.scope("test")
            await scope.__aenter__()
            for _ in range(2):
                subscriptions.append(hb.ctx.subscribe(Ping))
            hb.ctx.send(Ping())

        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())

        async def read() -> None:
            async for _ in subscriptions[0]:
                pass

        async def take() -> None:
            await anext(subscriptions[1])

        for close in (lambda: None, loop.close):
            close()
            for call in (read, take):
                with pytest.raises(RuntimeError, match=r"Loop .*Loop "):
                    asyncio.run(call())

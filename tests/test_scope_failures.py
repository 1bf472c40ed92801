"""Guarantee 5.5 and 5.13 to 5.15: what a scope that fails or is cancelled tells, raises and leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.shared import COUNTS_REFERENCES, Ping, Pong, let_go, turns

pytestmark = pytest.mark.anyio


class Inner(Exception):
    pass


class Outer(Exception):
    pass


class Thing:
    """A disposable that does on its way out what it was told to."""

    def __init__(
        self, on_exit: Callable[[Any], object] = lambda _: None, on_entry: Any = None
    ) -> None:
        self.on_exit = on_exit
        self.on_entry = on_entry
        self.saw: Any = "not left"

    async def __aenter__(self) -> None:
        if self.on_entry is not None:
            raise self.on_entry

    async def __aexit__(self, _: object, exception: BaseException | None, __: object) -> Any:
        self.saw = exception
        await asyncio.sleep(0)
        return self.on_exit(exception)


def failing(error: BaseException, *, from_shown: bool = False) -> Thing:
    def fail(shown: BaseException | None) -> None:
        if from_shown:
            raise error from shown
        raise error

    return Thing(fail)


def again(shown: BaseException) -> None:
    raise shown


async def after(seconds: float, error: BaseException) -> None:
    await asyncio.sleep(seconds)
    raise error


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def raised_by(work: Any) -> BaseException | None:
    try:
        await work
    except BaseException as error:
        return error
    return None


def is_clear() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


class TestSeveralFailures:
    """Guarantee 5.13."""

    async def serve(
        self,
        hb: Any,
        *disposables: Any,
        body: BaseException | None = None,
        task: BaseException | None = None,
        **kwargs: Any,
    ) -> str:
        async with hb.ctx.scope("shop", disposables=disposables, **kwargs):
            if task is not None:
                hb.ctx.spawn(after, 0, task)
                await forever()
            if body is not None:
                raise body
        return "went on"

    async def test_all_that_fail_are_told_in_one_group(self, hb: Any) -> None:
        cache, pool, body, task = OSError("cache"), ValueError("pool"), KeyError("body"), Inner()
        for work, told in (
            (self.serve(hb, failing(cache), failing(pool)), [pool, cache]),
            (self.serve(hb, failing(cache), body=body), [body, cache]),
            (self.serve(hb, failing(cache), failing(pool), body=body), [body, pool, cache]),
            (self.serve(hb, failing(cache), failing(pool), task=task), [task, pool, cache]),
            (self.serve(hb, task=task), [task]),
        ):
            error = await raised_by(work)
            assert type(error) is ExceptionGroup
            assert (
                str(error)
                == f"errors in the scope 'shop' ({len(told)} sub-exception{'s'[: len(told) > 1]})"
            )
            assert list(error.exceptions) == told
            assert is_clear()

    async def test_one_failure_comes_out_as_it_was(self, hb: Any) -> None:
        """The same object, with its own context, cause and traceback, and nothing hung on to it."""
        for where in ("body", "disposable", "entry"):
            error, cause = OSError(where), KeyError("cause")
            error.__cause__ = cause
            try:
                raise LookupError("handled elsewhere")
            except LookupError:
                # What is being handled where the scope is left is none of its business.
                came = await raised_by(
                    self.serve(hb, body=error)
                    if where == "body"
                    else self.serve(hb, failing(error, from_shown=False))
                    if where == "disposable"
                    else self.serve(hb, Thing(on_entry=error))
                )
            assert came is error
            assert came.__cause__ is cause
            assert isinstance(came.__context__, LookupError | None)
            names = [entry.tb_frame.f_code.co_name for entry in walk(came.__traceback__)]
            assert {"body": "serve", "disposable": "fail", "entry": "__aenter__"}[where] in names

    async def test_the_group_does_not_say_that_it_came_while_another_was_handled(
        self, hb: Any
    ) -> None:
        error = await raised_by(self.serve(hb, failing(OSError()), body=KeyError()))
        assert error is not None
        assert error.__context__ is error.__cause__ is None

    async def test_each_disposable_sees_what_is_about_to_come_out(self, hb: Any) -> None:
        first, second, body = Thing(), Thing(), KeyError("body")
        failed = OSError("between")
        error = await raised_by(self.serve(hb, first, failing(failed), second, body=body))
        assert second.saw is body
        assert first.saw is error
        await self.serve(hb, first)
        assert first.saw is None

    async def test_what_a_disposable_suppresses_is_what_it_saw(self, hb: Any) -> None:
        suppress, failed = Thing(lambda _: True), OSError()
        assert await self.serve(hb, suppress, body=KeyError()) == "went on"
        assert await self.serve(hb, suppress, failing(failed), body=KeyError()) == "went on"
        assert await self.serve(hb, suppress, task=KeyError()) == "went on"
        assert await self.serve(hb, suppress) == "went on"
        # Left after the one that suppresses: that one has not seen it.
        assert await raised_by(self.serve(hb, failing(failed), suppress, body=KeyError())) is failed

    async def test_what_a_disposable_makes_of_what_it_saw_takes_its_place(self, hb: Any) -> None:
        """Raised again, raised `from` it, or in a group: nothing is told twice."""
        body, other = KeyError("body"), OSError("other")
        assert await raised_by(self.serve(hb, Thing(again), body=body)) is body
        error = await raised_by(self.serve(hb, Thing(again), failing(other), body=body))
        assert isinstance(error, ExceptionGroup)
        assert list(error.exceptions) == [body, other]
        translated = ValueError("translated")
        work = self.serve(hb, failing(translated, from_shown=True), body=body)
        assert await raised_by(work) is translated
        assert translated.__cause__ is body

        def group(shown: Exception) -> None:
            raise ExceptionGroup("mine", [shown, other])

        error = await raised_by(self.serve(hb, Thing(group), body=body))
        assert isinstance(error, ExceptionGroup)
        assert error.message == "mine"

    async def test_an_exception_that_body_and_task_raise_is_told_once(self, hb: Any) -> None:
        shared = Inner()

        async def serve() -> None:
            async with hb.ctx.scope("shop"):
                task = hb.ctx.spawn(after, 0, shared)
                await asyncio.wait([task])
                raise shared

        error = await raised_by(serve())
        assert isinstance(error, ExceptionGroup)
        assert list(error.exceptions) == [shared]

    async def test_an_entry_that_fails_tells_what_fails_on_the_way_back(self, hb: Any) -> None:
        entry, failed = KeyError("entry"), OSError("left")
        first = Thing()
        error = await raised_by(self.serve(hb, first, failing(failed), Thing(on_entry=entry)))
        assert isinstance(error, ExceptionGroup)
        assert list(error.exceptions) == [entry, failed]
        assert first.saw is error
        # What a body would have raised can be suppressed. Without a body there is nothing to go on with.
        suppress = Thing(lambda _: True)
        assert await raised_by(self.serve(hb, suppress, Thing(on_entry=entry))) is entry
        with pytest.raises(hb.ContextMissing):
            hb.ctx.trace_id()

    async def test_what_a_disposable_gives_in_vain_is_left(self, hb: Any) -> None:
        class Wrong(Thing):
            async def __aenter__(self) -> Any:
                return [5]

        wrong = Wrong()
        with pytest.raises(TypeError, match="not an instance of int"):
            await self.serve(hb, wrong)
        assert isinstance(wrong.saw, TypeError)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_wins_and_has_the_others_behind_it(
        self, hb: Any, kind: type[BaseException]
    ) -> None:
        body, failed = KeyError("body"), OSError("left")

        async def main(*disposables: Any, body: BaseException | None = None) -> Any:
            return await raised_by(self.serve(hb, *disposables, body=body))

        stop = kind()
        came = asyncio.run(main(failing(failed), body=stop))
        assert came is stop
        assert stop.__context__ is failed
        stop = kind()
        other = ValueError()
        came = asyncio.run(main(failing(failed), failing(other), body=stop))
        assert came is stop
        assert isinstance(stop.__context__, ExceptionGroup)
        assert list(stop.__context__.exceptions) == [other, failed]
        # It came while the body's error was handled, and so has that already.
        stop = kind()
        assert asyncio.run(main(failing(stop), body=body)) is stop
        assert stop.__context__ is body

    async def test_a_generator_that_is_closed_says_what_failed_and_else_nothing(
        self, hb: Any
    ) -> None:
        async def serve(*disposables: Any) -> AsyncIterator[int]:
            async with hb.ctx.scope("shop", disposables=disposables):
                hb.ctx.spawn(forever)
                yield 1

        for disposables, told in (((), None), ((failing(OSError("left")),), "left")):
            generator: Any = serve(*disposables)
            await anext(generator)
            error = await raised_by(generator.aclose())
            assert (error and str(error)) == told

    async def test_errors_come_before_the_cancellation_of_the_body_which_comes_next(
        self, hb: Any
    ) -> None:
        """As in asyncio.TaskGroup (guarantee 5.15): and what waits next is cancelled."""
        steps = []

        async def work() -> None:
            try:
                await self.serve(hb, failing(OSError("left")), task=None, body=None)
            except OSError:
                steps.append("no cancellation yet")
            try:
                async with hb.ctx.scope("shop", disposables=[failing(OSError("left"))]):
                    await forever()
            except OSError:
                steps.append("left")
            await forever()

        task = asyncio.get_running_loop().create_task(work())
        await turns()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert steps == ["no cancellation yet", "left"]

    async def test_what_a_recorder_raises_is_told_too(self, hb: Any) -> None:
        class Broken(hb.LoggingObservability):  # type: ignore[misc,name-defined]
            def scope_exited(self, scope: Any, exception: Any) -> None:
                raise OSError("recorder")

            def log(self, scope: Any, level: Any, message: str, args: Any, exception: Any) -> None:
                raise ValueError(message % args)

        async def serve(body: Exception | None = None) -> None:
            async with hb.ctx.scope("shop", observability=Broken()):
                nonlocal bus
                bus = hb._bus.current.get()
                kept.append(hb.ctx.subscribe(Ping))
                hb.ctx.send(Ping())
                if body is not None:
                    raise body

        bus: Any = None
        kept: list[Any] = []
        body = KeyError("body")
        error = await raised_by(serve(body))
        assert isinstance(error, ExceptionGroup)
        assert [str(one) for one in error.exceptions] == [
            "'body'",
            "recorder",
            "events of Ping left unread at the end of the scope: 1",
        ]
        assert bus.ended
        with pytest.raises(hb.ContextMissing):
            hb.ctx.trace_id()

    @pytest.mark.skipif(not COUNTS_REFERENCES, reason="all is garbage until it is collected")
    async def test_a_failed_end_leaves_no_garbage(self, hb: Any, no_garbage: None) -> None:
        """Guarantee 3.5: exceptions hold the frames that they came through, and these hold no exception."""

        class Failing(Thing):
            async def __aexit__(self, *_: object) -> None:
                raise OSError

        class Refusing(Thing):
            async def __aenter__(self) -> None:
                raise KeyError

        async def fail() -> None:
            raise ValueError

        async def serve(body: bool, task: bool, *disposables: Any) -> None:
            async with hb.ctx.scope("shop", disposables=disposables):
                if task:
                    hb.ctx.spawn(fail)
                    await forever()
                if body:
                    raise KeyError

        for body, task, *disposables in (
            (False, False, Failing()),
            (False, False, Failing(), Failing()),
            (True, False),
            (True, False, Failing()),
            (True, False, Failing(), Failing()),
            (False, True, Failing()),
            (False, False, Failing(), Refusing()),
            (False, False, Refusing()),
        ):
            gc.collect()
            serving = asyncio.get_running_loop().create_task(serve(body, task, *disposables))
            await asyncio.wait([serving])
            assert serving.exception() is not None
            del serving
            await turns()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                gc.collect()
                left = [one for one in gc.garbage if isinstance(one, BaseException)]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
            assert left == [], (body, task, disposables)


def walk(traceback: Any) -> list[Any]:
    found = []
    while traceback is not None:
        found.append(traceback)
        traceback = traceback.tb_next
    return found


class TestArguments:
    """Guarantee 5.1, 5.10: what is meant is taken, what cannot be is refused with what to write."""

    async def test_none_stands_for_no_disposable(self, hb: Any) -> None:
        thing = Thing()
        async with hb.ctx.scope("shop", disposables=None):
            pass
        async with hb.ctx.scope("shop", disposables=[None, thing, None]):
            pass
        assert thing.saw is None

    def test_each_refusal_says_what_to_write(self, hb: Any) -> None:
        class Config(hb.State):  # type: ignore[misc,name-defined]
            level: int = 1

        async def connect() -> None:
            raise AssertionError("not run")

        async def stream() -> AsyncIterator[int]:
            yield 1

        class Plain:
            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None: ...

        for given, says in (
            ([connect()], "await it first"),
            ([stream()], "@asynccontextmanager above"),
            ([connect], "call it"),
            ([Plain()], "by `with` around the scope"),
            ([Config()], r"ctx\.scope\(name, state\)"),
            ([Thing], r"call it, .*Thing\(\.\.\.\)"),
            ("ab", "takes a list of them, not 'ab'"),
            (Thing(), r"takes a list of them, .*write \["),
            ([5], "not 5"),
        ):
            with pytest.raises(TypeError, match=says):
                hb.ctx.scope("shop", disposables=given)
        for state, says in (
            (None, "not None: leave out what is not there"),
            (Config, r"write .*Config\(\.\.\.\)"),
            ([Config()], r"unpack it with \*"),
            (Thing(), r"write disposables=\[\.\.\.\]"),
            (5, "pass an instance of a State class"),
        ):
            with pytest.raises(TypeError, match=says):
                hb.ctx.scope("shop", state)
        for recorder, says in (
            (logging.getLogger("shop"), r"leave it out, the scope writes to logging\.getLogger"),
            (logging.LoggerAdapter(logging.getLogger("shop"), {}), "leave it out"),
            (hb.LoggingObservability, "an instance, not the class"),
            (True, "not True, which has no scope_entered, .* inherit from LoggingObservability"),
        ):
            with pytest.raises(TypeError, match=says):
                hb.ctx.scope("shop", observability=recorder)

    async def test_a_recorder_may_answer_for_what_its_class_does_not_have(self, hb: Any) -> None:
        """As a mock does."""

        class Mock:
            def __getattr__(self, name: str) -> Any:
                if name.startswith("__"):
                    raise AttributeError(name)
                return lambda *_: None

        async with hb.ctx.scope("shop", observability=Mock()):
            pass


class TestLeftElsewhere:
    """Guarantee 5.14."""

    async def test_a_scope_that_another_task_leaves_ends_at_the_first_failure(
        self, hb: Any
    ) -> None:
        """As a fixture whose setup and teardown are tasks of their own. Nobody is told of it but who leaves."""
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        scope = hb.ctx.scope("fixture")
        sibling: Any = None

        async def set_up() -> None:
            nonlocal sibling
            await scope.__aenter__()
            sibling = hb.ctx.spawn(forever)
            hb.ctx.spawn(after, 0, LookupError("crashed"))

        await loop.create_task(set_up())
        await turns(20)
        assert sibling.cancelled()
        error = await raised_by(loop.create_task(scope.__aexit__(None, None, None)))
        assert isinstance(error, ExceptionGroup)
        assert [str(one) for one in error.exceptions] == ["crashed"]
        assert told == []
        loop.set_exception_handler(None)

    async def test_what_fails_while_another_task_leaves_cancels_nobody_else(self, hb: Any) -> None:
        """The task that entered the scope has gone on to other work."""
        loop = asyncio.get_running_loop()
        scope, entered, done = hb.ctx.scope("fixture"), asyncio.Event(), asyncio.Event()
        leave = loop.create_future()

        async def set_up() -> str:
            await scope.__aenter__()
            hb.ctx.spawn(forever)
            hb.ctx.spawn(fail_when_left)
            entered.set()
            await done.wait()
            return "went on"

        async def fail_when_left() -> None:
            await leave
            await turns()
            raise LookupError("crashed")

        setting_up = loop.create_task(set_up())
        await entered.wait()
        leaving = loop.create_task(scope.__aexit__(None, None, None))
        await turns()
        leave.set_result(None)
        error = await raised_by(asyncio.wait_for(leaving, 5))
        assert isinstance(error, ExceptionGroup)
        assert leaving.cancelling() == 0
        done.set()
        assert await asyncio.wait_for(setting_up, 5) == "went on"
        assert setting_up.cancelling() == 0

    async def test_who_leaves_is_who_can_be_cancelled(self, hb: Any) -> None:
        loop = asyncio.get_running_loop()
        scope = hb.ctx.scope("fixture")
        task: Any = None

        async def set_up() -> None:
            nonlocal task
            await scope.__aenter__()
            task = hb.ctx.spawn(forever)

        await loop.create_task(set_up())
        leaving = loop.create_task(scope.__aexit__(None, None, None))
        await turns()
        leaving.cancel()
        assert isinstance(await raised_by(leaving), asyncio.CancelledError)
        assert task.cancelled()

    async def test_a_failure_behind_a_generator_does_not_cancel_who_iterates(self, hb: Any) -> None:
        """It comes out when the generator leaves its scope. One that is at work itself is interrupted."""
        crash: Any = None

        async def items(wait: bool) -> AsyncIterator[int]:
            async with hb.ctx.scope("fixture"):
                hb.ctx.spawn(fail)
                yield 1
                if wait:
                    crash.set_result(None)
                    await forever()

        async def fail() -> None:
            await crash
            raise LookupError("crashed")

        for wait in (False, True):
            crash = asyncio.get_running_loop().create_future()
            generator = items(wait)
            assert await anext(generator) == 1
            if not wait:
                crash.set_result(None)
                await turns(10)
            error = await raised_by(asyncio.wait_for(anext(generator), 5))
            assert isinstance(error, ExceptionGroup)
            assert is_clear()

    async def test_the_body_around_a_context_manager_is_cancelled(self, hb: Any) -> None:
        """Guarantee 5.3: also where a scope is entered by code that the body only uses."""

        @contextlib.asynccontextmanager
        async def manager() -> AsyncIterator[None]:
            async with hb.ctx.scope("service"):
                hb.ctx.spawn(after, 0, LookupError("crashed"))
                yield

        class Wrapper:
            async def __aenter__(self) -> None:
                self.scope = hb.ctx.scope("service")
                await self.scope.__aenter__()
                hb.ctx.spawn(after, 0, LookupError("crashed"))

            async def __aexit__(self, *exception: object) -> Any:
                return await self.scope.__aexit__(*exception)

        async def serve(kind: Any, by_stack: bool) -> None:
            if by_stack:
                async with contextlib.AsyncExitStack() as stack:
                    await stack.enter_async_context(kind())
                    await forever()
            async with kind():
                await forever()

        for kind in (manager, Wrapper):
            for by_stack in (False, True):
                error = await raised_by(asyncio.wait_for(serve(kind, by_stack), 5))
                assert isinstance(error, ExceptionGroup), (kind, by_stack)

    @pytest.mark.parametrize("isolated", [False, True])
    async def test_a_scope_that_a_generator_left_open_hides_no_open_one(
        self, hb: Any, isolated: bool
    ) -> None:
        class Config(hb.State):  # type: ignore[misc,name-defined]
            name: str

        async def items() -> AsyncIterator[int]:
            async with hb.ctx.scope("inside", Config(name="inner"), isolated=isolated):
                yield 1
                yield 2

        got: list[int] = []
        async with hb.ctx.scope("service", Config(name="outer")) as trace_id:
            hb.ctx.on(Ping, lambda event: got.append(event.number))
            for number in range(2):  # the second one is entered where the first was left open
                async for _ in items():
                    assert hb.ctx.state(Config).name == "inner"
                    break
                for _ in range(3):
                    let_go()
                    await turns()
                assert hb.ctx.state(Config).name == "outer"
                assert hb.ctx.trace_id() == trace_id
                hb.ctx.send(Ping(number))
                subscription = hb.ctx.subscribe(Ping)
                hb.ctx.send(Ping(10 + number))
                assert (await anext(subscription)).number == 10 + number
                subscription.close()
                await hb.ctx.spawn(turns)
                hb.ctx.on(Pong, lambda event: got.append(event.number))
                hb.ctx.send(Pong(20 + number))
                await hb.ctx.flush(Pong, timeout=5)
                assert Ping in hb.ctx.events()
                with hb.ctx.updated(Config(name="updated")):
                    assert hb.ctx.state(Config).name == "updated"
                async with hb.ctx.scope("nested"):
                    hb.ctx.send(Ping(30 + number))
                    assert hb.ctx.state(Config).name == "outer"
        assert sorted(got) == [0, 1, 10, 11, 20, 21, 21, 30, 31]

    async def test_a_scope_entered_before_the_generator_was_closed_goes_on_outside(
        self, hb: Any
    ) -> None:
        async def items() -> AsyncIterator[int]:
            async with hb.ctx.scope("inside", isolated=True):
                yield 1

        got: list[int] = []
        async with hb.ctx.scope("service"):
            hb.ctx.on(Ping, lambda event: got.append(event.number))
            async for _ in items():
                break
            async with hb.ctx.scope("early"):
                for _ in range(3):
                    let_go()
                    await turns()
                hb.ctx.send(Ping(1))
                await hb.ctx.spawn(turns)
                async with hb.ctx.scope("nested"):
                    hb.ctx.send(Ping(2))
                subscription = hb.ctx.subscribe(Ping)
                hb.ctx.send(Ping(3))
                assert subscription.pending == 1
        assert got == [1, 2, 3]

    async def test_a_root_scope_left_open_has_nothing_around_it(self, hb: Any) -> None:
        async def items() -> AsyncIterator[int]:
            async with hb.ctx.scope("root"):
                yield 1

        async for _ in items():
            break
        for _ in range(3):
            let_go()
            await turns()
        for call in (lambda: hb.ctx.send(Ping()), lambda: hb.ctx.spawn(turns)):
            with pytest.raises(hb.ContextMissing, match="'root' had ended"):
                call()

    async def test_a_task_that_outlives_its_scope_is_not_moved_to_another(self, hb: Any) -> None:
        """Guarantee 5.1, 5.6: the events of an isolated scope never reach the one around it."""
        go = asyncio.Event()

        async def outlive() -> None:
            await go.wait()
            with pytest.raises(hb.ContextMissing, match="'inside' had ended"):
                hb.ctx.send(Ping())

        async with hb.ctx.scope("service"):
            subscription = hb.ctx.subscribe(Ping)
            async with hb.ctx.scope("inside", isolated=True):
                task = asyncio.get_running_loop().create_task(outlive())
            go.set()
            await task
            assert subscription.pending == 0


class TestTwoFail:
    """Guarantee 5.15."""

    @pytest.mark.parametrize("inner_first", [False, True])
    @pytest.mark.parametrize("kind", ["scope", "TaskGroup"])
    @pytest.mark.parametrize("body", ["waits", "swallows", "is over"])
    async def test_a_failure_of_the_outer_one_is_not_swallowed_by_the_inner(
        self, hb: Any, inner_first: bool, kind: str, body: str
    ) -> None:
        went_on: list[str] = []
        start = asyncio.get_running_loop().create_future()

        async def fail(error: Exception) -> None:
            await start
            raise error

        async def serve() -> None:
            outer: Any = hb.ctx.scope("outer") if kind == "scope" else asyncio.TaskGroup()
            async with outer:
                spawn: Any = hb.ctx.spawn if kind == "scope" else outer.create_task
                around = contextvars.copy_context()
                spawns: list[Any] = [lambda: around.run(spawn, fail(Outer()))]
                try:
                    async with hb.ctx.scope("inner"):
                        spawns.append(lambda: hb.ctx.spawn(fail, Inner()))
                        for each in reversed(spawns) if inner_first else spawns:
                            each()
                        await turns(2)
                        start.set_result(None)
                        if body != "is over":
                            try:
                                await forever()
                            except asyncio.CancelledError:
                                if body == "waits":
                                    raise
                except* Inner:
                    pass
                await forever()
                went_on.append("swallowed")

        error = await raised_by(asyncio.wait_for(serve(), 5))
        assert isinstance(error, ExceptionGroup)
        assert [type(one) for one in error.exceptions] == [Outer]
        assert went_on == []
        assert is_clear()

    @pytest.mark.parametrize("caught", ["within", "outside", "not"])
    async def test_a_time_out_in_the_same_moment_is_not_swallowed(
        self, hb: Any, caught: str
    ) -> None:
        """Nor does it come twice: what `asyncio.timeout` has taken back is over."""
        start = asyncio.get_running_loop().create_future()

        async def fail() -> None:
            await start
            raise Inner

        async def serve() -> None:
            async with hb.ctx.scope("inner"):
                hb.ctx.spawn(fail)
                await turns(2)
                start.set_result(None)
                limit.reschedule(0)
                await forever()

        error: Any = None
        try:
            async with asyncio.timeout(None) as limit:
                if caught == "within":
                    with contextlib.suppress(ExceptionGroup):
                        await serve()
                    await forever()
                await serve()
        except (TimeoutError, ExceptionGroup) as came:
            error = came
        assert isinstance(error, TimeoutError if caught == "within" else ExceptionGroup)
        assert is_clear()
        await asyncio.sleep(0.01)  # nothing comes later

    async def test_who_is_cancelled_already_can_clean_up_in_a_scope_that_fails(
        self, hb: Any
    ) -> None:
        """An older cancellation, which has come, does not come again."""
        steps: list[str] = []

        async def work() -> None:
            try:
                await forever()
            except asyncio.CancelledError:
                try:
                    async with hb.ctx.scope("clean up"):
                        hb.ctx.spawn(after, 0, Inner())
                        await forever()
                except* Inner:
                    steps.append("failed")
                await turns(10)
                steps.append("went on")
                raise

        task = asyncio.get_running_loop().create_task(work())
        await turns()
        task.cancel()
        assert isinstance(await raised_by(asyncio.wait_for(task, 5)), asyncio.CancelledError)
        assert steps == ["failed", "went on"]

    async def test_the_cancellation_comes_with_its_message(self, hb: Any) -> None:
        async def work() -> None:
            with contextlib.suppress(OSError):
                async with hb.ctx.scope("shop", disposables=[failing(OSError())]):
                    await forever()
            await forever()

        task = asyncio.get_running_loop().create_task(work())
        await turns()
        task.cancel("enough")
        error = await raised_by(asyncio.wait_for(task, 5))
        assert isinstance(error, asyncio.CancelledError)
        assert error.args in (("enough",), ())  # wait_for may make its own

    async def test_a_body_that_takes_a_cancellation_for_a_failure_of_its_own_is_free(
        self, hb: Any
    ) -> None:
        """What it raised instead comes out, and nothing is added to it."""
        steps = []

        async def work() -> None:
            try:
                async with hb.ctx.scope("shop"):
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        raise Inner from None
            except Inner:
                await turns(10)
                steps.append("went on")

        task = asyncio.get_running_loop().create_task(work())
        await turns()
        task.cancel()
        await asyncio.wait_for(task, 5)
        assert steps == ["went on"]


class TestWhatIsLost:
    """Guarantee 5.5."""

    def told(self, caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
        assert {one.levelno for one in caplog.records} <= {logging.WARNING}
        return sorted((one.name, one.getMessage()) for one in caplog.records)

    @pytest.mark.parametrize("how", ["cancelled", "timed out", "body", "task", "disposable"])
    @pytest.mark.parametrize("keeps", [True, False])
    async def test_a_scope_that_is_broken_off_tells_what_nobody_got(
        self, hb: Any, caplog: pytest.LogCaptureFixture, how: str, keeps: bool
    ) -> None:
        """Once a type, with the number: of handlers, of readers that it spawned, of subscriptions of the body."""
        done: list[int] = []
        kept: list[Any] = []

        async def handle(event: Ping) -> None:
            done.append(event.number)
            if event.number == 2:
                await forever()

        async def read(subscription: Any) -> None:
            async for event in subscription:
                if event.number == 4:
                    await forever()

        def enter(_: Any) -> None:
            raise Inner

        async def serve() -> None:
            disposables = [Thing(enter)] if how == "disposable" else []
            async with hb.ctx.scope("daemon", disposables=disposables):
                jobs = hb.ctx.on(Ping, handle)
                hb.ctx.spawn(read(hb.ctx.subscribe(Ping)))
                limited = hb.ctx.subscribe(Pong, limit=3)
                if keeps:
                    kept.append(jobs)
                del jobs
                for number in range(10):
                    hb.ctx.send(Ping(number))
                hb.ctx.send(Pong())
                await turns(10)
                if how == "body":
                    raise Inner
                if how == "task":
                    hb.ctx.spawn(after, 0, Inner())
                if how == "disposable":
                    asyncio.get_running_loop().call_soon(serving.cancel)
                await forever()
            del limited

        serving = asyncio.get_running_loop().create_task(serve())
        if how == "timed out":
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(contextlib.suppress(TimeoutError))
                await stack.enter_async_context(asyncio.timeout(0.05))
                await serving
        await turns(30)
        if how == "cancelled":
            serving.cancel()
        await asyncio.wait([serving], timeout=5)
        assert serving.done()
        assert done == [0, 1, 2]
        # 10 - 3 of the handler, and 10 - 5 of the reader: what they had in hand was given to them.
        assert self.told(caplog) == [
            ("daemon", "events of Ping left unread at the end of the scope: 12"),
            ("daemon", "events of Pong left unread at the end of the scope: 1"),
        ]
        let_go()

    async def test_what_is_read_on_the_way_out_is_not_lost(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def read(subscription: Any) -> None:
            try:
                async for _ in subscription:
                    await forever()
            finally:
                for _ in range(3):
                    await anext(subscription)

        with pytest.raises(Inner):
            async with hb.ctx.scope("daemon"):
                hb.ctx.spawn(read, hb.ctx.subscribe(Ping))
                for number in range(6):
                    hb.ctx.send(Ping(number))
                await turns()
                raise Inner
        assert self.told(caplog) == [
            ("daemon", "events of Ping left unread at the end of the scope: 2")
        ]

    async def test_what_a_limit_has_cost_is_told_apart(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Inner):
            async with hb.ctx.scope("daemon"):
                hb.ctx.on(Ping, lambda _: None, limit=3, name="pings")
                for number in range(10):
                    hb.ctx.send(Ping(number))
                raise Inner
        dropped = "events of Ping dropped: 7, in 1 of 1 subscriptions"
        assert self.told(caplog) == [
            (
                "daemon",
                f"{dropped}; the most, 7, in 'pings' with limit=3, overflow='drop_oldest'",
            ),
            ("daemon", "events of Ping left unread at the end of the scope: 3"),
        ]

    @pytest.mark.parametrize("keeps", [True, False])
    async def test_a_nested_scope_tells_of_its_own_handlers(
        self, hb: Any, caplog: pytest.LogCaptureFixture, keeps: bool
    ) -> None:
        """And of nobody else's on the bus, which goes on. What is closed by hand is no loss."""
        got: list[int] = []
        kept = []
        async with hb.ctx.scope("service"):
            hb.ctx.on(Ping, lambda event: got.append(event.number))
            with pytest.raises(Inner):
                async with hb.ctx.scope("request"):
                    for _ in range(2):
                        jobs = hb.ctx.on(Ping, lambda _: None, workers=3)
                        if keeps:
                            kept.append(jobs)
                        del jobs
                    closed = hb.ctx.on(Ping, lambda _: None)
                    for number in range(5):
                        hb.ctx.send(Ping(number))
                    closed.close()
                    raise Inner
            assert self.told(caplog) == [
                ("request", "events of Ping left unread at the end of the scope: 10")
            ]
            assert all(jobs.closed for jobs in kept)
        assert got == [0, 1, 2, 3, 4]
        assert len(caplog.records) == 1

    async def test_a_nested_scope_of_one_that_is_broken_off_tells_nothing_twice(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def request() -> None:
            async with hb.ctx.scope("request"):
                hb.ctx.on(Ping, lambda _: asyncio.sleep(60))
                for number in range(5):
                    hb.ctx.send(Ping(number))
                await forever()

        with pytest.raises(Inner):
            async with hb.ctx.scope("service"):
                hb.ctx.spawn(request)
                await turns(10)
                raise Inner
        assert [one.getMessage() for one in caplog.records] == [
            "events of Ping left unread at the end of the scope: 4"
        ]

    async def test_a_scope_that_ends_well_tells_what_it_told_before(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with hb.ctx.scope("daemon"):
            hb.ctx.on(Ping, lambda _: None)
            left = hb.ctx.subscribe(Pong)
            for number in range(3):
                hb.ctx.send(Ping(number))
                hb.ctx.send(Pong(number))
        assert self.told(caplog) == [
            ("daemon", "events of Pong left unread at the end of the scope: 3")
        ]
        assert left.pending == 3

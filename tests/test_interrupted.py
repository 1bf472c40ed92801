"""Guarantees 2.7 and 2.16: what interrupts the loop, or runs it again, costs nobody else a wake-up."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.shared import let_go


class Event:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Other(Event):
    pass


class Stage:
    """A loop that is run piece by piece, with readers that go on between the pieces."""

    def __init__(self, hb: Any) -> None:
        self.hb = hb
        self.loop = asyncio.new_event_loop()
        self.told: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.told.append(context))
        self.got: list[tuple[str, int]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.scope = hb.ctx.scope("stage")
        self.run(self.scope.__aenter__())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def turns(self) -> None:
        self.run(asyncio.sleep(0.01))

    async def read(self, subscription: Any, name: str) -> None:
        async for event in subscription:
            self.got.append((name, event.number))

    def subscribe(self, kind: type[Event], workers: int = 1) -> Any:
        async def subscribe() -> Any:
            subscription = self.scope.bus.subscribe(kind)
            for number in range(workers):
                name = f"{kind.__name__} {number}"
                self.tasks.append(asyncio.ensure_future(self.read(subscription, name)))
            await asyncio.sleep(0)
            return subscription

        return self.run(subscribe())

    def send(self, event: Event) -> None:
        self.scope.bus.send(event)

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            self.run(asyncio.wait(self.tasks))
        self.run(self.scope.__aexit__(None, None, None))
        self.loop.close()


@pytest.fixture
def stage(hb: Any) -> Any:
    made = Stage(hb)
    yield made
    made.end()


def raising_at(code: CodeType, kind: type[BaseException]) -> Callable[..., Any]:
    """A tracer that raises once, as a signal's handler does, at the entry of a function."""
    armed = True

    def tracer(frame: FrameType, event: str, _: Any) -> None:
        nonlocal armed
        if armed and event == "call" and frame.f_code is code:
            armed = False
            raise kind

    return tracer


def traced(stage: Stage, tracer: Callable[..., Any], work: Callable[[], object]) -> Any:
    """Do the work under the tracer; what was raised by it."""
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        work()
    except BaseException as error:
        return error
    finally:
        sys.settrace(before)
    return None


INTERRUPTS = [KeyboardInterrupt, SystemExit]


class TestInterrupts:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    @pytest.mark.parametrize("kind", INTERRUPTS)
    def test_a_worker_interrupted_as_it_is_resumed_leaves_its_event_to_the_others(
        self, stage: Any, kind: type[BaseException], workers: int
    ) -> None:
        """Guarantee 2.7: before it could take the event that it was woken for."""
        subscription = stage.subscribe(Event, workers)
        other = stage.subscribe(Event)

        def work() -> None:
            stage.send(Event(1))
            stage.turns()

        error = traced(stage, raising_at(Stage.read.__code__, kind), work)
        assert type(error) is kind
        with suppress(kind):
            stage.tasks[0].exception()
        del error
        stage.send(Event(2))
        stage.turns()
        assert subscription.pending == (2 if workers == 1 else 0)
        assert other.pending == 0
        assert len(stage.got) == (2 if workers == 1 else 4)


class TestLostCallbacks:
    """Guarantee 2.16: a wake-up that the loop loses, to an exception outside our code."""

    @pytest.mark.parametrize("kept", [False, True], ids=["let go", "exception kept"])
    @pytest.mark.parametrize("kind", [*INTERRUPTS, ValueError])
    def test_the_bus_lives_on(self, stage: Any, kind: type[BaseException], kept: bool) -> None:
        subscription = stage.subscribe(Event)
        other = stage.subscribe(Other)
        entry = asyncio.events.Handle._run.__code__

        def work() -> None:
            stage.send(Event(1))  # outside the loop: the next callback is the bus's
            stage.turns()

        error = traced(stage, raising_at(entry, kind), work)
        assert type(error) is kind or not issubclass(kind, tuple(INTERRUPTS))
        if not kept:
            del error
            stage.told.clear()
            gc.collect()
        stage.send(Other(1))
        stage.turns()
        assert other.pending == 0
        stage.send(Event(2))
        stage.turns()
        # The one that was lost comes with the next, whatever that is for.
        assert subscription.pending == 0
        assert stage.got.count(("Event 0", 2)) == 1

    def test_it_comes_by_itself_once_the_exception_is_gone(self, stage: Any) -> None:
        subscription = stage.subscribe(Event)

        def work() -> None:
            stage.send(Event(1))
            stage.turns()

        traced(stage, raising_at(asyncio.events.Handle._run.__code__, KeyboardInterrupt), work)
        gc.collect()
        stage.turns()
        assert subscription.pending == 0

    def test_what_a_thread_sent_is_delivered_all_the_same(self, stage: Any) -> None:
        """Guarantee 2.16, 6.2."""
        subscription = stage.subscribe(Event)
        for number in (1, 2):
            sender = threading.Thread(target=stage.send, args=(Event(number),))
            sender.start()
            sender.join()
        error = traced(
            stage, raising_at(asyncio.events.Handle._run.__code__, KeyboardInterrupt), stage.turns
        )
        assert type(error) is KeyboardInterrupt
        del error
        gc.collect()
        stage.turns()
        assert subscription.pending == 0
        assert stage.got == [("Event 0", 1), ("Event 0", 2)]

    def test_readers_can_be_cancelled_while_the_exception_is_at_large(self, stage: Any) -> None:
        """As asyncio.run() does on its way out."""
        stage.subscribe(Event)
        stage.subscribe(Other)

        def work() -> None:
            stage.send(Event(1))
            stage.turns()

        try:
            raise traced(
                stage, raising_at(asyncio.events.Handle._run.__code__, KeyboardInterrupt), work
            )
        except KeyboardInterrupt:
            for task in stage.tasks:
                task.cancel()
            stage.run(asyncio.wait(stage.tasks, timeout=5))
            assert all(task.done() for task in stage.tasks)

    def test_a_loop_that_drops_a_callback_uncalled_is_asked_again(self, stage: Any) -> None:
        subscription = stage.subscribe(Event)
        call_soon = stage.loop.call_soon
        dropped: list[str] = []

        def drop(callback: Any, *args: Any, context: Any = None) -> Any:
            stage.loop.call_soon = call_soon
            dropped.append("one")
            return asyncio.Handle(callback, args, stage.loop, context)

        stage.loop.call_soon = drop
        stage.send(Event(1))
        assert dropped
        let_go()
        stage.turns()
        assert subscription.pending == 0


class TestOtherTasks:
    @pytest.mark.parametrize("kind", ["Python's", "a subclass"])
    def test_tasks_of_other_classes_read_and_end_with_their_scope(self, hb: Any, kind: str) -> None:
        """Guarantee 2.16: a task is told by what it can do."""

        class Task(asyncio.tasks._PyTask):  # type: ignore[name-defined, misc]
            pass

        made = {
            "Python's": asyncio.tasks._PyTask,  # type: ignore[attr-defined]
            "a subclass": Task,
        }[kind]
        got: list[int] = []

        async def read() -> None:
            async for event in hb.ctx.subscribe(Event):
                got.append(event.number)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(lambda loop, coro, **given: made(coro, loop=loop, **given))
            async with hb.ctx.scope("test"):
                hb.ctx.on(Event, lambda event: got.append(-event.number), workers=2)
                hb.ctx.spawn(read)
                waiting = asyncio.ensure_future(hb.ctx.subscribe(Event).first())
                await asyncio.sleep(0)
                for number in range(1, 4):
                    hb.ctx.send(Event(number))
                assert (await waiting).number == 1

                async def through_gather() -> None:
                    await asyncio.gather(read(), read())

                hb.ctx.spawn(through_gather)

        asyncio.run(asyncio.wait_for(main(), 10))
        assert sorted(got) == [-3, -2, -1, 1, 2, 3]


ITSELF = """
import asyncio, nest_asyncio
nest_asyncio.apply()
asyncio.new_event_loop().run_until_complete(asyncio.wait_for(asyncio.sleep(0), 1))
"""


@pytest.fixture(scope="module")
def nest_asyncio() -> None:
    """Skips where it is missing, or does not work with asyncio's own time-outs, as with Python 3.14."""
    pytest.importorskip("nest_asyncio")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ITSELF], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"nest_asyncio does not run here: {done.stderr.splitlines()[-1]}")


@pytest.mark.usefixtures("nest_asyncio")
class TestNestedLoops:
    @pytest.mark.parametrize("when", ["before", "after", "inside"])
    @pytest.mark.parametrize("where", ["reader", "handler", "observer", "plain"])
    def test_the_bus_works_while_a_callback_runs_the_loop_and_after_that(
        self, hb: Any, where: str, when: str
    ) -> None:
        """Guarantee 2.16."""
        assert_runs_well(hb, "nested.py", where, when)

    @pytest.mark.parametrize("scene", ["reader", "chain", "handlers", "together"])
    def test_many_tasks_run_the_loop_again_at_a_time(self, hb: Any, scene: str) -> None:
        """Guarantee 2.16: what one of them does is not left to a callback that waits below it for the loop."""
        assert_runs_well(hb, "nested_often.py", scene)


def assert_runs_well(hb: Any, program: str, *args: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name(program)), *args],
        env={**os.environ, "HAIWAY_BUS_PURE": "1" if hb.backend == "pure" else ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr

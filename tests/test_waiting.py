"""Guarantee 5.11: a scope that waits for its tasks says for whom, where each stands and what it waits for."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import linecache
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from tests.shared import factory, turns, until

pytestmark = pytest.mark.anyio

SOON = 0.01


class Order:
    pass


class Paid:
    pass


class Told:
    """A recorder of the warnings."""

    def __init__(self, package: Any) -> None:
        self.lines: list[str] = []
        self.more = asyncio.Event()
        base = package.LoggingObservability

        class Recorder(base):  # type: ignore[misc,valid-type]
            __slots__ = ()

            def log(recorder, scope: Any, level: Any, message: Any, args: Any, error: Any) -> None:  # noqa: N805
                if "has waited" in message:
                    self.lines.append(f"{scope.name} {level}: {message % args}")
                    self.more.set()

        self.recorder = Recorder()


async def put(queue: asyncio.Queue[int]) -> None:
    queue.put_nowait(1)
    await queue.put(2)


async def join(queue: asyncio.Queue[int]) -> None:
    queue.put_nowait(1)
    await queue.join()


async def lock(kind: Any) -> None:
    held = kind()
    await held.acquire()
    async with held:
        pass


async def acquire() -> None:
    held = asyncio.Lock()
    await held.acquire()
    await held.acquire()


async def condition(wait: str, *args: Any) -> None:
    made = asyncio.Condition()
    async with made:
        await getattr(made, wait)(*args)


async def barrier() -> None:
    async with asyncio.Barrier(2):
        pass


async def plain(made: Callable[[], Any]) -> None:
    await made()


async def group() -> None:
    async with asyncio.TaskGroup() as opened:
        opened.create_task(asyncio.sleep(60), name="one")
        opened.create_task(asyncio.Event().wait(), name="two")


async def anyio_group() -> None:
    async with anyio.create_task_group() as opened:
        opened.start_soon(anyio.sleep, 60)


async def completed() -> None:
    for one in asyncio.as_completed([asyncio.sleep(60), asyncio.sleep(61)]):
        await one


async def generator() -> AsyncIterator[int]:
    await asyncio.sleep(60)
    yield 1


async def over_generator() -> None:
    async for _ in generator():
        pass


async def named_task() -> None:
    await asyncio.create_task(asyncio.sleep(60), name="fetch")


async def several(helper: Any) -> None:
    await helper([asyncio.ensure_future(asyncio.Event().wait())])


async def timeout() -> None:
    async with asyncio.timeout(60):
        await asyncio.Event().wait()


async def thread() -> None:
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)


async def stream() -> None:
    left, right = socket.socketpair()
    with right:
        reader, writer = await asyncio.open_connection(sock=left)
        try:
            await reader.readline()
        finally:
            writer.transport.abort()


async def process() -> None:
    made = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    try:
        await made.wait()
    finally:
        made.kill()
        await made.wait()
        assert made.stdin is not None
        made.stdin.close()


class Awaits:
    def __await__(self) -> Any:
        yield from asyncio.sleep(60).__await__()


WAITS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "sleep": (lambda: plain(lambda: asyncio.sleep(60)), "plain", "asyncio.sleep"),
    "a queue, get": (lambda: plain(asyncio.Queue().get), "plain", "asyncio.Queue.get"),
    "a queue, put": (lambda: put(asyncio.Queue(1)), "put", "asyncio.Queue.put"),
    "a queue, join": (lambda: join(asyncio.Queue()), "join", "asyncio.Queue.join"),
    "a lock": (lambda: lock(asyncio.Lock), "lock", "asyncio.Lock"),
    "a lock by hand": (acquire, "acquire", "asyncio.Lock"),
    "a semaphore": (lambda: lock(asyncio.Semaphore), "lock", "asyncio.Semaphore"),
    "anyio's semaphore": (lambda: lock(lambda: anyio.Semaphore(1)), "lock", "anyio.Semaphore"),
    "an event": (lambda: plain(asyncio.Event().wait), "plain", "asyncio.Event.wait"),
    "a condition": (lambda: condition("wait"), "condition", "asyncio.Condition.wait"),
    "a condition for something": (
        lambda: condition("wait_for", lambda: False),
        "condition",
        "asyncio.Condition.wait_for",
    ),
    "a barrier": (barrier, "barrier", "asyncio.Barrier"),
    "gather": (
        lambda: plain(lambda: asyncio.gather(asyncio.sleep(60), asyncio.Event().wait())),
        "plain",
        "asyncio.gather of 2: ",
    ),
    "shield": (
        lambda: plain(lambda: asyncio.shield(asyncio.sleep(60))),
        "plain",
        "asyncio.shield: ",
    ),
    "wait": (lambda: several(asyncio.wait), "several", "asyncio.wait of 1: "),
    "as_completed": (completed, "completed", "asyncio.as_completed of 2: "),
    "a timeout": (timeout, "timeout", "asyncio.Event.wait"),
    "a TaskGroup": (group, "group", "asyncio.TaskGroup of 2: '"),
    "anyio's group": (anyio_group, "anyio_group", "anyio.TaskGroup of 1: "),
    "a task": (
        named_task,
        "named_task",
        "the task 'fetch', which waits for asyncio.sleep",
    ),
    "a future": (lambda: plain(asyncio.get_running_loop().create_future), "plain", "a future"),
    "an executor": (thread, "thread", "an executor, or another thread"),
    "to_thread": (
        lambda: plain(lambda: asyncio.to_thread(time.sleep, 0.05)),
        "plain",
        "asyncio.to_thread",
    ),
    "an async generator": (over_generator, "generator", "asyncio.sleep"),
    "an object with __await__": (lambda: plain(Awaits), "Awaits.__await__", "asyncio.sleep"),
    "anyio's sleep": (lambda: plain(lambda: anyio.sleep(60)), "plain", "anyio.sleep"),
    "a stream": (stream, "stream", "asyncio.StreamReader.readline"),
    "a subprocess": (process, "process", "asyncio.subprocess.Process.wait"),
}


@pytest.mark.parametrize("kind", sorted(WAITS))
async def test_each_kind_of_wait_has_its_words(hb: Any, tasks: str, kind: str) -> None:
    """Also the test that fails when a new Python renames what the words are read from."""
    make, function, words = WAITS[kind]
    with factory(tasks):
        async with hb.ctx.scope("shop"):
            task = hb.ctx.spawn(make())
            task.set_name("job")
            with anyio.fail_after(5):
                await turns()
                while hb.ctx.waiting()[0].waits_for.split(":")[0] != words.split(":")[0]:
                    if kind not in ("a stream", "a subprocess"):
                        break
                    await asyncio.sleep(SOON)
            (found,) = hb.ctx.waiting()
            task.cancel()
    assert type(found) is hb.WaitingTask
    assert (found.task, found.scope, found.seconds) == ("job", "shop", None)
    assert (found.file, found.function) == (__file__, function)
    assert found.waits_for.startswith(words)
    if words and not words.endswith((": ", ": '")):
        assert found.waits_for == words
    assert str(found) == (
        f"the task 'job' at {__file__}:{found.line} in {function} waits for {found.waits_for}"
    )
    assert found.line is not None
    line = linecache.getline(__file__, found.line)
    assert any(word in line for word in ("await", "async with", "async for", "yield from"))


async def test_what_the_bus_lets_wait_has_its_words(hb: Any, tasks: str) -> None:
    """Reads, first(), batches, a handler between two events and in the middle of one, the end of a nested scope."""

    async def read(subscription: Any) -> None:
        async for _ in subscription:
            pass

    async def batches(subscription: Any) -> None:
        async for _ in subscription.batches():
            pass

    async def first(subscription: Any) -> None:
        await subscription.first()

    go = asyncio.Event()

    async def handle(_: Any) -> None:
        await go.wait()

    async def request() -> None:
        async with hb.ctx.scope("request"):
            hb.ctx.spawn(asyncio.sleep, 60).set_name("audit")

    with factory(tasks):
        async with hb.ctx.scope("shop"):
            made = {
                "read": hb.ctx.spawn(read, hb.ctx.subscribe(Order)),
                "batches": hb.ctx.spawn(batches, hb.ctx.subscribe(Order)),
                "first": hb.ctx.spawn(first, hb.ctx.subscribe(Order)),
                "anext": hb.ctx.spawn(anext(hb.ctx.subscribe(Order))),
                "request": hb.ctx.spawn(request),
            }
            for name, task in made.items():
                task.set_name(name)
            hb.ctx.on(Order, handle)
            hb.ctx.on(Paid, handle)
            await turns()
            hb.ctx.send(Paid())
            await turns()
            found = {one.task: one for one in hb.ctx.waiting()}
            go.set()
            made["request"].cancel()
            made["anext"].cancel()
    here = "test_what_the_bus_lets_wait_has_its_words.<locals>."
    handler = f"{here}handle of "
    assert {name: one.waits_for for name, one in found.items()} == {
        "read": "events of Order",
        "batches": "events of Order",
        "first": "first() of Order",
        "anext": "events of Order",
        "request": "the end of the scope 'request'",
        "audit": "asyncio.sleep",
        f"{handler}Order": "events of Order",
        f"{handler}Paid": "asyncio.Event.wait",
    }
    assert found["audit"].scope == "request"
    assert found["audit"].seconds is not None
    assert found["anext"].file is found["audit"].file is None
    assert {one.function for one in found.values() if one.file == __file__} == {
        f"{here}{name}" for name in ("read", "batches", "first", "request", "handle")
    }
    assert str(found["audit"]) == "the task 'audit' waits for asyncio.sleep"


async def test_who_holds_a_lock_is_told_where_that_can_be_known(hb: Any) -> None:
    """anyio's locks know it, asyncio's do not."""
    held = anyio.Lock()

    async def want() -> None:
        async with held:
            await asyncio.sleep(60)

    async with hb.ctx.scope("shop"):
        first, second = hb.ctx.spawn(want), hb.ctx.spawn(want)
        first.set_name("holder")
        await turns()
        found = hb.ctx.waiting()
        first.cancel()
        second.cancel()
    assert [one.waits_for for one in found] == ["asyncio.sleep", "anyio.Lock, held by 'holder'"]


class TestFlush:
    async def test_it_is_said_that_nobody_reads(self, hb: Any) -> None:
        """The case unread_flush.py: the reader has stopped, and the body of a scope that ends holds what it read."""
        told = Told(hb)

        async def produce() -> None:
            for _ in range(3):
                hb.ctx.send(Order())
                await hb.ctx.flush(Order)

        async def take_one(subscription: Any) -> None:
            async for _ in subscription:
                break

        async def service() -> None:
            async with hb.ctx.scope("shop", observability=told.recorder, warn_after=SOON):
                subscription = hb.ctx.subscribe(Order)
                hb.ctx.spawn(take_one, subscription)
                hb.ctx.spawn(produce).set_name("producer")

        task = asyncio.ensure_future(service())
        await told.more.wait()
        task.cancel()
        await asyncio.wait([task])
        assert "the task 'producer' at " in told.lines[0]
        assert told.lines[0].endswith(
            "waits for flush of Order: one subscription is read by nobody"
        )

    async def test_it_is_said_in_whose_hands_what_is_behind_is(self, hb: Any) -> None:
        go = asyncio.Event()

        async def slow(subscription: Any) -> None:
            async for _ in subscription:
                await go.wait()

        async with hb.ctx.scope("shop"):
            hb.ctx.spawn(slow, hb.ctx.subscribe(Order)).set_name("slow one")
            await turns()
            for _ in range(3):
                hb.ctx.send(Order())
            flush = hb.ctx.spawn(hb.ctx.flush, Order)
            flush.set_name("flush")
            await turns()
            found = {one.task: one.waits_for for one in hb.ctx.waiting()}
            go.set()
        assert found == {
            "slow one": "asyncio.Event.wait",
            "flush": "flush of Order: one subscription has 2 events waiting, in the hands of 'slow one'",
        }

    async def test_of_several_it_tells_of_one(self, hb: Any) -> None:
        async with hb.ctx.scope("shop"):
            kept = [hb.ctx.subscribe(Order) for _ in range(3)]
            hb.ctx.send(Order())
            hb.ctx.spawn(hb.ctx.flush, Order)
            await turns()
            (found,) = hb.ctx.waiting()
            for one in kept:
                one.close()
        assert found.waits_for.startswith(
            "flush of Order: 3 subscriptions, of which one is read by nobody"
        )


class TestWarning:
    async def test_it_comes_at_doubling_distances_and_names_who_is_waited_for(
        self, hb: Any
    ) -> None:
        """The cases queue_hang.py and waits_in_silence.py. Readers of events end with the scope: they are counted."""
        told = Told(hb)
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def second() -> None:
            while True:
                await queue.get()

        async def service() -> None:
            async with hb.ctx.scope("shop", observability=told.recorder, warn_after=SOON):
                hb.ctx.on(Order, print)
                hb.ctx.spawn(second).set_name("second")

        task = asyncio.ensure_future(service())
        while len(told.lines) < 3:
            told.more.clear()
            await told.more.wait()
        task.cancel()
        await asyncio.wait([task])
        rest = f"the task 'second' at {__file__}:{second.__code__.co_firstlineno + 2} in {second.__qualname__} waits"
        for line, seconds in zip(told.lines, ("0.01", "0.02", "0.04"), strict=False):
            assert line == (
                f"shop 30: the end of the scope has waited {seconds} s for 2 tasks: {rest} for asyncio.Queue.get;"
                " beside 1 reader of events"
            )

    async def test_many_tasks_are_ten_and_a_number(self, hb: Any) -> None:
        told = Told(hb)

        async def service() -> None:
            async with hb.ctx.scope("shop", observability=told.recorder, warn_after=SOON):
                for number in range(25):
                    hb.ctx.spawn(asyncio.sleep, 60).set_name(f"job {number}\n\x1b[2J")

        task = asyncio.ensure_future(service())
        await told.more.wait()
        task.cancel()
        await asyncio.wait([task])
        names = [rf"job {number}\n\x1b[2J" for number in range(10)]
        assert told.lines[0].startswith(
            "shop 30: the end of the scope has waited 0.01 s for 25 tasks: "
        )
        assert told.lines[0].isprintable()
        assert told.lines[0].count("the task ") == len(names)
        assert told.lines[0].endswith("; and 15 more")

    async def test_also_while_tasks_that_are_cancelled_do_not_end(self, hb: Any) -> None:
        """And the next scope hears nothing of it."""
        told = Told(hb)
        go = asyncio.Event()

        async def stubborn() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await go.wait()

        async def service() -> None:
            async with hb.ctx.scope("shop", observability=told.recorder, warn_after=SOON):
                hb.ctx.spawn(stubborn).set_name("stubborn")
                await asyncio.sleep(0)
                raise LookupError

        task = asyncio.ensure_future(service())
        await told.more.wait()
        go.set()
        with pytest.raises(LookupError):
            await task
        assert "the task 'stubborn' at " in told.lines[0]
        assert "waits for asyncio.Event.wait" in told.lines[0]

    async def test_a_recorder_that_fails_is_asked_again(self, hb: Any) -> None:
        told = Told(hb)
        failed: list[Any] = []

        class Failing(type(told.recorder)):  # type: ignore[misc]
            __slots__ = ()

            def log(self, *args: Any) -> None:
                super().log(*args)
                raise LookupError

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))

        async def service() -> None:
            async with hb.ctx.scope("shop", observability=Failing(), warn_after=SOON):
                hb.ctx.spawn(asyncio.sleep, 60)

        task = asyncio.ensure_future(service())
        while len(told.lines) < 2:
            told.more.clear()
            await told.more.wait()
        loop.set_exception_handler(None)
        task.cancel()
        await asyncio.wait([task])
        assert {type(one) for one in failed} == {LookupError}

    async def test_ends_at_the_same_time_share_a_timer_and_each_warns(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 5.12: a thousand requests do not set a thousand timers."""
        loop = asyncio.get_running_loop()

        def warned() -> list[str]:
            return [one.name for one in caplog.records if "has waited" in one.getMessage()]

        async def request(name: str, *work: Any) -> None:
            async with hb.ctx.scope(name, warn_after=0.1):
                hb.ctx.spawn(*work)

        root = hb.ctx.scope("root", warn_after=None)
        async with root:
            async with asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(request(f"short {number}", asyncio.sleep, 0.001))
                    group.create_task(request(f"long {number}", until, lambda: len(warned()) >= 5))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                (timer,) = root._inside.tasks.bus_scopes.warn_timers.values()
                assert timer.loop is loop
                assert len(timer.due) == 10
            assert (timer.timer, len(timer.due)) == (None, 0)
        assert sorted(warned()) == [f"long {number}" for number in range(5)]

    @pytest.mark.parametrize("quiet", ["off", "in time", "no task", "the outer one's time"])
    async def test_else_nothing_is_said_and_no_timer_is_left(self, hb: Any, quiet: str) -> None:
        told = Told(hb)
        timers: list[Any] = []
        loop = asyncio.get_running_loop()
        waiting = importlib.import_module("haiway_bus._scope.waiting")
        before = waiting.WaitReport.__init__

        def counting(report: Any, *args: Any) -> None:
            before(report, *args)
            timers.append(report)

        waiting.WaitReport.__init__ = counting
        try:
            seconds = None if quiet in ("off", "the outer one's time") else 60.0
            async with hb.ctx.scope("outer", observability=told.recorder, warn_after=SOON):
                options = {} if quiet == "the outer one's time" else {"warn_after": seconds}
                async with hb.ctx.scope("shop", **options):
                    if quiet != "no task":
                        hb.ctx.spawn(asyncio.sleep, 3 * SOON)
        finally:
            waiting.WaitReport.__init__ = before
        assert told.lines == []
        assert len(timers) == (quiet != "no task")
        assert all(one.timer is None and one.members.since is None for one in timers)
        assert loop.is_running()

    @pytest.mark.parametrize("wrong", ["10", True, b"1", [1], object()])
    async def test_what_is_no_number_is_refused(self, hb: Any, wrong: Any) -> None:
        with pytest.raises(TypeError, match=r"warn_after= takes a number of seconds, or None"):
            hb.ctx.scope("shop", warn_after=wrong)

    @pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan"), 10**400])
    async def test_what_is_no_time_is_refused(self, hb: Any, wrong: Any) -> None:
        with pytest.raises(
            ValueError, match=r"warn_after= takes seconds above 0, .*: None turns it off"
        ):
            hb.ctx.scope("shop", warn_after=wrong)


class TestTimeOuts:
    async def test_a_time_out_around_the_scope_shows_for_whom_it_waited(self, hb: Any) -> None:
        async def service() -> None:
            async with hb.ctx.scope("shop"):
                hb.ctx.spawn(asyncio.sleep, 60).set_name("job")

        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(service(), SOON)
        cause = caught.value.__cause__
        assert isinstance(cause, asyncio.CancelledError)
        assert cause.__notes__ == [
            "the end of the scope 'shop' waited for the task 'job' waits for asyncio.sleep"
        ]


class TestAsking:
    async def test_outside_a_scope_it_is_refused(self, hb: Any) -> None:
        """Guarantee 5.2."""
        with pytest.raises(hb.ContextMissing, match=r"waiting\(\)"):
            hb.ctx.waiting()

    async def test_those_of_the_scope_come_first_then_those_on_its_bus(self, hb: Any) -> None:
        async with hb.ctx.scope("shop"):
            made = [hb.ctx.spawn(asyncio.sleep, 60)]
            async with hb.ctx.scope("request"):
                made.append(hb.ctx.spawn(asyncio.sleep, 60))
                assert [one.scope for one in hb.ctx.waiting()] == ["request", "shop"]
                async with hb.ctx.scope("apart", isolated=True):
                    assert hb.ctx.waiting() == ()
                for task in made:
                    task.cancel()

    async def test_a_task_that_runs_or_is_about_to(self, hb: Any) -> None:
        async def ask() -> Any:
            return hb.ctx.waiting()

        async with hb.ctx.scope("shop"):
            asking = hb.ctx.spawn(ask)
            hb.ctx.spawn(asyncio.sleep, 0)
            (found, other) = await asking
        assert (found.file, found.function) == (__file__, ask.__qualname__)
        assert found.line == ask.__code__.co_firstlineno + 1
        assert found.waits_for == "nothing: it runs"
        assert other.waits_for == "nothing: it is about to run"

    async def test_another_thread_may_ask(self, hb: Any) -> None:
        async with hb.ctx.scope("shop"):
            task = hb.ctx.spawn(asyncio.Event().wait)
            await turns()
            found = await asyncio.to_thread(hb.ctx.waiting)
            assert [one.waits_for for one in found] == ["asyncio.Event.wait"]
            task.cancel()

    async def test_a_debugger_may_ask_when_the_loop_stands(self, hb: Any) -> None:
        """As in a callback, and by a thread while the loop is blocked."""
        found: list[Any] = []
        async with hb.ctx.scope("shop") as _:
            task = hb.ctx.spawn(asyncio.Event().wait)
            await turns()
            asyncio.get_running_loop().call_soon(lambda: found.append(hb.ctx.waiting()))
            await turns()
            context = contextvars.copy_context()
            thread = threading.Thread(target=lambda: found.append(context.run(hb.ctx.waiting)))
            thread.start()
            thread.join()
            task.cancel()
        assert [[one.waits_for for one in each] for each in found] == [["asyncio.Event.wait"]] * 2

    async def test_nothing_of_the_tasks_values_is_shown(self, hb: Any) -> None:
        secret = "hunter2"

        async def login(password: str) -> None:
            await asyncio.sleep(60)

        async with hb.ctx.scope("shop"):
            task = hb.ctx.spawn(login, secret)
            await turns()
            assert secret not in repr(hb.ctx.waiting())
            task.cancel()

    async def test_what_cannot_be_told_is_said(self, hb: Any, monkeypatch: Any) -> None:
        waiting = importlib.import_module("haiway_bus._scope.waiting")

        def broken(_: Any) -> Any:
            raise LookupError

        async with hb.ctx.scope("shop"):
            task = hb.ctx.spawn(asyncio.sleep, 60)
            monkeypatch.setattr(waiting, "describe", broken)
            (found,) = hb.ctx.waiting()
            task.cancel()
        assert found.waits_for == "what cannot be told (LookupError)"


async def test_a_task_stands_in_the_users_code_and_not_in_a_library(
    hb: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    """The name of the library's function says what it waits for. A task that began there stands there."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "a_driver.py").write_text(
        "import asyncio\n\nclass Connection:\n    async def fetch(self):\n        await asyncio.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    driver = importlib.import_module("a_driver")

    async def query() -> None:
        await driver.Connection().fetch()

    async with hb.ctx.scope("shop"):
        tasks = [hb.ctx.spawn(query), hb.ctx.spawn(driver.Connection().fetch)]
        await turns()
        found = hb.ctx.waiting()
        for task in tasks:
            task.cancel()
    sys.modules.pop("a_driver")
    assert [(one.function, one.waits_for) for one in found] == [
        (query.__qualname__, "a_driver.Connection.fetch"),
        ("Connection.fetch", "asyncio.sleep"),
    ]

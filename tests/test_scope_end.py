"""Guarantee 5.4 and 5.12: what counts as work at the end of a scope, row by row, and how little the end asks."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from tests.shared import Ping, Pong, factory, read

pytestmark = pytest.mark.anyio

TICK = 0.005


async def sleep() -> None:
    await asyncio.sleep(TICK)


# Each is the work of a task that sends when it is done: what it waits on meanwhile.


async def by_sleep() -> None:
    await sleep()


async def by_timer() -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(TICK, done.set_result, None)
    await done


async def by_gather() -> None:
    await asyncio.gather(sleep(), asyncio.gather(sleep()))


async def by_gather_of_a_future() -> None:
    await asyncio.gather(asyncio.get_running_loop().run_in_executor(None, lambda: None), sleep())


async def by_wait() -> None:
    await asyncio.wait([asyncio.ensure_future(sleep())])


async def by_wait_of_a_reader_and_a_future(hb: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(TICK, done.set_result, None)
    reader = asyncio.ensure_future(read(hb.ctx.subscribe(Pong)))
    await asyncio.wait([reader, done], return_when=asyncio.FIRST_COMPLETED)
    reader.cancel()


async def by_wait_for() -> None:
    await asyncio.wait_for(sleep(), 60)


async def by_timeout() -> None:
    async with asyncio.timeout(60):
        await sleep()


async def by_shield() -> None:
    await asyncio.shield(sleep())


async def by_as_completed() -> None:
    for one in asyncio.as_completed([sleep(), sleep()]):
        await one


async def by_as_completed_elsewhere() -> None:
    steps = list(asyncio.as_completed([sleep(), sleep()]))
    await asyncio.gather(*steps)


async def by_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep())


async def by_group_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(by_group())


async def by_anyio_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(sleep)


async def by_anyio_scope() -> None:
    with anyio.move_on_after(60):
        await anyio.sleep(TICK)


async def by_condition() -> None:
    condition = asyncio.Condition()

    async def notify() -> None:
        await sleep()
        async with condition:
            condition.notify_all()

    async with condition:
        task = asyncio.ensure_future(notify())
        await condition.wait()
    await task


async def by_event() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(TICK, event.set)
    await event.wait()


async def by_lock() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    asyncio.get_running_loop().call_later(TICK, lock.release)
    async with lock:
        pass


async def by_semaphore() -> None:
    semaphore = asyncio.Semaphore(0)
    asyncio.get_running_loop().call_later(TICK, semaphore.release)
    async with semaphore:
        pass


async def by_barrier() -> None:
    barrier = asyncio.Barrier(2)

    async def other() -> None:
        await sleep()
        await barrier.wait()

    task = asyncio.ensure_future(other())
    await barrier.wait()
    await task


async def by_queue() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    asyncio.get_running_loop().call_later(TICK, queue.put_nowait, 1)
    await queue.get()


async def by_stream() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sleep()
        writer.write(b"x\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.close()


async def by_subprocess() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await process.wait()


async def by_executor() -> None:
    await asyncio.to_thread(threading.Event().wait, TICK)


async def by_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        await asyncio.wait([asyncio.ensure_future(sleep())])
        yield 1

    async for _ in numbers():
        pass


async def by_a_task_nobody_spawned_through_ctx() -> None:
    await asyncio.get_running_loop().create_task(sleep())


WORK: list[Callable[..., Any]] = [
    value for name, value in globals().copy().items() if name[:3] == "by_"
]


@pytest.mark.parametrize("way", WORK, ids=lambda way: way.__name__)
async def test_what_counts_as_work_keeps_the_readers(
    hb: Any, way: Callable[..., Any], tasks: str
) -> None:
    """Guarantee 5.4: the table "What counts as work" of the guide, first half: each row."""

    async def work() -> None:
        await (way(hb) if way is by_wait_of_a_reader_and_a_future else way())
        hb.ctx.send(Ping())

    with factory(tasks):
        async with asyncio.timeout(20):
            async with hb.ctx.scope("test"):
                reader = hb.ctx.spawn(read, hb.ctx.subscribe(Ping))
                hb.ctx.spawn(work)
    assert reader.result() == 1


# Each waits for an event that nobody is left to send: what it does so through.


async def idle_alone(one: Any) -> None:
    await one()


async def idle_in_gather(one: Any) -> None:
    await asyncio.gather(one(), asyncio.gather(one()), return_exceptions=True)


async def idle_in_wait(one: Any) -> None:
    await asyncio.wait([asyncio.ensure_future(one()), asyncio.ensure_future(one())])


async def idle_in_wait_for(one: Any) -> None:
    await asyncio.wait_for(one(), 60)


async def idle_in_timeout(one: Any) -> None:
    async with asyncio.timeout(60):
        await one()


async def idle_in_shield(one: Any) -> None:
    await asyncio.shield(one())


async def idle_in_as_completed(one: Any) -> None:
    for step in asyncio.as_completed([one(), one()]):
        await step


async def idle_in_as_completed_elsewhere(one: Any) -> None:
    steps = list(asyncio.as_completed([one(), one()]))
    await asyncio.gather(*steps)


async def idle_in_group(one: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(one())
        group.create_task(one())


async def idle_in_anyio_group(one: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)


async def idle_in_anyio_scope(one: Any) -> None:
    with anyio.move_on_after(60):
        await one()


async def idle_in_generator(one: Any) -> None:
    async def numbers() -> AsyncIterator[int]:
        await asyncio.wait([asyncio.ensure_future(one())])
        yield 1

    async for _ in numbers():
        pass
    assert await anext(numbers(), None) == 1


async def idle_in_awaitable(one: Any) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return asyncio.wait([asyncio.ensure_future(one())]).__await__()

    await Awaitable()


IDLE: list[Callable[..., Any]] = [
    value for name, value in globals().copy().items() if name[:5] == "idle_"
]


@pytest.mark.parametrize("way", IDLE, ids=lambda way: way.__name__)
async def test_what_does_not_count_as_work_ends(
    hb: Any, way: Callable[..., Any], tasks: str
) -> None:
    """Guarantee 5.4: the second half of the table. It fails as well when a new Python renames what is read of it."""
    went_on: list[Any] = []

    async def work() -> None:
        await way(lambda: read(hb.ctx.subscribe(Ping)))
        went_on.append(way)

    with factory(tasks):
        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(work)
    assert went_on == [way]


class TestChildren:
    @pytest.mark.parametrize("depth", [1, 3])
    @pytest.mark.parametrize("kind", ["asyncio", "anyio"])
    async def test_children_at_work_keep_a_task_that_reads_in_the_body_of_their_group(
        self, hb: Any, kind: str, depth: int, tasks: str
    ) -> None:
        """Guarantee 5.4: which cannot be seen from the task that reads, at any depth."""

        async def produce(left: int) -> None:
            if left > 1:
                # It reads, too, while its own child is at work.
                await pipeline(left - 1, Pong)
                hb.ctx.send(Ping())
                return
            for _ in range(2):
                await sleep()
                hb.ctx.send(Pong())

        async def pipeline(left: int, kind_read: type) -> int:
            number = 0
            subscription = hb.ctx.subscribe(kind_read)
            wanted = 2 if kind_read is Pong else 1

            async def body() -> None:
                nonlocal number
                async for _ in subscription:
                    number += 1
                    if number == wanted:
                        break

            if kind == "asyncio":
                async with asyncio.TaskGroup() as group:
                    group.create_task(produce(left))
                    await body()
            else:
                async with anyio.create_task_group() as other:
                    other.start_soon(produce, left)
                    await body()
            assert number == wanted
            return number

        with factory(tasks):
            async with asyncio.timeout(10):
                async with hb.ctx.scope("test"):
                    first = hb.ctx.spawn(pipeline, depth, Pong if depth == 1 else Ping)
                    await asyncio.sleep(0)
        assert first.result() == (2 if depth == 1 else 1)

    async def test_children_that_only_wait_do_not_hold_up_the_scope(self, hb: Any) -> None:
        """Guarantee 5.4: a group whose body and whose child read."""

        async def both() -> str:
            async with asyncio.TaskGroup() as group:
                group.create_task(read(hb.ctx.subscribe(Pong)))
                await read(hb.ctx.subscribe(Ping))
            return "went on"

        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                task = hb.ctx.spawn(both)
        assert task.result() == "went on"

    async def test_a_task_that_is_no_longer_waited_for_does_not_hold_up_the_scope(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: one that was at work for the scope, and then is left alone by who waited for it."""
        endless = asyncio.get_running_loop().create_task(asyncio.sleep(60))

        async def leave() -> int:
            await asyncio.wait([endless], timeout=TICK)
            return await read(hb.ctx.subscribe(Ping))

        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                task = hb.ctx.spawn(leave)
        assert task.result() == 0
        endless.cancel()


class TestOthers:
    async def test_first_in_a_nested_scope_is_answered_by_the_scope_around_it(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: as long as any task of the bus is at work; then it is cancelled."""

        async def serve(asked: Any) -> None:
            async for _ in asked:
                await sleep()
                hb.ctx.send(Pong())

        async def ask(then: str) -> str:
            answers = hb.ctx.subscribe(Pong)
            hb.ctx.send(Ping())
            await answers.first()
            if then == "sleep":
                await sleep()
            elif then == "read":
                await read(hb.ctx.subscribe(Pong))
            return "answered"

        async def tick() -> None:
            await asyncio.sleep(60)

        async def ask_nobody() -> None:
            await hb.ctx.subscribe(Ping).first()

        async with asyncio.timeout(10):
            async with hb.ctx.scope("service"):
                serving = hb.ctx.subscribe(Ping)
                hb.ctx.spawn(serve, serving)
                for then in ("return", "sleep", "read"):
                    async with hb.ctx.scope("request"):
                        one = hb.ctx.spawn(ask, then)
                    assert one.result() == "answered"
                async with hb.ctx.scope("request"):
                    asking = [hb.ctx.spawn(ask_nobody) for _ in range(2)]
                assert all(one.cancelled() for one in asking)
                ticking = hb.ctx.spawn(tick)
                async with hb.ctx.scope("request"):
                    one = hb.ctx.spawn(ask, "read")
                assert one.result() == "answered"
                ticking.cancel()

    async def test_two_scopes_that_wait_for_each_other_s_answers_both_end(self, hb: Any) -> None:
        """Guarantee 5.4: who only ends a scope could not answer."""

        async def ask() -> None:
            await hb.ctx.subscribe(Ping).first()

        async def request() -> Any:
            async with hb.ctx.scope("request"):
                one = hb.ctx.spawn(ask)
            return one.cancelled()

        async with asyncio.timeout(10):
            async with hb.ctx.scope("service"):
                both = [hb.ctx.spawn(request) for _ in range(2)]
        assert [one.result() for one in both] == [True, True]

    async def test_a_read_of_another_bus_lasts_as_long_as_anybody_is_at_work_there(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: its tasks, and its body."""
        async with asyncio.timeout(10):
            async with hb.ctx.scope("outer"):
                subscription = hb.ctx.subscribe(Ping)

                async def later() -> None:
                    await sleep()
                    hb.ctx.send(Ping())

                hb.ctx.spawn(later)
                async with hb.ctx.scope("inner", isolated=True):
                    one = hb.ctx.spawn(read, subscription)
                assert one.result() == 1

                async def inner(subscription: Any) -> int:
                    async with hb.ctx.scope("inner", isolated=True):
                        one = hb.ctx.spawn(read, subscription)
                    return int(one.result())

                two = hb.ctx.spawn(inner, hb.ctx.subscribe(Ping))
                await asyncio.sleep(2 * TICK)
                hb.ctx.send(Ping())
                await asyncio.sleep(2 * TICK)
                assert not two.done()
        assert two.result() == 1


class TestBackingOff:
    async def test_a_loop_that_backs_off_ends_with_its_scope(self, hb: Any) -> None:
        """Guarantee 5.4: not after so many rounds as one that comes back at once may take."""
        rounds = 0

        async def again() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                async for _ in hb.ctx.subscribe(Ping):
                    pass
                await sleep()

        async def at_once() -> str:
            for _ in range(3):
                await read(hb.ctx.subscribe(Ping))
            await sleep()
            await read(hb.ctx.subscribe(Ping))  # in another place
            return "went on"

        async with asyncio.timeout(10):
            async with hb.ctx.scope("test"):
                backing = hb.ctx.spawn(again)
                finite = hb.ctx.spawn(at_once)
        assert backing.cancelled()
        assert rounds == 2
        assert finite.result() == "went on"


class TestCost:
    async def test_an_end_asks_no_other_tasks_while_its_own_are_at_work(
        self, hb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 5.12: and walks over the loop's once each time all of its own have become idle."""
        idle = sys.modules["haiway_bus._scope.idle"]
        walks = 0
        tasks_by_parent = idle.tasks_by_parent

        def walk() -> Any:
            nonlocal walks
            walks += 1
            return tasks_by_parent()

        monkeypatch.setattr(idle, "tasks_by_parent", walk)

        async def work() -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            await sleep()

        async with hb.ctx.scope("test"):
            for _ in range(10):
                hb.ctx.spawn(work)
        assert walks == 0
        async with hb.ctx.scope("test"):
            hb.ctx.spawn(work)
            for _ in range(10):
                hb.ctx.spawn(read, hb.ctx.subscribe(Ping))
        assert walks == 1

    @pytest.mark.parametrize("helper", ["gather", "wait", "group", "none"])
    async def test_an_end_looks_at_each_job_a_few_times_however_many_there_are(
        self, hb: Any, helper: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 5.12: linear, counted."""
        kind = sys.modules["haiway_bus._scope.idle"].IdleCheck
        asked = 0
        waits_on, at_work = kind.waits_on, kind.at_work

        def count(function: Any) -> Any:
            def counted(self: Any, one: Any) -> Any:
                nonlocal asked
                asked += 1
                return function(self, one)

            return counted

        monkeypatch.setattr(kind, "waits_on", count(waits_on))
        monkeypatch.setattr(kind, "at_work", count(at_work))
        helpers = sys.modules["haiway_bus._scope.asyncio_waits"]
        unfinished = helpers.unfinished

        def count_members(members: Any) -> Any:
            nonlocal asked
            asked += len(members)
            return unfinished(members)

        monkeypatch.setattr(helpers, "unfinished", count_members)
        jobs = 1000
        lock = asyncio.Lock()

        async def job() -> None:
            async with lock:
                await asyncio.sleep(0)

        async def all_of_them() -> None:
            if helper == "gather":
                await asyncio.gather(*[job() for _ in range(jobs)])
            elif helper == "wait":
                await asyncio.wait([asyncio.ensure_future(job()) for _ in range(jobs)])
            else:
                async with asyncio.TaskGroup() as group:
                    for _ in range(jobs):
                        group.create_task(job())

        async with hb.ctx.scope("test"):
            if helper == "none":
                for _ in range(jobs):
                    hb.ctx.spawn(job)
            else:
                hb.ctx.spawn(all_of_them)
        assert asked < 100 * jobs  # in a set, as wait() has them, they stand in any order

    async def test_an_end_asks_each_reader_a_few_times_however_many_types_there_are(
        self, hb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 5.12: the rounds, one type each, do not begin from scratch while nothing else happens."""
        kind = sys.modules["haiway_bus._scope.idle"].IdleCheck
        asked = 0
        at_work, reads_of = kind.at_work, kind.reads_of

        def count(function: Any) -> Any:
            def counted(*given: Any) -> Any:
                nonlocal asked
                asked += 1
                return function(*given)

            return counted

        monkeypatch.setattr(kind, "at_work", count(at_work))
        monkeypatch.setattr(kind, "reads_of", count(reads_of))
        types = [type(f"Type{at}", (), {}) for at in range(300)]
        async with hb.ctx.scope("test"):
            readers = [hb.ctx.spawn(read, hb.ctx.subscribe(one)) for one in types]
        assert [one.result() for one in readers] == [0] * 300
        assert asked < 8 * 300

    async def test_what_a_reader_sends_at_its_end_is_found_by_a_reader_of_a_later_round(
        self, hb: Any
    ) -> None:
        """Guarantee 5.4: the rounds stand only while nobody else has had an event."""
        types = [type(f"Type{at}", (), {}) for at in range(6)]
        counted = []

        async def stage(at: int) -> None:
            number = await read(subscriptions[at])
            counted.append((at, number))
            if at:
                await asyncio.sleep(0)
                for further in types[:at]:
                    hb.ctx.send(further())

        async with hb.ctx.scope("test"):
            subscriptions = [hb.ctx.subscribe(one) for one in types]
            for at in range(6):
                hb.ctx.spawn(stage, at)
        assert counted == [(at, 5 - at) for at in reversed(range(6))]

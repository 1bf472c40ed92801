"""Guarantee 6.3: a forked process, where the scopes of the process that it was forked from are not current.

Each test is a program in a process of its own, as forking one that has run other tests would copy their threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

import haiway_bus

if not hasattr(os, "fork"):
    pytest.skip("there is no fork here", allow_module_level=True)

# What every program begins with. `child` runs a function in a forked process and returns what it returns.
PRELUDE = """
import asyncio, contextvars, gc, multiprocessing, os, pickle, sys, threading, warnings
from concurrent.futures import ProcessPoolExecutor
from haiway_bus import ContextMissing, State, ctx
from haiway_bus._bus import current

warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # 3.12 tells of threads and forks
if sys.argv[1] == "uvloop":
    import uvloop
    new_loop = uvloop.new_event_loop
else:
    new_loop = asyncio.new_event_loop

class Done(State):
    number: int

class Unheard(State):
    number: int = 0

class Level(State):
    of: int = 0

def run(main):
    loop = new_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()

def child(function):
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            try:
                found = function()
            except BaseException as error:
                found = f"{type(error).__name__}: {error}"
            with os.fdopen(writing, "wb") as file:
                file.write(pickle.dumps(found))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        found = file.read()
    os.waitpid(process, 0)
    return pickle.loads(found)

def refusal(call):
    try:
        call()
    except ContextMissing as error:
        return str(error)
    return "it returned"

async def awaited(coroutine):
    try:
        await asyncio.wait_for(coroutine, 5)
    except ContextMissing as error:
        return str(error)
    return "it returned"

def is_refused(message, scope="service"):
    assert f"the scope {scope!r} belongs to the process from which this one was forked" in message, message
    assert "open one here" in message and "hand the result back" in message, message
"""


def run(program: str, *, pure: bool, loop: str = "asyncio") -> str:
    environment = {name: value for name, value in os.environ.items() if name != "HAIWAY_BUS_PURE"}
    if pure:
        environment["HAIWAY_BUS_PURE"] = "1"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PRELUDE + textwrap.dedent(program), loop],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(params=["compiled", "pure"] if haiway_bus.backend == "compiled" else ["pure"])
def pure(request: pytest.FixtureRequest) -> bool:
    return request.param == "pure"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


def test_each_call_is_refused_there_and_the_parent_is_unharmed(pure: bool, loop: str) -> None:
    """By os.fork() in a callback of the running loop, and in a thread that it has started."""
    program = """
        def everything():
            calls = dict(
                heard=lambda: ctx.send(Done(number=1)), unheard=lambda: ctx.send(Unheard()),
                subscribe=lambda: ctx.subscribe(Done), on=lambda: ctx.on(Done, print),
                spawn=lambda: ctx.spawn(asyncio.sleep, 0), state=lambda: ctx.state(Level),
                updated=ctx.updated(Level(of=2)).__enter__, trace_id=ctx.trace_id, events=ctx.events,
                attach=scope.attach().__enter__, inner_attach=inner.attach().__enter__,
                take=subscription.receive_nowait, iterate=lambda: aiter(subscription),
                by_bus=lambda: scope.bus.send(Done(number=1)),
                bus_subscribe=lambda: scope.bus.subscribe(Done),
            )
            found = {name: refusal(call) for name, call in calls.items()}

            async def reads():
                async def next_batch():
                    await anext(subscription.batches())

                async def next_event():
                    await anext(subscription)

                found["first"] = await awaited(subscription.first())
                found["batches"] = await awaited(next_batch())
                found["anext"] = await awaited(next_event())
                found["settled"] = await awaited(scope._inside.settled())
                found["flush"] = await awaited(ctx.flush(Done))

            asyncio.run(reads())
            assert not scope.is_open and not inner.is_open and subscription.closed
            ctx.log_info("told outside of any scope")
            subscription.close()
            gc.collect()
            return found

        async def main():
            global scope, inner, subscription
            scope, inner, got = ctx.scope("service", Level(of=1)), ctx.scope("inner"), []
            async with scope:
                ctx.on(Done, got.append)
                async with inner:
                    subscription = ctx.subscribe(Done)
                    ctx.send(Done(number=7))
                    ctx.send(Done(number=8))
                    await anext(subscription)
                    running = asyncio.get_running_loop()
                    found = {}
                    running.call_soon(lambda: found.update(child(everything)))
                    await asyncio.sleep(0.01)
                    by_thread = await asyncio.to_thread(child, everything)
                    for messages in (found, by_thread):
                        assert len(messages) == 20, messages
                        for name, message in messages.items():
                            inside = name in {"state", "updated", "trace_id", "events", "spawn", "on", "flush"}
                            is_refused(message, "inner" if inside or name == "inner_attach" else "service")
                    # And here everything goes on.
                    assert (await anext(subscription)).number == 8
                    await asyncio.to_thread(ctx.send, Done(number=9))
                    assert (await anext(subscription)).number == 9
                    assert ctx.state(Level).of == 1
            assert [one.number for one in got] == [7, 8, 9]
            print("OK")

        run(main())
    """
    assert run(program, pure=pure, loop=loop) == "OK\n"


def test_a_loop_there_opens_scopes_of_its_own(pure: bool, loop: str) -> None:
    """Also in contexts that were copied in the parent, and nothing of the parent's scope is in them."""
    program = """
        async def service(depth):
            got = []
            async with ctx.scope("child's own"):
                assert ctx.state(Level).of == 0  # not the parent's
                ctx.on(Done, got.append)
                ctx.send(Done(number=1))
                await asyncio.to_thread(ctx.send, Done(number=2))
                async with ctx.scope("nested"):
                    subscription = ctx.subscribe(Done)
                    ctx.send(Done(number=3))
                    assert (await anext(subscription)).number == 3
                if depth:
                    await asyncio.sleep(0)
                    again = child(lambda: (refusal(lambda: ctx.send(Done(number=4))), run(service(0))))
                    is_refused(again[0], "child's own")
                    assert again[1] == [1, 2, 3], again
            return sorted(one.number for one in got)

        async def main():
            context = contextvars.copy_context()
            async with ctx.scope("service", Level(of=1)):
                copied, got = contextvars.copy_context(), []
                ctx.on(Done, got.append)
                assert child(lambda: run(service(1))) == [1, 2, 3]
                assert child(lambda: contextvars.Context().run(run, service(1))) == [1, 2, 3]
                assert child(lambda: copied.run(run, service(0))) == [1, 2, 3]
            assert got == []
            # One that had ended before says so, as in the parent.
            assert "had ended" in child(lambda: copied.run(refusal, lambda: ctx.send(Done(number=1))))
            print("OK")

        run(main())
    """
    assert run(program, pure=pure, loop=loop) == "OK\n"


def test_pools_of_processes(pure: bool) -> None:
    """A ProcessPoolExecutor and a multiprocessing.Pool whose workers are forked from within a scope."""
    program = """
        def work(number):
            return refusal(lambda: ctx.send(Done(number=number)))

        async def in_a_loop():
            async with ctx.scope("worker"):
                subscription = ctx.subscribe(Done)
                ctx.send(Done(number=5))
                return (await anext(subscription)).number

        def work_in_a_loop(_):
            return asyncio.run(in_a_loop())

        async def main():
            fork, got = multiprocessing.get_context("fork"), []
            async with ctx.scope("service"):
                ctx.on(Done, got.append)
                running = asyncio.get_running_loop()
                with ProcessPoolExecutor(2, mp_context=fork) as pool:
                    for number in range(4):
                        is_refused(await running.run_in_executor(pool, work, number))
                    assert await running.run_in_executor(pool, work_in_a_loop, 0) == 5
                with fork.Pool(2) as pool:
                    for message in pool.map(work, range(4)):
                        is_refused(message)
                    assert pool.map(work_in_a_loop, range(3)) == [5, 5, 5]
                ctx.send(Done(number=1))
            assert [one.number for one in got] == [1]
            print("OK")

        asyncio.run(main())
    """
    assert run(program, pure=pure) == "OK\n"


def test_a_lock_that_another_thread_had_at_the_fork_locks_nothing_up(pure: bool) -> None:
    program = """
        async def main():
            async with ctx.scope("service"):
                subscription, bus = ctx.subscribe(Done), current.get()
                held, over = threading.Event(), threading.Event()

                def hold():
                    with bus.inbox.lock:
                        held.set()
                        over.wait(30)

                thread = threading.Thread(target=hold)
                thread.start()
                held.wait(30)
                context = contextvars.copy_context()

                def use():
                    threading.Thread(target=context.run, args=(refusal, lambda: ctx.send(Done(number=1)))).start()
                    subscription.close()
                    bus.close()  # as at the end of the scope
                    return refusal(lambda: ctx.send(Done(number=1)))

                is_refused(child(use))
                over.set()
                thread.join()
            print("OK")

        asyncio.run(main())
    """
    assert run(program, pure=pure) == "OK\n"


def test_nothing_of_the_parent_is_finalized_there(pure: bool, loop: str) -> None:
    """A task that waits for an event would clean up after its parent, which is still at work."""
    program = """
        cleaned = []

        async def reader():
            try:
                async for event in ctx.subscribe(Done):
                    pass
            finally:
                cleaned.append(os.getpid())

        def look():
            gc.collect()

            async def main():
                async with ctx.scope("child's own"):
                    ctx.send(Done(number=1))

            asyncio.run(main())
            gc.collect()
            return cleaned

        async def main():
            async with ctx.scope("service"):
                ctx.spawn(reader)
                await asyncio.sleep(0.01)
                # In a thread, whose stack holds nothing of the loop.
                assert await asyncio.to_thread(contextvars.Context().run, child, look) == []
                await asyncio.sleep(0.01)
                assert cleaned == []
            assert cleaned == [os.getpid()]

        run(main())
        cleaned.clear()

        async def leave_open():
            scope = ctx.scope("left open")
            await scope.__aenter__()
            asyncio.create_task(reader())
            await asyncio.sleep(0)
            return scope

        kept = [new_loop()]
        kept.append(kept[0].run_until_complete(leave_open()))

        def drop():
            kept.clear()
            return look()

        assert child(drop) == []
        print("OK", flush=True)
        os._exit(0)  # it would tell of the task
    """
    assert run(program, pure=pure, loop=loop) == "OK\n"


def test_a_recorder_of_opentelemetry_counts_there_what_is_sent_there(pure: bool) -> None:
    """Also where the exporter's thread had its lock at the fork."""
    pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")
    program = """
        from haiway_bus.integrations.opentelemetry import OpenTelemetryObservability
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader = InMemoryMetricReader()
        recorder = OpenTelemetryObservability(meter_provider=MeterProvider([reader], shutdown_on_exit=False))

        def sent():
            found = {}
            for resource in reader.get_metrics_data().resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == "haiway_bus.events.sent":
                            for point in metric.data.data_points:
                                found[point.attributes["haiway_bus.scope"]] = point.value
            return found

        async def work(name, number):
            async with ctx.scope(name, observability=recorder):
                subscription = ctx.subscribe(Done)
                for _ in range(number):
                    ctx.send(Done(number=1))
                subscription.close()
                return sent()

        async def main():
            async with ctx.scope("service", observability=recorder):
                subscription = ctx.subscribe(Done)
                ctx.send(Done(number=1))
                with recorder._buses._lock:
                    assert child(lambda: asyncio.run(work("worker", 2))) == {"worker": 2}
                assert sent() == {"service": 1}
                subscription.close()
            print("OK")

        asyncio.run(main())
    """
    assert run(program, pure=pure) == "OK\n"

"""Guarantee 2.5, 2.7, 3: whatever is raised, freed or cut off in the middle, nothing crashes, no reader sleeps on."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.shared import COUNTS_REFERENCES, alone, let_go, turns

INTERRUPTS = [KeyboardInterrupt, SystemExit, MemoryError]


class Sent:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Injected(Coroutine[Any, Any, Any]):
    """A coroutine into which, at one of the awaits of all of them, an exception is raised."""

    def __init__(self, inner: Any, injector: Injector) -> None:
        self.inner = inner
        self.injector = injector

    def send(self, value: Any) -> Any:
        if self.injector.hits(self.inner):
            return self.inner.throw(self.injector.kind())
        return self.inner.send(value)

    def throw(self, *given: Any) -> Any:
        return self.inner.throw(*given)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Any:
        return self


class Injector:
    """Counts the awaits of the readers, and raises at one of them."""

    def __init__(self, kind: type[BaseException], at: int) -> None:
        self.kind = kind
        self.left = at
        self.hit = False

    def hits(self, coroutine: Any) -> bool:
        if not coroutine.cr_await and not coroutine.cr_frame.f_lasti > 0:
            return False  # it has not begun: there is no await yet
        self.left -= 1
        if self.left == 0:
            self.hit = True
        return self.left == 0

    def task(self, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(Injected(coroutine, self))


async def read(source: Any, into: list[int]) -> None:
    async for event in source:
        into.extend(one.number for one in (event if isinstance(event, list) else [event]))


class TestInterrupts:
    @pytest.mark.parametrize("kind", INTERRUPTS)
    def test_raised_at_any_await_of_any_reader_it_costs_nobody_else_an_event(
        self, hb: Any, kind: type[BaseException]
    ) -> None:
        """Guarantee 2.5, 2.7: single readers, a pool, batches and limits; once for each await there is."""
        at = 0
        while self.injected_at(hb, kind, at := at + 1):
            assert at < 200
        assert at > 20

    def injected_at(self, hb: Any, kind: type[BaseException], at: int) -> bool:
        loop = asyncio.new_event_loop()
        injector = Injector(kind, at)
        readers: list[tuple[Any, list[Any], list[int]]] = []

        async def start() -> Any:
            bus = hb._bus.Bus("faults")
            for limit, workers, batch in (
                (None, 1, 0),
                (None, 3, 0),
                (None, 1, 3),
                (4, 1, 0),
                (None, 1, 0),
            ):
                subscription = bus.subscribe(Sent, limit)
                source = subscription.batches(batch) if batch else subscription
                got: list[int] = []
                tasks = [injector.task(read(source, got)) for _ in range(workers)]
                readers.append((subscription, tasks, got))
            return bus

        async def send(bus: Any, first: int) -> None:
            for number in range(first, first + 3):
                bus.send(Sent(number))
            await turns()

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            task = loop.create_task(work)
            while True:
                try:
                    return loop.run_until_complete(task)
                except kind:
                    assert injector.hit

        bus = run(start())
        run(turns())
        for first in (0, 3, 6):
            run(send(bus, first))
        for subscription, tasks, got in readers:
            alive = [task for task in tasks if not task.done()]
            if alive:
                assert (sorted(got), subscription.pending) == (list(range(9)), 0)
            else:
                left = drained(run, subscription)
                assert got == list(range(len(got)))
                assert left == list(range(9 - len(left), 9))
                assert len(got + left) + subscription.dropped == 9
        died = [task for _, tasks, _ in readers for task in tasks if task.done()]
        assert [type(task.exception()) for task in died] == [kind] * injector.hit
        bus.close()
        run(turns())
        # All have ended: normally, but for the one that was hit, maybe only now, at its end.
        ends = [task.exception() for _, tasks, _ in readers for task in tasks]
        assert [type(end) for end in ends if end] == [kind] * injector.hit
        loop.close()
        return injector.hit

    @pytest.mark.parametrize("kind", INTERRUPTS)
    def test_raised_by_what_the_bus_calls_it_costs_nobody_an_event(
        self, hb: Any, kind: type[BaseException]
    ) -> None:
        """Guarantee 2.7, 4.2: the observer of drops, the predicate of first(), a handler."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        got: list[int] = []

        def fail(*_: Any) -> Any:
            raise kind

        async def start() -> Any:
            bus = hb._bus.Bus("faults")
            bus.observer = fail
            stuck = bus.subscribe(Sent, 1)
            first = loop.create_task(bus.subscribe(Sent).first(fail))
            reader = loop.create_task(read(bus.subscribe(Sent), got))
            return bus, stuck, first, reader

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            task = loop.create_task(work)
            while True:
                try:
                    return loop.run_until_complete(task)
                except kind:
                    pass

        bus, stuck, first, reader = run(start())
        run(turns())
        for number in range(4):
            bus.send(Sent(number))
        run(turns())
        assert (got, stuck.pending, stuck.dropped) == ([0, 1, 2, 3], 1, 3)
        assert isinstance(first.exception(), kind)
        bus.send(Sent(4))
        stuck.close()  # within a second of the last report: told with the next
        run(turns())
        assert got[-1] == 4
        with pytest.raises(kind):
            bus.close()  # tells of the drops, and fails to
        run(turns())
        assert reader.done()
        loop.close()


def drained(run: Callable[[Any], Any], subscription: Any) -> list[int]:
    async def drain() -> list[int]:
        return [subscription.receive_nowait().number for _ in range(subscription.pending)]

    return run(drain())


class TestMemory:
    def test_every_allocation_of_the_dispatch_path_fails_once(self, hb: Any) -> None:
        """Guarantee 2.5, 2.7: an operation raises MemoryError or succeeds, and the bus works on either way."""
        if importlib.util.find_spec("_testcapi") is None:
            pytest.skip("this interpreter comes without _testcapi, which makes allocations fail")
        if hb.backend == "pure":
            pytest.skip("in Python any bytecode may allocate: there is no promise to keep")
        if os.environ.get("PYTHONMALLOC") or sys.flags.dev_mode:
            pytest.skip("the allocator under test has hooks of its own")
        told = alone(hb, str(Path(__file__).with_name("faults") / "memory.py"))
        assert len(told.splitlines()) == 15
        assert "send: 0 allocations" not in told


@pytest.mark.anyio
class TestPayloads:
    @pytest.mark.parametrize("limit", [None, 2])
    async def test_an_event_that_sends_when_it_is_freed_loses_none(
        self, hb: Any, limit: int | None
    ) -> None:
        """Guarantee 2.1, 3.2: freed by a read, by a drop and by a close."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            echoes = bus.subscribe(Sent)

            class Echo:
                def __init__(self, number: int) -> None:
                    self.number = number

                def __del__(self) -> None:
                    bus.send(Sent(self.number))

            subscription = bus.subscribe(Echo, limit)
            for number in range(10):
                bus.send(Echo(number))
            if limit is None:
                for number in range(5):
                    assert (await anext(subscription)).number == number
            subscription.close()
            let_go()
            got = [echoes.receive_nowait().number for _ in range(echoes.pending)]
            # A collector frees in an order of its own.
            assert (got if COUNTS_REFERENCES else sorted(got)) == list(range(10))

    async def test_an_event_that_closes_its_reader_s_subscription_when_it_is_freed(
        self, hb: Any
    ) -> None:
        """Guarantee 2.8: while it is being read, by every way of reading."""
        async with hb.ctx.scope("test"):
            bus = hb._bus.current.get()
            for limit in (None, 3):
                for way in ("single", "batches", "nowait"):
                    closing: list[Any] = []

                    class Closer:
                        def __del__(self, closing: list[Any] = closing) -> None:
                            for one in closing:
                                one.close()

                    subscription, other = bus.subscribe(Closer, limit), bus.subscribe(Closer)
                    closing.append(subscription)
                    for _ in range(3):
                        bus.send(Closer())
                    for _ in range(3):
                        other.receive_nowait()
                    if way == "single":
                        async for event in subscription:
                            del event
                            let_go()
                    elif way == "batches":
                        async for batch in subscription.batches(2):
                            del batch
                            let_go()
                    else:
                        subscription.receive_nowait()
                        let_go()
                    assert subscription.closed
                    assert subscription.pending == 0
                    bus.send(Closer())
                    assert other.pending == 1
                    closing.clear()
                    other.close()

    async def test_a_reader_that_closes_its_own_subscription_wakes_all_others(
        self, hb: Any
    ) -> None:
        """Guarantee 2.2, 2.8: while they are being woken with it."""
        got: list[int] = []
        ended: list[str] = []
        async with hb.ctx.scope("test"):
            pool = hb.ctx.subscribe(Sent)

            async def work() -> None:
                async for _ in pool:
                    pool.close()
                ended.append("pool")

            before = hb.ctx.spawn(read, hb.ctx.subscribe(Sent), got)
            for _ in range(3):
                hb.ctx.spawn(work)
            after = hb.ctx.spawn(read, hb.ctx.subscribe(Sent), got)
            await turns()
            for number in range(3):
                hb.ctx.send(Sent(number))
            await turns()
            assert got == [0, 1, 2] * 2
            assert ended == ["pool"] * 3
            assert not before.done()
            assert not after.done()


class TestEnds:
    def test_using_the_bus_from_del_at_interpreter_exit_is_silent(self, hb: Any) -> None:
        """Guarantee 3.4, 5.6: with the bus open and ended, the loop closed, and the modules half gone."""
        alone(
            hb,
            "-c",
            """
            import asyncio, contextlib
            from haiway_bus import ctx
            from haiway_bus._bus import current

            class Sent:
                pass

            class Late:
                def __init__(self, bus, subscription):
                    self.used = bus, subscription
                    self.cycle = self
                def __del__(self, Sent=Sent, suppress=contextlib.suppress, Exception=Exception):
                    bus, subscription = self.used
                    for use in (lambda: bus.send(Sent()), lambda: bus.subscribe(Sent), subscription.close,
                                lambda: repr(subscription), lambda: subscription.pending):
                        with suppress(Exception):
                            use()

            async def read(subscription):
                async for event in subscription:
                    pass

            async def main():
                kept = []
                for leave in (True, False):
                    scope = ctx.scope("test", isolated=True)
                    await scope.__aenter__()
                    for limit in (None, 2):
                        kept.append(ctx.subscribe(Sent, limit=limit))
                        kept.append(Late(scope.bus, kept[-1]))
                        for _ in range(5):
                            ctx.send(Sent())
                    kept.append(scope)
                    if leave:
                        await scope.__aexit__(None, None, None)
                return kept

            import logging
            logging.disable()
            kept = asyncio.run(main())
            """,
        )

    @pytest.mark.parametrize("end", ["first", "last", "close", "drop"])
    def test_a_loop_closed_with_readers_parked_crashes_nothing(self, hb: Any, end: str) -> None:
        """Guarantee 6.2: sending then raises, and what is left can be looked at, closed and freed, in any order."""
        loop = asyncio.new_event_loop()
        got: list[int] = []

        async def main() -> Any:
            bus = hb._bus.Bus("closed")
            parked = bus.subscribe(Sent)
            tasks = [loop.create_task(read(parked, got)) for _ in range(3)]
            await turns()
            return bus, parked, tasks

        bus, parked, tasks = loop.run_until_complete(main())
        loop.set_exception_handler(lambda *_: None)
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            bus.send(Sent())
        assert (parked.pending, got) == (0, [])
        bus.close()
        assert "ended" in repr(parked)
        for task in tasks:
            task._log_destroy_pending = False
        if end == "close":
            parked.close()
            assert parked.closed
        while tasks and end != "drop":
            del tasks[-1 if end == "last" else 0]
        del parked, task, tasks
        gc.collect()
        let_go()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_fork_in_the_middle_lets_the_child_exit_and_the_parent_go_on(self, hb: Any) -> None:
        """Guarantee 6.3: the child has a copy of the bus, which refuses; what it does is not seen by the parent."""
        told = alone(
            hb,
            "-c",
            """
            import asyncio, os, gc
            from haiway_bus import ContextMissing, ctx

            class Sent:
                pass

            async def read(subscription, got):
                async for event in subscription:
                    got.append(event)

            async def main():
                got = []
                async with ctx.scope("test"):
                    unread = ctx.subscribe(Sent)
                    ctx.spawn(read, ctx.subscribe(Sent), got)
                    await asyncio.sleep(0)
                    ctx.send(Sent())
                    child = os.fork()
                    if child == 0:
                        code = 1
                        try:
                            try:
                                ctx.send(Sent())
                            except ContextMissing:
                                assert unread.pending == 1
                                del unread
                                gc.collect()
                                code = 0
                        finally:
                            os._exit(code)
                    _, status = os.waitpid(child, 0)
                    assert status == 0, status
                    ctx.send(Sent())
                    assert unread.pending == 2
                    unread.close()
                assert len(got) == 2
                print("parent done")

            asyncio.run(main())
            """,
        )
        assert told == "parent done\n"

    def test_a_payload_without_slots_uses_a_bus_that_the_collector_takes_apart(
        self, hb: Any
    ) -> None:
        """Guarantee 3.4: the collector does not see such an object, so that its __del__ runs in the middle."""
        alone(
            hb,
            "-c",
            """
            import asyncio, gc, sys
            from haiway_bus._bus import Bus

            sys.unraisablehook = lambda unraisable: None  # what it does may fail, and must not crash

            class Sent:
                pass

            async def main():
                for order in range(8):
                    bus = Bus("garbage")
                    subscriptions = [bus.subscribe(Sent), bus.subscribe(Sent, 2)]

                    class Unseen:
                        __slots__ = ()
                        def __del__(self):
                            for use in (lambda: bus.send(Sent()), lambda: bus.subscribe(Sent), bus.close):
                                try:
                                    use()
                                except Exception:
                                    pass

                    kept = bus.subscribe(Unseen)
                    bus.send(Unseen())
                    Unseen.kept = [subscriptions, kept, Unseen()][:: 1 if order % 2 else -1]
                    del bus, subscriptions, kept, Unseen
                    gc.collect()

            asyncio.run(main())
            """,
        )

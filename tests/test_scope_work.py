"""Guarantee 5.4: whose work keeps a scope's readers and questions, as services have it. None may be cut off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.shared import read

pytestmark = pytest.mark.anyio


class Ask:
    pass


class Answer:
    pass


class DbAsk:
    pass


class DbAnswer:
    pass


class Audit:
    pass


@pytest.fixture(autouse=True)
async def soon() -> Any:
    """Nothing here takes long, and nothing hangs."""
    async with asyncio.timeout(20):
        yield


async def work() -> None:
    await asyncio.sleep(0.01)


async def ask(hb: Any, question: type = Ask, answer: type = Answer) -> str:
    answers = hb.ctx.subscribe(answer)
    hb.ctx.send(question())
    await answers.first()
    return "answered"


async def serve(hb: Any, asks: Any) -> None:
    async for _ in asks:
        await work()
        hb.ctx.send(Answer())


class TestServices:
    @pytest.mark.parametrize("kind", ["asyncio", "anyio"])
    async def test_one_that_answers_in_children_of_its_group(self, hb: Any, kind: str) -> None:
        async def answer() -> None:
            await work()
            hb.ctx.send(Answer())

        async def serve(asks: Any) -> None:
            if kind == "asyncio":
                async with asyncio.TaskGroup() as group:
                    async for _ in asks:
                        group.create_task(answer())
            else:
                async with anyio.create_task_group() as tasks:
                    async for _ in asks:
                        tasks.start_soon(answer)

        async with hb.ctx.scope("service"):
            hb.ctx.spawn(serve, hb.ctx.subscribe(Ask))
            async with hb.ctx.scope("request"):
                asking = hb.ctx.spawn(ask, hb)
        assert asking.result() == "answered"

    @pytest.mark.parametrize("whose", ["root", "sibling"])
    async def test_the_body_of_a_scope_on_the_bus(self, hb: Any, whose: str) -> None:
        async def request() -> str:
            async with hb.ctx.scope("request"):
                asking = hb.ctx.spawn(ask, hb)
            return str(asking.result())

        async def answer_one(asks: Any) -> None:
            async for _ in asks:
                await work()
                hb.ctx.send(Answer())
                break

        async with hb.ctx.scope("service"):
            asks = hb.ctx.subscribe(Ask)
            requesting = asyncio.create_task(request())
            if whose == "root":
                await answer_one(asks)
            else:
                async with hb.ctx.scope("server"):
                    await answer_one(asks)
            assert await requesting == "answered"

    async def test_one_that_asks_a_service_of_another_bus(self, hb: Any) -> None:
        db = hb.ctx.scope("db", isolated=True)

        async def answer_db(asks: Any) -> None:
            async for _ in asks:
                await work()
                hb.ctx.send(DbAnswer())

        async def serve(asks: Any) -> None:
            async for _ in asks:
                with db.attach():
                    answers = hb.ctx.subscribe(DbAnswer)
                    hb.ctx.send(DbAsk())
                await answers.first()
                hb.ctx.send(Answer())

        async def hold() -> None:
            async with db:
                hb.ctx.spawn(answer_db, hb.ctx.subscribe(DbAsk))
                opened.set()
                await asked.wait()

        opened, asked = asyncio.Event(), asyncio.Event()
        holding = asyncio.create_task(hold())
        await opened.wait()
        async with hb.ctx.scope("app"):
            hb.ctx.spawn(serve, hb.ctx.subscribe(Ask))
            async with hb.ctx.scope("request"):
                asking = hb.ctx.spawn(ask, hb)
            assert asking.result() == "answered"
        asked.set()
        await holding

    async def test_one_whose_nested_scope_is_about_to_be_left(self, hb: Any) -> None:
        """Its tasks are over, and it has yet to hear of that."""

        async def other() -> None:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

        async def one() -> None:
            await ask(hb, DbAsk, DbAnswer)
            await other()

        async def two() -> None:
            for _ in range(3):
                await ask(hb, DbAsk, DbAnswer)

        async def db(asks: Any) -> None:
            async for _ in asks:
                await asyncio.sleep(0)
                hb.ctx.send(DbAnswer())

        async def serve(asks: Any) -> None:
            async for _ in asks:
                async with hb.ctx.scope("parts"):
                    hb.ctx.spawn(one)
                    hb.ctx.spawn(two)
                hb.ctx.send(Answer())

        async with hb.ctx.scope("app"):
            hb.ctx.spawn(db, hb.ctx.subscribe(DbAsk))
            hb.ctx.spawn(serve, hb.ctx.subscribe(Ask))
            async with hb.ctx.scope("request"):
                asking = hb.ctx.spawn(ask, hb)
        assert asking.result() == "answered"


class TestReaders:
    async def test_of_what_a_task_sends_that_has_yet_to_be_answered(self, hb: Any) -> None:
        audited: list[Any] = []

        async def ask_and_tell() -> None:
            await ask(hb)
            hb.ctx.send(Audit())

        async with hb.ctx.scope("service"):
            hb.ctx.spawn(serve, hb, hb.ctx.subscribe(Ask))
            async with hb.ctx.scope("request"):
                hb.ctx.on(Audit, audited.append)
                hb.ctx.spawn(ask_and_tell)
        assert len(audited) == 1

    async def test_of_what_a_bridge_brings_from_the_bus_around(self, hb: Any) -> None:
        got: list[Any] = []

        async def bridge(asks: Any) -> None:
            async for _ in asks:
                hb.ctx.send(Audit())

        async def later() -> None:
            await work()
            hb.ctx.send(Ask())

        async with hb.ctx.scope("outer"):
            hb.ctx.spawn(later)
            asks = hb.ctx.subscribe(Ask)
            async with hb.ctx.scope("inner", isolated=True):
                hb.ctx.on(Audit, got.append)
                hb.ctx.spawn(bridge, asks)
        assert len(got) == 1

    async def test_of_a_bus_that_is_fed_from_a_third_one(self, hb: Any) -> None:
        async with hb.ctx.scope("first"):
            asks = hb.ctx.subscribe(Ask)

            async def later() -> None:
                await work()
                hb.ctx.send(Ask())

            hb.ctx.spawn(later)
            async with hb.ctx.scope("second", isolated=True):
                answers = hb.ctx.subscribe(Answer)

                async def bridge() -> None:
                    async for _ in asks:
                        hb.ctx.send(Answer())

                hb.ctx.spawn(bridge)
                async with hb.ctx.scope("third", isolated=True):
                    reader = hb.ctx.spawn(read, answers)
            assert reader.result() == 1

    async def test_of_a_bus_where_only_a_child_is_at_work(self, hb: Any) -> None:
        async def later() -> None:
            await work()
            hb.ctx.send(Answer())

        async def stage() -> None:
            answers = hb.ctx.subscribe(Answer)
            async with asyncio.TaskGroup() as group:
                group.create_task(later())
                async for _ in answers:
                    break
            hb.ctx.send(Audit())

        async with hb.ctx.scope("outer"):
            audits = hb.ctx.subscribe(Audit)
            hb.ctx.spawn(stage)
            async with hb.ctx.scope("inner", isolated=True):
                reader = hb.ctx.spawn(read, audits)
            assert reader.result() == 1

    async def test_of_what_a_child_of_a_gathered_child_leads_to(self, hb: Any) -> None:
        async def produce() -> None:
            await work()
            hb.ctx.send(Answer())

        async def one_of(kind: type, child: Callable[[], Any]) -> str:
            subscription = hb.ctx.subscribe(kind)
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                async for _ in subscription:
                    return "got"
            return "nothing"

        async def gathered() -> None:
            (got,) = await asyncio.gather(one_of(Answer, produce))
            if got == "got":
                hb.ctx.send(Audit())

        async with hb.ctx.scope("test"):
            reader = hb.ctx.spawn(one_of, Audit, gathered)
            await asyncio.sleep(0)
        assert reader.result() == "got"

    async def test_of_each_stage_of_a_pipeline_of_very_many_types(self, hb: Any) -> None:
        types = [type(f"Type{at}", (), {}) for at in range(200)]
        got: list[int] = []

        async def stage(at: int, subscription: Any) -> None:
            got.append(await read(subscription))
            if at + 1 < len(types):
                hb.ctx.send(types[at + 1]())

        async with hb.ctx.scope("pipeline"):
            for at in reversed(range(len(types))):
                hb.ctx.spawn(stage, at, hb.ctx.subscribe(types[at]))
            hb.ctx.send(types[0]())
        assert got == [1] * 200


class TestProgress:
    """What looks like a loop around the loop, and is not."""

    async def test_a_loop_over_several_subscriptions(self, hb: Any) -> None:
        saved: list[tuple[str, int]] = []

        async def drain(subscriptions: dict[str, Any]) -> None:
            for name, subscription in subscriptions.items():
                number = await read(subscription)
                await work()
                saved.append((name, number))

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(drain, {name: hb.ctx.subscribe(Ask) for name in "abc"})
            hb.ctx.send(Ask())
        assert saved == [("a", 1), ("b", 1), ("c", 1)]

    async def test_a_generator_that_reads_in_several_places(self, hb: Any) -> None:
        out: list[Any] = []

        async def stages() -> Any:
            async for event in hb.ctx.subscribe(Ask):
                yield event
            await work()
            async for event in hb.ctx.subscribe(Ask):
                yield event
            await work()
            yield "end"

        async def consume() -> None:
            async for one in stages():
                out.append(one)

        async with hb.ctx.scope("test"):
            hb.ctx.spawn(consume)
        assert out == ["end"]


class TestMovingOn:
    """A task that no longer waits for others is seen at once, beside one that is at work for long."""

    @pytest.mark.parametrize("how", ["event", "time-out", "wait", "shield"])
    async def test_a_task_that_goes_on(self, hb: Any, how: str) -> None:
        async def go_on(asks: Any, own: Any) -> None:
            if how == "event":
                async for _ in asks:
                    break
            elif how == "time-out":
                try:
                    async with asyncio.timeout(0.02):
                        await read(asks)
                except TimeoutError:
                    pass
            else:
                asking = asyncio.ensure_future(ask(hb))
                if how == "wait":
                    await asyncio.wait([asking], timeout=0.02)
                else:
                    try:
                        async with asyncio.timeout(0.02):
                            await asyncio.shield(asking)
                    except TimeoutError:
                        pass
                asking.cancel()
            await read(own)

        async def later() -> None:
            await work()
            hb.ctx.send(Ask())

        async with hb.ctx.scope("outer"):
            asks = hb.ctx.subscribe(Ask)
            long = hb.ctx.spawn(asyncio.sleep, 3600)
            hb.ctx.spawn(later)
            async with hb.ctx.scope("inner", isolated=how in ("event", "time-out")):
                hb.ctx.spawn(go_on, asks, hb.ctx.subscribe(Audit))
            assert not long.done()
            long.cancel()

    async def test_what_a_task_asks_of_a_future_is_enough(self, hb: Any) -> None:
        """Without `done` and `remove_done_callback`, which asyncio does not ask for."""

        class Least:
            _asyncio_future_blocking = False

            def __init__(self) -> None:
                self.calls: list[Any] = []
                self.ended = False

            def get_loop(self) -> Any:
                return asyncio.get_running_loop()

            def add_done_callback(self, call: Any, *, context: Any = None) -> None:
                self.calls.append((call, context))

            def result(self) -> int:
                return 1

            def cancel(self, msg: Any = None) -> bool:
                return False

            def end(self) -> None:
                self.ended = True
                for call, context in self.calls:
                    asyncio.get_running_loop().call_soon(call, self, context=context)

            def __await__(self) -> Any:
                if not self.ended:
                    self._asyncio_future_blocking = True
                    yield self
                return self.result()

        async def wait() -> Any:
            return await least

        async with hb.ctx.scope("test"):
            least = Least()
            asyncio.get_running_loop().call_later(0.01, least.end)
            waiting = hb.ctx.spawn(wait)
        assert waiting.result() == 1


class TestCost:
    """Guarantee 5.12, counted: how often an end asks what a task is doing."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
        kind = sys.modules["haiway_bus._scope.idle"].IdleCheck
        at_work, number = kind.at_work, 0

        def counted(self: Any, task: Any) -> Any:
            nonlocal number
            number += 1
            return at_work(self, task)

        monkeypatch.setattr(kind, "at_work", counted)
        return lambda: number

    async def test_jobs_behind_a_lock_and_idle_readers_before_them(
        self, hb: Any, asked: Callable[[], int]
    ) -> None:
        lock = asyncio.Lock()

        async def job() -> None:
            async with lock:
                await asyncio.sleep(0)

        async with hb.ctx.scope("test"):
            for _ in range(300):
                hb.ctx.spawn(read, hb.ctx.subscribe(Ask))
            for _ in range(300):
                hb.ctx.spawn(job)
        assert asked() < 40 * 300

    async def test_requests_that_ask_one_service(self, hb: Any, asked: Callable[[], int]) -> None:
        async def request() -> str:
            async with hb.ctx.scope("request"):
                asking = hb.ctx.spawn(ask, hb)
            return str(asking.result())

        async def serve(asks: Any) -> None:
            number = 0
            async for _ in asks:
                for _ in range(3):
                    await asyncio.sleep(0)
                number += 1
                if number == 100:
                    hb.ctx.send(Answer())

        async with hb.ctx.scope("service"):
            hb.ctx.spawn(serve, hb.ctx.subscribe(Ask))
            answered = await asyncio.gather(*[request() for _ in range(100)])
        assert answered == ["answered"] * 100
        assert asked() < 60 * 100

    async def test_questions_in_one_scope(self, hb: Any, asked: Callable[[], int]) -> None:
        types = [type(f"Answer{at}", (), {}) for at in range(200)]

        async def serve() -> None:
            for one in types:
                await asyncio.sleep(0)
                hb.ctx.send(one())

        async with hb.ctx.scope("service"):
            hb.ctx.spawn(serve)
            async with hb.ctx.scope("request"):
                asking = [hb.ctx.spawn(ask, hb, Ask, one) for one in types]
        assert [one.result() for one in asking] == ["answered"] * 200
        assert asked() < 60 * 200

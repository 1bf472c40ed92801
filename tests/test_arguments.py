"""Guarantee 2.11, 2.12, 4.4, 5.3: what cannot work is refused at the call, and the refusal says what to write."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import re
from collections import deque
from contextlib import nullcontext
from functools import partial, partialmethod, singledispatch, wraps
from typing import Any
from unittest.mock import AsyncMock, Mock, create_autospec

import pytest

pytestmark = pytest.mark.anyio


class Asked:
    pass


class Answered:
    pass


class Service:
    """Methods as they are written, and as they are forgotten."""

    async def handle(self, event: Any) -> None: ...

    async def forgot(event: Any) -> None:  # noqa: N805
        ...

    def empty() -> None:  # type: ignore[misc]
        ...

    def two(self, event: Any, other: Any) -> None: ...

    def defaulted(self, event: Any, other: Any = 1, *, name: str = "") -> None: ...

    @classmethod
    def of_class(cls, event: Any) -> None: ...

    @staticmethod
    def static(event: Any) -> None: ...

    bound = partialmethod(two, other=1)

    def __call__(self, event: Any) -> None: ...


class CallsWithout:
    def __call__(event: Any) -> None:  # type: ignore[misc]  # noqa: N805
        ...


class Two:
    def __call__(self, event: Any, other: Any) -> None: ...


class Awaited:
    def __init__(self, event: Any) -> None:
        pass

    def __await__(self) -> Any:
        return
        yield


def one(event: Any) -> None: ...


def two(event: Any, other: Any) -> None: ...


async def async_two(event: Any, other: Any) -> None: ...


def none() -> None: ...


def keyword(event: Any, *, name: str) -> None: ...


def only_keywords(*, event: Any) -> None: ...


def unwritable(event: Any, other: Any, name: Any = 10**5000) -> None: ...


def injecting(function: Any) -> Any:
    @wraps(function)
    def called(event: Any) -> Any:
        return function(event, "other")

    return called


def declaring(function: Any) -> Any:
    def called(*args: Any) -> Any:
        return function(*args, "other")

    called.__signature__ = __import__("inspect").signature(two)  # type: ignore[attr-defined]
    return called


@singledispatch
def dispatched(event: Any) -> None: ...


TAKEN: tuple[Any, ...] = (
    one,
    print,
    Service().handle,
    Service().defaulted,
    Service().of_class,
    Service.of_class,
    Service.static,
    Service().bound,
    Service(),
    [].append,
    deque().append,
    set().add,
    {}.get,
    asyncio.Queue.put_nowait.__get__(object()),
    lambda event: None,
    lambda *args: None,
    lambda event, other=1: None,
    lambda event, /, *, name="": None,
    partial(two, "first"),
    partial(two, other="other"),
    partial(Service.two, Service(), other=1),
    partial(partial(async_two, "first")),
    partial(keyword, name="x"),
    partial(Service()),
    injecting(two),
    declaring(two),
    dispatched,
    functools.lru_cache(one),
    Mock(),
    AsyncMock(),
    Mock(spec=one),
    create_autospec(one),
    Awaited,
    partial(Awaited),
)
REFUSED: tuple[tuple[Any, str], ...] = (
    (
        two,
        r"two(event, other): it is called with the event alone: write two(event)",
    ),
    (async_two, "write async_two(event), or give what else it takes, lambda event: async_two(...)"),
    (none, "none(): it is called with the event alone: write none(event)"),
    (keyword, "keyword(event, *, name)"),
    (only_keywords, "only_keywords(*, event)"),
    (unwritable, "unwritable<Signature instance at "),
    (Service().two, "Service.two(self, event, other)"),
    (Service().forgot, "with its instance first: write forgot(self, event)"),
    (Service().empty, "with its instance first: write empty(self, event)"),
    (Service.handle, "Service.handle(self, event)"),
    (CallsWithout(), "with its instance first: write __call__(self, event)"),
    (Two(), "Two.__call__(self, event, other)"),
    (partial(one, "first"), "one(event)"),
    (partial(one, event=1), "one(event)"),
    (partial(two), "two(event, other)"),
    (asyncio.Event().set, "Event.set(self): it is called with the event alone: write set(event)"),
    ([].clear, "list.clear()"),
    (dict, "not the class dict: a call of it makes an instance, which nobody gets"),
    (Service, "not the class Service"),
    (partial(Service, 1), "not the class Service"),
    (None, "a function of one event, plain or async, not None"),
    ("handle", "a function of one event, plain or async, not 'handle'"),
)


class TestHandlers:
    @pytest.mark.parametrize("handler", TAKEN, ids=range(len(TAKEN)))
    async def test_whatever_one_event_can_be_given_to_is_taken(self, hb: Any, handler: Any) -> None:
        """Guarantee 2.11: and what it takes is read from what is called in the end."""
        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, handler)

    @pytest.mark.parametrize(("handler", "says"), REFUSED, ids=range(len(REFUSED)))
    @pytest.mark.parametrize("collecting", [False, True], ids=["", "picture"])
    async def test_what_it_cannot_be_given_to_is_refused(
        self, hb: Any, handler: Any, says: str, collecting: bool
    ) -> None:
        """Guarantee 2.11: nothing is subscribed, also while a picture is collected."""
        picture = importlib.import_module("haiway_bus.tools.picture")
        with picture.collect() if collecting else nullcontext():
            async with hb.ctx.scope("test"):
                with pytest.raises(TypeError, match=re.escape(says)) as refused:
                    hb.ctx.on(Asked, handler)
                assert str(refused.value).startswith("on() takes a function of one event, plain")
                assert len(str(refused.value)) < 500
                assert hb.ctx.events() == {}

    @pytest.mark.skipif(not hasattr(functools, "Placeholder"), reason="came with Python 3.14")
    async def test_a_partial_keeps_places_free(self, hb: Any) -> None:
        """Guarantee 2.11."""
        free = functools.Placeholder  # type: ignore[attr-defined]
        async with hb.ctx.scope("test"):
            hb.ctx.on(Asked, partial(two, free, "other"))
            with pytest.raises(TypeError, match=r"not one\(event\)"):
                hb.ctx.on(Asked, partial(one, free, "other"))

    async def test_the_class_stands_first(self, hb: Any) -> None:
        """Guarantee 2.11."""
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match=re.escape("write on(Asked, one)")):
                hb.ctx.on(one, Asked)
            with pytest.raises(TypeError, match=r"on\(\) takes a class of events, not an instance"):
                hb.ctx.on(Asked(), one)
            with pytest.raises(TypeError, match="handler"):
                hb.ctx.on(Asked)

    @pytest.mark.parametrize("workers", [10**5000, 100_001], ids=["huge", "many"])
    async def test_too_many_workers_are_refused(self, hb: Any, workers: int) -> None:
        """Guarantee 2.11: before the memory is used up."""
        async with hb.ctx.scope("test"):
            with pytest.raises(ValueError, match="at most 100,000 workers, not "):
                hb.ctx.on(Asked, print, workers=workers)
            assert hb.ctx.events() == {}

    async def test_traced_and_event_streams_take_such_functions_only(self, hb: Any) -> None:
        """Guarantee 2.11, 8.2."""
        sse = importlib.import_module("haiway_bus.integrations.sse")
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match="EventStream takes a function of one event"):
                sse.EventStream(hb.ctx.subscribe(Asked), two)
            with pytest.raises(TypeError, match=re.escape("give it ctx.subscribe(...)")):
                sse.EventStream(Asked)
        if importlib.util.find_spec("opentelemetry"):
            opentelemetry = importlib.import_module("haiway_bus.integrations.opentelemetry")
            with pytest.raises(TypeError, match=r"traced\(\) takes a function of one event"):
                opentelemetry.traced(two)


class TestFirst:
    @pytest.mark.parametrize(
        ("where", "says"),
        [
            (0.1, "not 0.1: for a time-out write first(timeout=0.1)"),
            (5, "write first(timeout=5)"),
            (10**5000, "number of about 5001 digits"),
            ("x", "a plain function for where, not 'x'"),
            (True, "a plain function for where, not True"),
            (async_two, "async_two(event, other)"),
            (Service().handle, "a plain function for where, not an async one"),
            (partial(async_two, 1), "not an async one"),
            (AsyncMock(), "not an async one"),
            (none, "none()"),
            ((lambda: (yield)), "which has a `yield`"),
        ],
        ids=range(11),
    )  # fmt: skip
    async def test_what_tells_nothing_of_an_event_is_refused_at_the_call(
        self, hb: Any, where: Any, says: str
    ) -> None:
        """Guarantee 2.12: it is not awaited, leaves no coroutine behind, and closes nothing."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            with pytest.raises(TypeError, match=re.escape(says)):
                subscription.first(where)
            with pytest.raises(TypeError, match="a timeout in seconds, a number, not '1'"):
                subscription.first(timeout="1")
            assert not subscription.closed

    async def test_what_tells_something_is_asked(self, hb: Any) -> None:
        """Guarantee 2.12: by position or by keyword."""
        async with hb.ctx.scope("test"):
            for where in (bool, None, Mock(return_value=True), lambda event: True, dict):
                for arguments, names in (((where, 5), {}), ((), {"where": where, "timeout": 5})):
                    subscription = hb.ctx.subscribe(Asked)
                    hb.ctx.send(Asked())
                    if where is dict:  # of a class nothing is known: what it raises is the reader's
                        with pytest.raises(TypeError, match="not iterable"):
                            await subscription.first(*arguments, **names)
                    else:
                        assert type(await subscription.first(*arguments, **names)) is Asked
                    assert subscription.closed

    async def test_what_is_to_be_awaited_is_no_answer(self, hb: Any) -> None:
        """Guarantee 2.12: where it could not be seen before."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        async with hb.ctx.scope("test"):
            for answer in (lambda event: asyncio.sleep(0), lambda event: future):
                subscription = hb.ctx.subscribe(Asked)
                hb.ctx.send(Asked())
                with pytest.raises(TypeError, match="not an async one: it answers at once"):
                    await subscription.first(answer)


class TestOthers:
    async def test_flush_goes_without_subscriptions_of_its_type_and_bus(self, hb: Any) -> None:
        """Guarantee 4.4."""
        async with hb.ctx.scope("test"):
            own, other = hb.ctx.subscribe(Asked), hb.ctx.subscribe(Answered)
            hb.ctx.send(Asked())
            await hb.ctx.flush(Asked, timeout=5, without=[own])
            await hb.ctx.flush(Asked, timeout=5, without=iter([own]))
            closed = hb.ctx.subscribe(Asked)
            closed.close()
            await hb.ctx.flush(Asked, timeout=5, without={own, closed})
            async with hb.ctx.scope("inner", isolated=True):
                elsewhere = hb.ctx.subscribe(Asked)
            for without, kind, says in (
                (own, TypeError, "write without=[...]"),
                (5, TypeError, "a list of subscriptions for without=, not 5"),
                ([Asked], TypeError, "goes without subscriptions only, not <class"),
                ([own, other], ValueError, "take <Subscription Answered pending=0 open> out"),
                ([elsewhere], ValueError, "of another type or bus"),
            ):
                for event_type in (Asked, Answered) if without != [own, other] else (Asked,):
                    with pytest.raises(kind, match=re.escape(says)):
                        await hb.ctx.flush(event_type, without=without)

    async def test_spawn_takes_what_it_can_run_once(self, hb: Any) -> None:
        """Guarantee 5.3."""

        async def numbers() -> Any:
            yield 1

        async def work(number: int = 1) -> int:
            await asyncio.sleep(0)
            return number

        async with hb.ctx.scope("test"):
            for function in (numbers, partial(numbers), lambda: (yield)):
                with pytest.raises(TypeError, match="has a `yield`, and a call of it runs nothing"):
                    hb.ctx.spawn(function)
            coroutine = work()
            task = hb.ctx.spawn(coroutine)
            for _ in range(3):
                with pytest.raises(ValueError, match="a coroutine once, and <coroutine .*work"):
                    hb.ctx.spawn(coroutine)
                await asyncio.sleep(0)
            assert await task == 1
            elsewhere = asyncio.get_running_loop().create_task(work(2))
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="runs already, or has run"):
                hb.ctx.spawn(elsewhere.get_coro())
            assert await elsewhere == 2

    @pytest.mark.parametrize(
        ("arguments", "names", "says"),
        [
            (("happened",), {}, "record(event=...)"),
            ((), {"event": 5}, "a str for event=, not 5"),
            ((), {"metric": 5, "value": 1}, "a str for metric=, not 5"),
            ((), {"metric": "m", "value": "1"}, "a number for value=, not '1'"),
            ((), {"metric": "m", "value": 1, "unit": 5}, "a str for unit=, not 5"),
            ((), {"event": "e", "attributes": [1]}, "a mapping of names and values"),
            ((logging.INFO,), {}, "needs an event, a metric or attributes"),
        ],
    )
    async def test_record_names_what_it_cannot_record(
        self, hb: Any, arguments: Any, names: Any, says: str
    ) -> None:
        """Guarantee 8.1: whoever is told of it, and in no scope, too."""
        with pytest.raises(TypeError, match=re.escape(says)):
            hb.ctx.record(*arguments, **names)

    async def test_what_is_given_in_the_wrong_place_is_refused_at_once(self, hb: Any) -> None:
        """Guarantee 2.10, 4.1, 5.1."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Asked)
            for call, kind, says in (
                (lambda: hb.ctx.subscribe(Asked, 5), TypeError, "positional"),
                (lambda: hb.ctx.flush(Asked, 5), TypeError, "positional"),
                (lambda: subscription.batches("3"), TypeError, "at least one event, not '3'"),
                (lambda: subscription.batches(limit=True), TypeError, "not True"),
                (lambda: subscription.batches(0), ValueError, "not 0"),
                (lambda: hb.ctx.scope(Asked), TypeError, 'write ctx.scope("name", ...)'),
                (lambda: hb.ctx.scope("test", disposables=1), TypeError, "write [1]"),
                (
                    lambda: hb.ctx.scope("test", turn="1"),
                    TypeError,
                    "turn= takes a time in seconds",
                ),
                (
                    lambda: hb.ctx.scope("test", turn=True),
                    TypeError,
                    "turn= takes a time in seconds",
                ),
                (lambda: hb.ctx.scope("test", turn=0), ValueError, "more than 0, not 0"),
                (lambda: hb.ctx.scope("test", turn=-0.1), ValueError, "more than 0, not -0.1"),
                (
                    lambda: hb.ctx.scope("test", turn=float("nan")),
                    ValueError,
                    "more than 0, not nan",
                ),
                (lambda: hb.ctx.state(Asked), TypeError, "a class of State, not <class"),
            ):
                with pytest.raises(kind, match=re.escape(says)):
                    call()
            with pytest.raises(TypeError, match="pass the class itself"):
                await hb.ctx.flush(Asked())

    async def test_a_time_of_a_bus_is_said_where_the_bus_is_made(self, hb: Any) -> None:
        """Guarantee 2.6."""
        async with hb.ctx.scope("outer", turn=1):
            with pytest.raises(TypeError, match="'inner' uses that of 'outer': give it there"):
                async with hb.ctx.scope("inner", turn=0.01):
                    pass
            async with hb.ctx.scope("inner", turn=0.01, isolated=True):
                pass

"""The StopIterations of reads that are stepped by hand, as a tool or a library does: kept, written to, found.

python -P by_hand.py CASE ...
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import sys
import threading
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import ref

from cases import case, caught, clean, main, sent
from sources import Event

from haiway_bus import ctx


@case
async def several_at_a_time() -> None:
    """However many are alive at once, and in whatever order they are let go: each keeps its event, and no other."""
    for number in range(1, 5):
        for order in itertools.permutations(range(number)):
            subscription = sent(*range(number + 1))
            held = {index: caught(subscription) for index in range(number)}
            refs = {index: ref(stop.value) for index, stop in held.items()}
            for index in order:
                for left, stop in held.items():
                    clean(stop, left)
                del held[index], stop
                assert {left for left in refs if refs[left]() is not None} == set(held)
            clean(caught(subscription), number)


@case
async def thousands_at_a_time() -> None:
    subscription = sent(*range(500))
    held = [caught(subscription) for _ in range(500)]
    assert [stop.value.number for stop in held] == list(range(500))
    del held[::2]
    assert [stop.value.number for stop in held] == list(range(1, 500, 2))
    held.clear()
    subscription = sent(1)
    clean(caught(subscription), 1)


@case
async def outlives_its_read() -> None:
    """A caught StopIteration keeps its event when the read is let go, and when other reads are."""
    subscription = sent(1, 2, 3)
    first, second, third = (anext(subscription) for _ in range(3))
    for read in (second, third):
        if asyncio.iscoroutine(read):
            read.close()
    try:
        next(steps := first.__await__())
    except StopIteration as caught_one:
        stop = caught_one
    del third, read
    del steps, first
    assert stop.value.number == 1
    del second
    assert stop.value.number == 1
    clean(caught(subscription), 2)
    assert stop.value.number == 1


@case
async def read_while_an_event_goes() -> None:
    """The __del__ of an event reads the next one, whose __del__ reads the next."""
    gone: list[int] = []

    class Reading:
        def __init__(self, number: int) -> None:
            self.number = number

        def __del__(self) -> None:
            gone.append(self.number)
            if subscription.pending:
                try:
                    next(anext(subscription).__await__())
                except StopIteration as stop:
                    gone.append(-stop.value.number)

    for take in (caught, lambda one: next(anext(one).__await__(), None), None):
        subscription = ctx.subscribe(Reading)
        for number in range(1, 40):
            ctx.send(Reading(number))
        if take is None:
            event = await anext(subscription)
            del event
        else:
            take(subscription)
        assert gone[0] == 1 or gone[0] == -2, gone
        assert sorted(abs(number) for number in gone) == sorted([1, *range(2, 40), *range(2, 40)])
        gone.clear()


@case
async def events_of_any_kind() -> None:
    """A tuple and an exception are handed over as they are."""

    class Pair(NamedTuple):
        one: int
        two: int

    class Trouble(Exception):
        pass

    class Stop(StopIteration):
        pass

    for event in (Pair(1, 2), Trouble("x"), Stop(3)):
        subscription = ctx.subscribe(type(event))
        for _ in range(3):
            ctx.send(event)
        assert await anext(subscription) is event
        assert caught(subscription).value is event
        async for same in subscription:
            assert same is event
            break
        assert not isinstance(event, BaseException) or event.__context__ is None


@case
async def found_by_the_collector() -> None:
    """Whoever finds it by gc, in a read or between two, does not see it change; and no event is found through it."""

    def stops() -> list[StopIteration]:
        return [one for one in gc.get_objects() if type(one) is StopIteration]

    subscription = sent(*range(6))
    event = await anext(subscription)
    assert not [one for one in gc.get_referrers(event) if isinstance(one, BaseException)]
    held = [(stop, stop.value) for stop in stops()]
    async for event in subscription:
        assert not [one for one in gc.get_referrers(event) if isinstance(one, BaseException)]
        assert all(stop.value is value for stop, value in held)
        held += [(stop, stop.value) for stop in stops()]
        if event.number == 4:
            break
    assert all(stop.value is value for stop, value in held)
    held.clear()
    clean(caught(subscription), 5)


@case
async def held_by_other_threads() -> None:
    """Caught in one thread and let go in another, while both read."""
    given: list[StopIteration] = []
    wrong: list[str] = []

    async def read() -> None:
        async with ctx.scope("thread", turn=math.inf):
            subscription = sent(*range(900))
            for number in range(900):
                stop = caught(subscription)
                if stop.value.number != number:
                    wrong.append(f"{stop.value} in the place of {number}")
                given.append(stop)
                del stop
                if len(given) > 5:
                    given.pop(0)

    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]


@case
async def near_the_recursion_limit() -> None:
    """Wherever the limit is met, reads go on afterwards, in order, and what got lost on the way is not held."""
    subscription = sent(*range(2000))
    alive: list[ref[Event]] = []
    took: list[int] = []

    def down(depth: int) -> None:
        if depth:
            down(depth - 1)
            return
        event = caught(subscription).value
        alive.append(ref(event))
        took.append(event.number)

    def look(frame: Any, event: str, argument: Any) -> Any:
        return look

    sys.setrecursionlimit(150)
    for traced in (False, True):
        for depth in range(60, 150):
            sys.settrace(look if traced else None)
            with suppress(RecursionError):
                down(depth)
            sys.settrace(None)
    sys.setrecursionlimit(1000)
    assert took == sorted(set(took))
    assert took
    assert not [one for one in alive if one() is not None]
    number = (await anext(subscription)).number
    assert number > took[-1]
    clean(caught(subscription), number + 1)


if __name__ == "__main__":
    main()

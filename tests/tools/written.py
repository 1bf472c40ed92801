"""What is written to the StopIteration of a read is its own, and nobody else's.

python -P written.py CASE ...
"""

from __future__ import annotations

import copy
import gc
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

from cases import case, caught, clean, main, sent, stopped
from sources import Event


@case
async def written_to() -> None:
    """What is written to one is seen at no other, and lives no longer than it does."""

    class Thing:
        pass

    class Trouble(Exception):
        pass

    subscription = sent(*range(6))

    def written(number: int) -> list[ref[Any]]:
        stop: Any = caught(subscription)
        clean(stop, number)
        things = [Thing() for _ in range(3)]
        errors = [Trouble("context"), Trouble("cause")]
        refs: list[ref[Any]] = [ref(one) for one in (*things, *errors, stop.value)]
        stop.add_note("note")
        stop.thing = things[0]
        stop.args = (things[1],)
        stop.__context__, stop.__cause__ = errors
        if number % 2:
            stop.value = things[2]
        return refs

    for number in range(5):
        assert [one() for one in written(number)] == [None] * 6
    clean(caught(subscription), 5)


@case
async def written_to_in_passing() -> None:
    """What a tracer that keeps nothing writes to one is not seen at a later one, whichever thing it is."""

    class Thing:
        pass

    def traceback_of(exception: Exception) -> Any:
        try:
            raise exception
        except Exception as raised:
            return raised.__traceback__

    writes: list[Callable[[Any, Any], None]] = [
        lambda stop, thing: stop.add_note("note"),
        lambda stop, thing: setattr(stop, "__notes__", [thing]),
        lambda stop, thing: setattr(stop, "args", (thing,)),
        lambda stop, thing: setattr(stop, "thing", thing),
        lambda stop, thing: setattr(stop, "__context__", Exception(thing)),
        lambda stop, thing: setattr(stop, "__cause__", Exception(thing)),
        lambda stop, thing: setattr(stop, "__suppress_context__", True),
        lambda stop, thing: setattr(stop, "__traceback__", traceback_of(Exception(thing))),
    ]
    for write in writes:
        subscription = sent(*range(6))
        things: list[ref[Thing]] = []

        def look(
            frame: Any, event: str, argument: Any, write: Any = write, things: Any = things
        ) -> Any:
            if event == "exception" and isinstance(argument[1], StopIteration):
                thing = Thing()
                things.append(ref(thing))
                write(argument[1], thing)
            return look

        async def read(subscription: Any = subscription) -> None:
            async for event in subscription:
                if event.number == 3:
                    break

        sys.settrace(look)
        await read()
        sys.settrace(None)
        assert (await anext(subscription)).number == 4
        clean(caught(subscription), 5)
        gc.collect()  # Thing is seen by the frame of the traceback that it was written with
        assert not [thing for thing in things if thing() is not None]
        subscription.close()


@case
async def raised_again() -> None:
    """By who caught it: plainly, out of a generator, out of a coroutine, as a cause, in a group."""
    subscription = sent(*range(8))

    def again(stop: StopIteration) -> None:
        raise stop

    def generator(stop: StopIteration) -> Iterator[None]:
        yield
        raise stop

    async def coroutine(stop: StopIteration) -> None:
        raise stop

    def chained(stop: StopIteration) -> None:
        raise ValueError from stop

    def raised(number: int) -> ref[Event]:
        stop = caught(subscription)
        assert stopped(again, stop) is stop
        for error in (stopped(list, generator(stop)), stopped(coroutine(stop).send, None)):
            assert type(error) is RuntimeError
            assert error.__cause__ is stop
        assert stopped(chained, stop).__cause__ is stop
        group = ExceptionGroup("both", [stop, ValueError()])
        assert group.split(StopIteration)[0].exceptions == (stop,)
        assert stop.value.number == number
        return ref(stop.value)

    for number in range(7):
        event = raised(number)
        gc.collect()  # an exception and the frame that it went through hold each other
        assert event() is None
    clean(caught(subscription), 7)


@case
async def copied() -> None:
    subscription = sent(1, 2, 3)
    stop = caught(subscription)
    twin = copy.copy(stop)
    assert type(twin) is StopIteration
    assert twin is not stop
    assert type(pickle.loads(pickle.dumps(stop))) is StopIteration
    other = caught(subscription)
    clean(stop, 1)
    clean(other, 2)
    del stop, twin, other
    clean(caught(subscription), 3)


if __name__ == "__main__":
    main()

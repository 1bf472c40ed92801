"""What the cases of `by_hand.py`, `written.py` and `leftovers.py` have in common."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
from collections.abc import Callable
from typing import Any

from apart import each
from sources import Event

from haiway_bus import ctx

CASES: dict[str, Callable[[], Any]] = {}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[function.__name__] = function
    return function


def caught(subscription: Any) -> StopIteration:
    """The StopIteration that hands over the next event, as whoever steps a read by hand gets it."""
    try:
        next(anext(subscription).__await__())
    except StopIteration as stop:
        return stop.with_traceback(None)  # whose frames would hold whoever holds it
    raise AssertionError("no event")


def stopped(function: Callable[..., Any], *arguments: Any) -> Any:
    """The exception with which the call ends."""
    try:
        function(*arguments)
    except Exception as raised:
        return raised.with_traceback(None)
    raise AssertionError("nothing was raised")


def sent(*numbers: int) -> Any:
    subscription = ctx.subscribe(Event)
    for number in numbers:
        ctx.send(Event(number))
    return subscription


def clean(stop: StopIteration, number: int) -> None:
    """It is as if it had been made for this event."""
    assert type(stop) is StopIteration
    assert stop.value.number == number
    assert stop.args in ((), (stop.value,))
    assert (stop.__cause__, stop.__context__, stop.__suppress_context__) == (None, None, False)
    assert stop.__dict__ == {}
    assert not hasattr(stop, "__notes__")
    assert stop.__traceback__ is None


def main() -> None:
    """Run the cases that are named. With the collector switched off: what dies then died by its reference count."""

    async def run(name: str) -> None:
        async with ctx.scope("case", turn=math.inf):
            await CASES[name]()

    gc.disable()
    logging.disable()  # of what is left unread
    each(sys.argv[1:], lambda name: asyncio.run(run(name)))

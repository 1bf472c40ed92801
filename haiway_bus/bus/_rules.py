"""The refusals of the bus, worded once for both twins, and the test of what can be an event.

The twins call these on their cold paths only: a refusal ends the call, so its cost does not matter, and
two backends that share the words cannot come to differ in them.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop, QueueEmpty
from collections.abc import Coroutine
from reprlib import repr as short
from typing import Any, Final

from haiway_bus.errors import ContextMissing, SubscriptionClosed, SubscriptionOverflow

# Bits of PyTypeObject.tp_flags. A class statement makes a heap type that stays mutable; what C code brings is
# either static or (the standard library's heap types) immutable; instances of a metaclass are classes themselves.
_HEAP_TYPE: Final = 1 << 9
_IMMUTABLE_TYPE: Final = 1 << 8
_TYPE_SUBCLASS: Final = 1 << 31
EVENT_TYPE_MASK: Final = _HEAP_TYPE | _IMMUTABLE_TYPE | _TYPE_SUBCLASS
EVENT_TYPE_FLAGS: Final = _HEAP_TYPE

DROP_OLDEST: Final = "drop_oldest"
DROP_NEWEST: Final = "drop_newest"
RAISE: Final = "raise"
OVERFLOWS: Final = (DROP_OLDEST, DROP_NEWEST, RAISE)

# How many subscriptions the error of flush() names.
NAMED: Final = 10

_DEFINE = "define a class for it: a State, a dataclass, a NamedTuple"


def event_refused(event: object) -> TypeError:
    """The error for what cannot be sent (contract 1.4)."""
    if event is None:
        return TypeError(f"send() takes an event, not None: {_DEFINE}")
    if isinstance(event, type):
        name = event.__qualname__
        return TypeError(
            f"send() takes an event, not a class: {name} was given, send an instance: {name}(...)"
        )
    kind = type(event)
    if isinstance(event, Coroutine):
        return TypeError(
            f"send() takes an event, not a coroutine: {event!r} was given, await it and send what it returns"
        )
    return TypeError(
        f"send() takes an instance of a class defined in Python, not the built-in {kind.__qualname__}:"
        f" {short(event)} was given, {_DEFINE}"
    )


def check_type(call: str, event_type: Any) -> None:
    """Raise TypeError for what is no class of events (contract 1.4)."""
    # Not isinstance(): a proxy of a class says that it is one, and is not what `type(event)` is.
    if not issubclass(type(event_type), type):
        given = type(event_type).__qualname__
        raise TypeError(
            f"{call} takes a class of events, not an instance of {given}:"
            f" {short(event_type)} was given, pass the class itself"
        )
    if event_type.__flags__ & EVENT_TYPE_MASK == EVENT_TYPE_FLAGS:
        return
    name = event_type.__qualname__
    if issubclass(event_type, type):
        raise TypeError(
            f"{call} takes a class of events, not a metaclass: the instances of {name} are classes"
        )
    raise TypeError(f"{call} takes a class defined in Python, not the built-in {name}: {_DEFINE}")


def check_timeout(call: str, timeout: object) -> None:
    """Raise TypeError or ValueError for what is no number of seconds."""
    if timeout is None:
        return
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise TypeError(f"{call} takes a timeout in seconds, a number, not {timeout!r}")
    if timeout != timeout:
        raise ValueError(f"{call} takes a timeout in seconds, not {timeout!r}")


def no_scope(call: str) -> ContextMissing:
    """The error for a call that found no scope (contract 5.2)."""
    return ContextMissing(
        f"{call} needs a scope and none is open here: open one with `async with ctx.scope(name):`,"
        " or, in a thread or callback that did not inherit one, enter it with `with scope.attach():`"
    )


def bus_ended(call: str, name: str) -> ContextMissing:
    """The error for a call on the bus of a scope that has ended (contract 5.6)."""
    return ContextMissing(
        f"{call} came after the scope {name!r} had ended, and its bus with it:"
        " call it before the scope's end, or open a scope of its own"
    )


def nothing_waits(subscription: object) -> QueueEmpty:
    """The error for a read that must not wait and found nothing for it (contract 2.10)."""
    return QueueEmpty(
        f"no event for receive_nowait() in {subscription!r}: await anext() to wait for one"
    )


def subscription_closed(subscription: object) -> SubscriptionClosed:
    """The error of first() when the subscription ended before an event came that it was to give (contract 2.12)."""
    return SubscriptionClosed(f"{subscription!r} ended before the event of first() came")


def first_timed_out(subscription: object, timeout: float | None) -> TimeoutError:
    """The error of first() after its time (contract 2.12)."""
    return TimeoutError(f"no event for first() of {subscription!r} within {timeout} s")


def flush_timed_out(
    event_type: type[Any], timeout: float | None, behind: list[tuple[object, int]], left: int
) -> TimeoutError:
    """The error of flush() after its time (contract 4.4). `behind` are the first NAMED of `left` subscriptions."""
    named = [
        f"{subscription!r} is behind by {number}"
        if number
        else f"{subscription!r} took all, but is still at work"
        for subscription, number in behind
    ]
    shown = "; ".join(named) + (f"; and {left - NAMED} more" if left > NAMED else "")
    return TimeoutError(f"flush() of {event_type.__qualname__} waited {timeout} s: {shown}")


def overflowed(event_type: type[Any], limit: int, lost: int) -> SubscriptionOverflow:
    """What the reader of a subscription with overflow="raise" gets in place of the events it lost (contract 4.1)."""
    return SubscriptionOverflow(
        f"events of {event_type.__qualname__} lost here: {lost}, as the subscription holds at most {limit};"
        " reading goes on with the next",
        lost,
    )


def overflow_of(limit: object, overflow: object) -> str:
    """Which way a subscription with this limit overflows; "" for none (contract 4.1).

    Raises TypeError or ValueError for what is no limit or no way to overflow.
    """
    if limit is None:
        if overflow is not None:
            raise TypeError(
                f"subscribe() takes overflow={overflow!r} with a limit only: give limit=n"
            )
        return ""
    check_limit("subscribe()", limit)
    if overflow is None:
        return DROP_OLDEST
    if not isinstance(overflow, str) or overflow not in OVERFLOWS:
        known = ", ".join(map(repr, OVERFLOWS))
        raise ValueError(f"subscribe() knows the overflows {known}, not {overflow!r}")
    # The string of this module, which the compiled twin knows by its address.
    return OVERFLOWS[OVERFLOWS.index(overflow)]


def check_limit(call: str, limit: object) -> None:
    """Raise TypeError or ValueError for a limit that is no number of events."""
    is_number = isinstance(limit, int) and not isinstance(limit, bool)
    if not is_number or limit < 1:  # type: ignore[operator]
        kind = ValueError if is_number else TypeError
        raise kind(f"{call} takes a limit of at least one event, not {limit!r}")


def loop_closed(call: str, name: str) -> RuntimeError:
    """The error for a call from another thread when the loop of the bus is closed (contract 6.2)."""
    return RuntimeError(
        f"{call} came after the loop of the scope {name!r} was closed: nobody can deliver the event any more"
    )


def elsewhere(call: str, home: AbstractEventLoop, thread: int, here: Any) -> RuntimeError:
    """The error for a call from another loop or thread than the bus's own (contract 6.1)."""
    running = "no running loop" if here is None else repr(here)
    return RuntimeError(
        f"{call} belongs to the loop and thread of its bus, {home!r} in thread {thread},"
        f" and was called with {running} in thread {threading.get_ident()}:"
        " move the call there, or give this loop a scope of its own"
    )

"""The errors of the bus, worded once for both twins, and the check of what can be an event.

The twins call these on their cold paths only: a refusal ends the call, so its cost does not matter, and
two backends that share the words cannot come to differ in them.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop, QueueEmpty
from operator import index
from typing import Any, Final
from weakref import ref

from haiway_bus._common.arguments import is_class, is_coroutine, is_number, is_seconds, offers
from haiway_bus._common.printable import described, name_of_type
from haiway_bus.errors import ContextMissing, SubscriptionClosed, SubscriptionOverflow

# Bits of PyTypeObject.tp_flags. A class statement makes a heap type that is mutable and can be a base. A class from C
# code is static, or immutable, or cannot be a base (struct_time, the objects of zlib). Instances of a metaclass are
# classes. PyPy sets the first bit for classes written in Python, and no other bit.
_HEAP_TYPE: Final = 1 << 9
_IMMUTABLE_TYPE: Final = 1 << 8
_BASE_TYPE: Final = 1 << 10
_TYPE_SUBCLASS: Final = 1 << 31
_MASK: Final = _HEAP_TYPE | _IMMUTABLE_TYPE | _BASE_TYPE | _TYPE_SUBCLASS


class _Defined:
    """The flags of a class that a class statement makes."""


_FLAGS: Final = _Defined.__flags__ & _MASK

# The descriptors of `type` itself, so that no code of a metaclass runs.
_flags: Final[Any] = type.__dict__["__flags__"].__get__

# The classes that were checked before, by identity. A look-up here is faster, and runs no code of a metaclass.
KNOWN: Final[dict[int, ref[type[Any]]]] = {}

DROP_OLDEST: Final = "drop_oldest"
DROP_NEWEST: Final = "drop_newest"
RAISE: Final = "raise"
OVERFLOWS: Final = (DROP_OLDEST, DROP_NEWEST, RAISE)

# Why a bus ended before its scope; "" if it did not.
FORKED: Final = "forked"
LOOP_CLOSED: Final = "loop closed"
# Seconds that the readers of a bus may run in a turn of the loop, unless the scope sets `turn`.
TURN: Final = 0.005
# The number of subscriptions that the error of flush() names.
NAMED: Final = 10

_DEFINE = "define a class for it: a State, a dataclass, a NamedTuple"
_APART = "open a scope here that has its own bus: `async with ctx.scope(name, isolated=True):`"


def is_event_type(kind: type[Any]) -> bool:
    """Whether instances of the class can be events (guarantee 1.4).

    ExceptionGroup is made as a class statement makes one, unlike all other built-in exceptions. So are the exceptions
    of some C modules (zlib.error), which nothing tells apart from a user's own.
    """
    key = id(kind)
    if key in KNOWN:
        return True
    flags = _flags(kind) & _MASK
    if flags != _FLAGS or kind is ExceptionGroup or issubclass(kind, type):
        return False
    KNOWN[key] = ref(kind, lambda _: KNOWN.pop(key, None))
    return True


def event_refused(event: Any) -> TypeError:
    """The error for an object that cannot be an event (guarantee 1.4)."""
    if event is None:
        return TypeError(f"send() takes an event, not None: {_DEFINE}")
    if is_class(event):
        name = name_of_type(event)
        return TypeError(
            f"send() takes an event, not a class: {name} was given, send an instance: {name}(...)"
        )
    if is_coroutine(event):
        return TypeError(
            f"send() takes an event, not a coroutine: {described(event)} was given,"
            " await it and send what it returns"
        )
    return TypeError(
        "send() takes an instance of a class defined in Python, not the built-in"
        f" {name_of_type(type(event))}: {described(event)} was given, {_DEFINE}"
    )


def check_type(call: str, event_type: Any) -> None:
    """Raise TypeError if instances of the class cannot be events (guarantee 1.4)."""
    # Not isinstance(): a proxy of a class claims to be a class, but no event has it as its type.
    if not is_class(event_type):
        given = name_of_type(type(event_type))
        raise TypeError(
            f"{call} takes a class of events, not an instance of {given}:"
            f" {described(event_type)} was given, pass the class itself"
        )
    if is_event_type(event_type):
        return
    name = name_of_type(event_type)
    if issubclass(event_type, type):
        raise TypeError(
            f"{call} takes a class of events, not a metaclass: the instances of {name} are classes"
        )
    raise TypeError(f"{call} takes a class defined in Python, not the built-in {name}: {_DEFINE}")


def check_timeout(call: str, timeout: object) -> None:
    """Raise TypeError or ValueError if the time-out is neither None nor a number of seconds."""
    if timeout is None:
        return
    if not is_number(timeout):
        raise TypeError(f"{call} takes a timeout in seconds, a number, not {described(timeout)}")
    if not is_seconds(timeout):
        raise ValueError(
            f"{call} takes a timeout in seconds, not {described(timeout)}: give None to wait without one"
        )


def check_turn(turn: object) -> None:
    """Raise TypeError or ValueError if `turn` is not a positive number of seconds."""
    if not is_number(turn):
        raise TypeError(f"turn= takes a time in seconds, a number, not {described(turn)}")
    if not is_seconds(turn) or turn <= 0:  # type: ignore[operator]
        raise ValueError(f"turn= takes a time in seconds, more than 0, not {described(turn)}")


def apart_from(event_type: type[Any], without: Any, bus: Any, kind: type[Any]) -> set[int]:
    """The ids of the subscriptions that flush() does not wait for. `kind` is their class.

    Raises TypeError for anything but a list of subscriptions, ValueError for a subscription of another type or bus.
    """
    if issubclass(type(without), kind) or not offers(without, "__iter__"):
        raise TypeError(
            f"flush() takes a list of subscriptions for without=, not {described(without)}: write without=[...]"
        )
    apart = set()
    for one in without:
        if not issubclass(type(one), kind):
            raise TypeError(f"flush() goes without subscriptions only, not {described(one)}")
        channel = one._channel
        if channel.bus is not bus or channel.event_type is not event_type:
            raise ValueError(
                f"flush() of {name_of_type(event_type)} waits for no subscription of another type or bus:"
                f" take {described(one)} out of without="
            )
        apart.add(id(one))
    return apart


def no_scope(call: str) -> ContextMissing:
    """The error for a call that found no scope (guarantee 5.2)."""
    return ContextMissing(
        f"{call} needs a scope and none is open here: open one with `async with ctx.scope(name):`,"
        " or, in a thread or callback that did not inherit one, enter it with `with scope.attach():`"
    )


def bus_over(call: str, name: str, lost: str) -> ContextMissing:
    """The error for a call on a bus that has ended, with its scope or before it (guarantees 5.6, 6.2, 6.3)."""
    if lost == FORKED:
        return ContextMissing(
            f"{call} needs a scope, and the scope {described(name)} belongs to the process from which this one was"
            " forked: open one here, by `async with ctx.scope(name):` in `asyncio.run(...)`, or hand the result back to"
            " that process and send it there"
        )
    if lost == LOOP_CLOSED:
        return loop_closed(call, name)
    return ContextMissing(
        f"{call} came after the scope {described(name)} had ended, and its bus with it: call it before the scope's end,"
        f" or {_APART}"
    )


def readers_ended(call: str, name: str) -> ContextMissing:
    """The error for a call from another thread at the end of a scope, after its readers have ended (guarantee 6.2)."""
    return ContextMissing(
        f"{call} came from a thread when the readers of the scope {described(name)} had ended: stop the thread before"
        " the end of the scope's body, or let it take this error as its sign to stop"
    )


def nothing_waits(subscription: object) -> QueueEmpty:
    """The error of receive_nowait() without a waiting event (guarantee 2.10)."""
    return QueueEmpty(
        f"no event for receive_nowait() in {subscription!r}: await anext() to wait for one"
    )


def subscription_closed(subscription: object) -> SubscriptionClosed:
    """The error of first() when the subscription ends before the event comes (guarantee 2.12)."""
    return SubscriptionClosed(f"{subscription!r} ended before the event of first() came")


def first_timed_out(subscription: object, timeout: float | None) -> TimeoutError:
    """The error of first() after its time (guarantee 2.12)."""
    return TimeoutError(f"no event for first() of {subscription!r} within {timeout} s")


def flush_timed_out(
    event_type: type[Any], timeout: float | None, behind: list[tuple[object, int, str]], left: int
) -> TimeoutError:
    """The error of flush() after its time (guarantee 4.4). `behind` holds the first NAMED of `left` subscriptions,
    each with the number of events that it is behind, and its readers as far as they are known."""
    named = [
        f"{subscription!r} is behind by {number}{whose}"
        if number
        else f"{subscription!r} took all, but is still at work{whose}"
        for subscription, number, whose in behind
    ]
    shown = "; ".join(named) + (f"; and {left - NAMED} more" if left > NAMED else "")
    return TimeoutError(f"flush() of {name_of_type(event_type)} waited {timeout} s: {shown}")


def overflowed(event_type: type[Any], limit: int, lost: int) -> SubscriptionOverflow:
    """The error that a reader gets in place of lost events, with overflow="raise" (guarantee 4.1)."""
    return SubscriptionOverflow(
        f"events of {name_of_type(event_type)} lost here: {lost}, as the subscription holds at most {limit};"
        " reading goes on with the next",
        lost,
    )


def overflow_of(limit: object, overflow: object) -> str:
    """The overflow policy of a subscription; "" without a limit (guarantee 4.1).

    Raises TypeError or ValueError for what is no limit or no way to overflow.
    """
    if limit is None:
        if overflow is not None:
            raise TypeError(
                f"subscribe() takes overflow={described(overflow)} with a limit only: give limit=n"
            )
        return ""
    check_limit("subscribe()", limit)
    if overflow is None:
        return DROP_OLDEST
    if not issubclass(type(overflow), str) or str.__str__(overflow) not in OVERFLOWS:
        known = ", ".join(map(repr, OVERFLOWS))
        raise ValueError(f"subscribe() knows the overflows {known}, not {described(overflow)}")
    # The very string of this module, as the compiled twin compares it by address.
    return OVERFLOWS[OVERFLOWS.index(str.__str__(overflow))]


def check_limit(call: str, limit: Any) -> None:
    """Raise TypeError or ValueError if the limit is not a positive whole number."""
    is_count = issubclass(type(limit), int) and type(limit) is not bool
    if not is_count or index(limit) < 1:
        kind = ValueError if is_count else TypeError
        raise kind(f"{call} takes a limit of at least one event, not {described(limit)}")


def loop_closed(call: str, name: str) -> ContextMissing:
    """The error for a call after the loop of the bus was closed (guarantee 6.2)."""
    return ContextMissing(
        f"{call} came after the loop of the scope {described(name)} was closed, where nobody can read any more: leave"
        f" the scope before its loop ends, or {_APART}"
    )


def elsewhere(call: str, home: AbstractEventLoop, thread: int, here: Any) -> RuntimeError:
    """The error for a call from another loop or thread than the bus's own (guarantee 6.1)."""
    place = (
        f"{call} belongs to the loop and thread of its bus, {described(home)} in thread {thread},"
    )
    if here is home:
        return RuntimeError(
            f"{place} and that loop is run in thread {threading.get_ident()} now:"
            " run it in one thread for as long as the scope is open, or open the scope where it is run"
        )
    running = "no running loop" if here is None else described(here)
    way_out = (
        "that loop is closed, leave the scope before its loop ends"
        if home.is_closed()
        else "move the call there (asyncio.run_coroutine_threadsafe does)"
    )
    return RuntimeError(
        f"{place} and was called with {running} in thread {threading.get_ident()}: {way_out}, or {_APART}"
    )

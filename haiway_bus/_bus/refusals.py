"""The refusals of the bus, worded once for both twins, and the test of what can be an event.

The twins call these on their cold paths only: a refusal ends the call, so its cost does not matter, and
two backends that share the words cannot come to differ in them.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop, QueueEmpty
from operator import index
from typing import Any, Final
from weakref import ref

from haiway_bus._values.arguments import is_class, is_coroutine, is_number, is_seconds, offers
from haiway_bus._values.printable import described, name_of_type
from haiway_bus.errors import ContextMissing, SubscriptionClosed, SubscriptionOverflow

# Bits of PyTypeObject.tp_flags. A class statement makes a heap type that stays mutable and can be a base; what C code
# brings is static, or immutable, or (struct_time, zlib's objects) cannot be a base; instances of a metaclass are
# classes themselves.
# PyPy sets the first bit alike, for what is written in Python, and leaves all others unset.
_HEAP_TYPE: Final = 1 << 9
_IMMUTABLE_TYPE: Final = 1 << 8
_BASE_TYPE: Final = 1 << 10
_TYPE_SUBCLASS: Final = 1 << 31
_MASK: Final = _HEAP_TYPE | _IMMUTABLE_TYPE | _BASE_TYPE | _TYPE_SUBCLASS


class _Defined:
    """What a class statement makes."""


_FLAGS: Final = _Defined.__flags__ & _MASK

# As `type` itself has them: no code of a metaclass runs.
_flags: Final[Any] = type.__dict__["__flags__"].__get__

# The classes of which this was found out, by identity: faster to ask than the class, and again without its metaclass.
KNOWN: Final[dict[int, ref[type[Any]]]] = {}

DROP_OLDEST: Final = "drop_oldest"
DROP_NEWEST: Final = "drop_newest"
RAISE: Final = "raise"
OVERFLOWS: Final = (DROP_OLDEST, DROP_NEWEST, RAISE)

# Why a bus was lost to its scope; "" says that it was not.
FORKED: Final = "forked"
LOOP_CLOSED: Final = "loop closed"
# How many seconds the readers of one bus have in a turn of the loop, unless a scope says otherwise.
TURN: Final = 0.005
# How many subscriptions the error of flush() names.
NAMED: Final = 10

_DEFINE = "define a class for it: a State, a dataclass, a NamedTuple"
_APART = "open a scope here that has its own bus: `async with ctx.scope(name, isolated=True):`"


def is_event_type(kind: type[Any]) -> bool:
    """Whether its instances can be events (guarantee 1.4).

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
    """The error for what cannot be sent (guarantee 1.4)."""
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
    """Raise TypeError for what is no class of events (guarantee 1.4)."""
    # Not isinstance(): a proxy of a class says that it is one, and is not what `type(event)` is.
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
    """Raise TypeError or ValueError for what is no number of seconds."""
    if timeout is None:
        return
    if not is_number(timeout):
        raise TypeError(f"{call} takes a timeout in seconds, a number, not {described(timeout)}")
    if not is_seconds(timeout):
        raise ValueError(
            f"{call} takes a timeout in seconds, not {described(timeout)}: give None to wait without one"
        )


def check_turn(turn: object) -> None:
    """Raise TypeError or ValueError for what is no time that readers can have."""
    if not is_number(turn):
        raise TypeError(f"turn= takes a time in seconds, a number, not {described(turn)}")
    if not is_seconds(turn) or turn <= 0:  # type: ignore[operator]
        raise ValueError(f"turn= takes a time in seconds, more than 0, not {described(turn)}")


def apart_from(event_type: type[Any], without: Any, bus: Any, kind: type[Any]) -> set[int]:
    """The ids of the subscriptions that flush() is not to wait for; `kind` is the class of them.

    Raises TypeError for what is no list of subscriptions, ValueError for one that flush() would not wait for anyhow.
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
    """The error for a call on a bus that has ended, with its scope or without (guarantee 5.6, guarantee 6.2, 6.3)."""
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
    """The error for a call from another thread at the end of a scope, when nobody reads any more (guarantee 6.2)."""
    return ContextMissing(
        f"{call} came from a thread when the readers of the scope {described(name)} had ended: stop the thread before"
        " the end of the scope's body, or let it take this error as its sign to stop"
    )


def nothing_waits(subscription: object) -> QueueEmpty:
    """The error for a read that must not wait and found nothing for it (guarantee 2.10)."""
    return QueueEmpty(
        f"no event for receive_nowait() in {subscription!r}: await anext() to wait for one"
    )


def subscription_closed(subscription: object) -> SubscriptionClosed:
    """The error of first() when the subscription ended before an event came that it was to give (guarantee 2.12)."""
    return SubscriptionClosed(f"{subscription!r} ended before the event of first() came")


def first_timed_out(subscription: object, timeout: float | None) -> TimeoutError:
    """The error of first() after its time (guarantee 2.12)."""
    return TimeoutError(f"no event for first() of {subscription!r} within {timeout} s")


def flush_timed_out(
    event_type: type[Any], timeout: float | None, behind: list[tuple[object, int, str]], left: int
) -> TimeoutError:
    """The error of flush() after its time (guarantee 4.4). `behind` are the first NAMED of `left` subscriptions,
    each with by how much and, as far as it is known, who reads it."""
    named = [
        f"{subscription!r} is behind by {number}{whose}"
        if number
        else f"{subscription!r} took all, but is still at work{whose}"
        for subscription, number, whose in behind
    ]
    shown = "; ".join(named) + (f"; and {left - NAMED} more" if left > NAMED else "")
    return TimeoutError(f"flush() of {name_of_type(event_type)} waited {timeout} s: {shown}")


def overflowed(event_type: type[Any], limit: int, lost: int) -> SubscriptionOverflow:
    """What the reader of a subscription with overflow="raise" gets in place of the events it lost (guarantee 4.1)."""
    return SubscriptionOverflow(
        f"events of {name_of_type(event_type)} lost here: {lost}, as the subscription holds at most {limit};"
        " reading goes on with the next",
        lost,
    )


def overflow_of(limit: object, overflow: object) -> str:
    """Which way a subscription with this limit overflows; "" for none (guarantee 4.1).

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
    # The string of this module, which the compiled twin knows by its address.
    return OVERFLOWS[OVERFLOWS.index(str.__str__(overflow))]


def check_limit(call: str, limit: Any) -> None:
    """Raise TypeError or ValueError for a limit that is no number of events."""
    is_count = issubclass(type(limit), int) and type(limit) is not bool
    if not is_count or index(limit) < 1:
        kind = ValueError if is_count else TypeError
        raise kind(f"{call} takes a limit of at least one event, not {described(limit)}")


def loop_closed(call: str, name: str) -> ContextMissing:
    """The error for a call when the loop of the bus is closed (guarantee 6.2)."""
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

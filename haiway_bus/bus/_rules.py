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

from haiway_bus.errors import ContextMissing

# Bits of PyTypeObject.tp_flags. A class statement makes a heap type that stays mutable; what C code brings is
# either static or (the standard library's heap types) immutable; instances of a metaclass are classes themselves.
_HEAP_TYPE: Final = 1 << 9
_IMMUTABLE_TYPE: Final = 1 << 8
_TYPE_SUBCLASS: Final = 1 << 31
EVENT_TYPE_MASK: Final = _HEAP_TYPE | _IMMUTABLE_TYPE | _TYPE_SUBCLASS
EVENT_TYPE_FLAGS: Final = _HEAP_TYPE

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


def type_refused(event_type: object) -> TypeError:
    """The error for what cannot be subscribed to (contract 1.4)."""
    if not isinstance(event_type, type):
        given = type(event_type).__qualname__
        return TypeError(
            f"subscribe() takes a class of events, not an instance of {given}:"
            f" {short(event_type)} was given, pass the class itself"
        )
    name = event_type.__qualname__
    if issubclass(event_type, type):
        return TypeError(
            f"subscribe() takes a class of events, not a metaclass: the instances of {name} are classes"
        )
    return TypeError(
        f"subscribe() takes a class defined in Python, not the built-in {name}: {_DEFINE}"
    )


def no_scope(call: str) -> ContextMissing:
    """The error for a call that found no scope (contract 5.2)."""
    return ContextMissing(
        f"{call} needs a scope and none is open here: open one with `async with ctx.scope(name):`"
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


def limit_refused(call: str, limit: object) -> TypeError | ValueError:
    """The error for a limit that is no number of events."""
    kind = ValueError if isinstance(limit, int) else TypeError
    return kind(f"{call} takes a limit of at least one event, not {limit!r}")


def elsewhere(call: str, home: AbstractEventLoop, thread: int, here: Any) -> RuntimeError:
    """The error for a call from another loop or thread than the bus's own (contract 6.1)."""
    running = "no running loop" if here is None else repr(here)
    return RuntimeError(
        f"{call} belongs to the loop and thread of its bus, {home!r} in thread {thread},"
        f" and was called with {running} in thread {threading.get_ident()}:"
        " move the call there, or give this loop a scope of its own"
    )

"""The cold paths of the cores, once for both twins: refusals, names, and the end of a subscription."""

from __future__ import annotations

from threading import get_ident
from typing import Any

from haiway_bus._bus.drops import note_closed
from haiway_bus._bus.names import caller, name_of
from haiway_bus._bus.refusals import FORKED, bus_over, elsewhere, event_refused, is_event_type
from haiway_bus._bus.stats import stats_of

__all__ = (
    "check_close",
    "deliver_first",
    "leave_from_any_thread",
    "left",
    "name_for",
    "not_at_home",
    "refuse",
    "successor",
)


def refuse(bus: Any, event: Any) -> None:
    """Raise for an unheard event that must not be dropped in silence.

    That is an object that cannot be an event, and any event after the end of the bus, or from another thread after the
    readers have ended.
    """
    if not is_event_type(type(event)):
        raise event_refused(event)
    if bus.ended:
        successor(bus, "send()").send(event)
    elif bus.strict and get_ident() != bus.thread:
        bus.inbox.check(type(event))


def successor(bus: Any, call: str) -> Any:
    """The bus that took the place of one that has ended. Raises ContextMissing when there is none."""
    if bus.instead is None:
        raise bus_over(call, bus.name, bus.lost)
    return bus.instead


def not_at_home(bus: Any, call: str, running: object) -> Exception:
    """The error for a call in another loop or thread than the bus's own (guarantee 6.1)."""
    if bus.lost == FORKED:
        return bus_over(call, bus.name, bus.lost)
    return elsewhere(call, bus.loop, bus.inbox.thread, running)


def name_for(given: Any) -> str | None:
    """The name of a new subscription: the given one, or else the line of code that subscribes."""
    return caller() if given is None else name_of(given)


def deliver_first(bus: Any, event_type: type[Any]) -> None:
    """Deliver the events from other threads before a new subscription begins.

    The sends of those events have returned, and a subscription receives only later ones (guarantees 2.1, 6.2).
    """
    bus.inbox.deliver()
    bus.inbox.refused.pop(id(event_type), None)  # the type has a reader again


def check_close(subscription: Any) -> None:
    """Refuse to close a subscription in another thread than the bus's own, while its loop is open."""
    bus = subscription._channel.bus
    if not bus.lost and not bus.loop.is_closed():
        subscription._check()


def leave_from_any_thread(channel: Any, work: Any, parting: tuple[Any, ...]) -> None:
    """Remove a subscription from its channel. The thread of the bus does that; this may be another one."""

    def leave() -> None:
        if work is not None:
            work.end()
        channel.leave(*parting)

    bus = channel.bus
    if bus.lost or bus.loop.is_closed():
        leave()
        return
    try:
        bus.loop.call_soon_threadsafe(leave)
    except RuntimeError:  # closed meanwhile
        leave()


def left(channel: Any, bound: Any, unread: int, was_last: bool) -> None:
    """A subscription has left the channel: report its drops, and the last numbers of a type without subscriptions."""
    bus = channel.bus
    if unread and bus.parted is not None:
        bus.parted.append((channel.event_type, unread))
    try:
        if bound is not None and bound.dropped > bound.told:
            note_closed(channel, bound.dropped - bound.told, bound)
    finally:
        if was_last and bus.forgotten is not None:
            bus.forgotten(channel.event_type, stats_of(channel))

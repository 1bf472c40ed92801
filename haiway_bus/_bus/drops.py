"""Reports of dropped events, at most one a second for each type (guarantee 4.2). A cold path: both twins use it.

    Channel.losses, Bus.losses[id of the type] -> Losses       while the loop is going to call its `tell`

A send reads no clock. The first drop asks the loop to call `tell` in its next turn. Each report asks for another call a
second later. A call that finds no new drop asks for none: the next drop is a first one again.
"""

from __future__ import annotations

from asyncio import Handle
from contextvars import Context
from typing import Any, Final, NamedTuple
from weakref import ref

__all__ = ("Dropped", "Losses", "note_closed", "note_losses", "tell_rest")

SECONDS: Final = 1.0


class Dropped(NamedTuple):
    """The events that the subscriptions of a type have lost to their limits since the last report.

    Attributes:
        event_type: The type.
        number: The number of lost events, over all subscriptions.
        losing: The number of subscriptions that lost events.
        subscriptions: The number of subscriptions of the type.
        most: The number of events lost by the subscription that lost the most.
        name: The name of that subscription, or None.
        limit: Its limit.
        overflow: Its overflow policy.
    """

    event_type: type[Any]
    number: int
    losing: int
    subscriptions: int
    most: int
    name: str | None
    limit: int
    overflow: str


class Losses:
    """The reports for a type on a bus, while its subscriptions lose events.

    The bus holds it, too: a type whose last subscription has gone may get another within the second. The loop holds it
    weakly: else a bus whose scope is never left, and all its events, would stay alive.

    Invariants: `handle` is the call of `tell` that the loop is going to make. `recent` says that the last report is
    less than a second old. `number`, `losing` and `worst` count for subscriptions that have closed since.
    """

    __slots__ = ("__weakref__", "channel", "handle", "losing", "number", "recent", "worst")

    def __init__(self, channel: Any) -> None:
        self.channel: Any = channel
        self.handle: Handle | None = None
        self.recent: bool = False
        self.clear()

    def clear(self) -> None:
        self.number: int = 0
        self.losing: int = 0
        self.worst: tuple[int, str | None, int, str] = (0, None, 0, "")

    def add(self, new: int, bound: Any) -> None:
        """Count the events that a subscription with this bound has lost."""
        self.number += new
        self.losing += 1
        if new > self.worst[0]:
            self.worst = (new, bound.name, bound.limit, bound.overflow)

    def register(self) -> None:
        self.channel.losses = self.channel.bus.losses[id(self.channel.event_type)] = self

    def tell(self) -> None:
        """Report new drops and ask for another call in a second. Without new drops, ask for none."""
        channel = self.channel
        bus = channel.bus
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        channel.losses = None
        bus.losses.pop(id(channel.event_type), None)
        if bus.observer is None:
            return
        # First: if this fails, the drops are reported after the next one.
        again = None
        if not bus.ended and not bus.loop.is_closed():
            again = bus.loop.call_later(SECONDS, _tell, ref(self), context=Context())
        closed = self.losing
        for new, bound in untold(channel):
            self.add(new, bound)
        if not self.number:
            if again is not None:
                again.cancel()
            return
        told = Dropped(
            channel.event_type,
            self.number,
            self.losing,
            len(channel.members) + closed,
            *self.worst,
        )
        self.clear()
        if again is not None:
            self.handle = again
            self.recent = True
            self.register()
        bus.observer(told)


def untold(channel: Any) -> list[tuple[int, Any]]:
    """The bounds of those that have lost events since this was last asked, each with how many."""
    found = []
    for bound in list(channel.bounded.values()):
        lost = bound.lost()
        if lost > bound.told:
            found.append((lost - bound.told, bound))
            bound.told = lost
    return found


def _tell(losses: ref[Losses]) -> None:
    found = losses()
    if found is not None:
        found.tell()


def note_losses(channel: Any) -> Losses:
    """Subscriptions of the channel have lost events: have that reported."""
    bus = channel.bus
    losses: Losses | None = bus.losses.get(id(channel.event_type))
    if losses is None:
        losses = Losses(channel)
        losses.handle = bus.loop.call_soon(_tell, ref(losses), context=Context())
    losses.channel = channel  # the type may have had another channel before
    losses.register()
    return losses


def note_closed(channel: Any, new: int, bound: Any) -> None:
    """A closed subscription has lost `new` events that no report counts yet: report them now, or within the second."""
    bus = channel.bus
    losses = channel.losses or bus.losses.get(id(channel.event_type)) or Losses(channel)
    losses.add(new, bound)
    if not losses.recent:
        losses.tell()


def tell_rest(bus: Any, channels: list[Any]) -> None:
    """The bus has ended: report the drops that no report counts yet."""
    found = [*bus.losses.values(), *(Losses(one) for one in channels if one.losses is None)]
    for losses in found:
        losses.tell()

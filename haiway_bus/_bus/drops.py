"""Telling of dropped events, at most once a second and type (guarantee 4.2). A cold path: both twins use this one.

    Channel.losses, Bus.losses[id of the type] -> Losses       while the loop is to call its `tell`

No send asks a clock. The first drop has the loop call `tell` in its next turn, and each report has the loop call it a
second later. The first look that finds nothing new is the last: the drop after it is a first one again.
"""

from __future__ import annotations

from asyncio import Handle
from contextvars import Context
from typing import Any, Final, NamedTuple
from weakref import ref

__all__ = ("Dropped", "Losses", "note_closed", "note_losses", "tell_rest")

SECONDS: Final = 1.0


class Dropped(NamedTuple):
    """What the subscriptions of one type have lost to their limits since the last report of the type.

    number: how many events, over all subscriptions.
    losing: how many subscriptions lost some.
    subscriptions: of how many.
    most: how many the one lost that lost the most.
    name, limit, overflow: of that one.
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
    """The reports of one type on one bus, while its subscriptions lose events.

    It is kept by the bus, too: a type that has lost its last subscription may get another within the second. The loop
    does not keep it: that would keep a bus whose scope nobody leaves, and all that waits there.

    Invariants: `handle` is the call of `tell` that the loop has promised. `recent` says that the last report is less
    than a second old. `number`, `losing` and `worst` are about subscriptions that have closed since.
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
        """What one subscription, with this bound, has lost."""
        self.number += new
        self.losing += 1
        if new > self.worst[0]:
            self.worst = (new, bound.name, bound.limit, bound.overflow)

    def register(self) -> None:
        self.channel.losses = self.channel.bus.losses[id(self.channel.event_type)] = self

    def tell(self) -> None:
        """Report what is new, and look again in a second; or, when nothing is, no more."""
        channel = self.channel
        bus = channel.bus
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        channel.losses = None
        bus.losses.pop(id(channel.event_type), None)
        if bus.observer is None:
            return
        # First: if the loop cannot promise, all this is still to be told, after the next drop.
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
    """Subscriptions of the channel have lost events: see to it that this is told."""
    bus = channel.bus
    losses: Losses | None = bus.losses.get(id(channel.event_type))
    if losses is None:
        losses = Losses(channel)
        losses.handle = bus.loop.call_soon(_tell, ref(losses), context=Context())
    losses.channel = channel  # the type may have had another channel a moment ago
    losses.register()
    return losses


def note_closed(channel: Any, new: int, bound: Any) -> None:
    """A subscription is closed that has lost so many events more than was told: told now, or within the second."""
    bus = channel.bus
    losses = channel.losses or bus.losses.get(id(channel.event_type)) or Losses(channel)
    losses.add(new, bound)
    if not losses.recent:
        losses.tell()


def tell_rest(bus: Any, channels: list[Any]) -> None:
    """The bus has ended: report what was not told."""
    found = [*bus.losses.values(), *(Losses(one) for one in channels if one.losses is None)]
    for losses in found:
        losses.tell()

"""The chain of the events of one type, and who stands where in it: in plain Python.

    Chain.tail ----------------------------------------------+
                                                             v
    Node(event 1) -> Node(event 2) -> Node(event 3) -> Node(empty)
      ^ Cursor A                        ^ Cursor B        ^ Cursor C: has everything

The events of one type stand in one chain, whoever reads them. Each subscription has a cursor: it points at the node
that it will take next, and nothing points backwards. When the last cursor has stepped past a node, its reference count
falls to zero, and the event goes with it. The chain ends in an empty node; `append` fills it and appends the next empty
one, so that a subscription which has taken everything holds no event.

A subscription with a limit stands in that chain, too. It is looked at when it may have come to its limit, and not
before: then it steps past its oldest event, or leaves the chain with all that waits for it (`Bound`).

Who waits for an event, and who is woken, is no matter of the chain: see `_core_py.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from sys import maxsize
from typing import Any, Final, cast
from weakref import ref

from haiway_bus._bus.drops import Losses, note_losses
from haiway_bus._bus.flush import Work
from haiway_bus._bus.refusals import DROP_OLDEST, RAISE, overflowed

__all__ = ("Bound", "Chain", "Cursor", "Node")


class Node:
    """One place in a chain: an event and the next place.

    Invariant: `next` is None in exactly one node of a chain, the channel's tail, which has no event yet.
    """

    __slots__ = ("event", "next")

    event: Any
    next: Node | None


def empty_node() -> Node:
    # In place of an __init__, which would double what a node costs.
    node = Node()
    node.next = None
    return node


# Where a subscription stands that has left the chain: nothing is ever sent here.
NOWHERE: Final = empty_node()


# None on PyPy, which counts no references. Its collector frees a chain of any length without recursion, so that a
# subscription which lets its chain go has nothing to unlink.
getrefcount: Final[Callable[[object], int] | None] = getattr(sys, "getrefcount", None)


def _unshared() -> int:
    # What getrefcount() says of a node in a local variable that nobody else holds. It differs between versions
    # of CPython (from 3.14 on a local variable may be borrowed), so it is measured, in code of the same shape
    # as `Subscription.release`.
    if getrefcount is None:
        return 0
    node: Node | None = empty_node()
    while node is not None and (count := getrefcount(node)):
        return count
    raise AssertionError


_UNSHARED: Final = _unshared()


class Chain:
    """The events of one type on one bus.

    Invariants: `bounded` are the bounds of the subscriptions with a limit, by their keys. `sharing` subscriptions have
    a place in the chain, `away` have left it. A bound whose subscription is in the chain is in the table `moving` or
    `leaving`, at a `due` that is not past and not after the `sent` at which it comes to its limit.
    """

    __slots__ = (
        "away",
        "bounded",
        "event_type",
        "late",
        "leaving",
        "losses",
        "moving",
        "parked",
        "sent",
        "sharing",
        "tail",
    )

    def __init__(self, event_type: type[Any]) -> None:
        self.event_type: type[Any] = event_type
        self.tail: Node = empty_node()
        self.sent: int = 0
        self.sharing: int = 0
        self.away: int = 0
        # What a signal's handler sends while those at their limits are seen to: it comes after that event. Else None.
        self.late: list[Any] | None = None
        self.bounded: dict[int, Bound] = {}
        # By `due`, the first bound that is due then: of those with overflow="drop_oldest", and of the others.
        self.moving: dict[int, Bound] = {}
        self.leaving: dict[int, Bound] = {}
        # While a report of drops is due.
        self.losses: Losses | None = None
        # The reads that wait for an event: these are the channel's.
        self.parked: list[Any] = []

    def hands_over(self, event: Any) -> bool:
        """Wake the reads that are parked, or have the event sent in another way: whether that is so.

        The channel has it.
        """
        raise NotImplementedError

    def append(self, event: Any) -> None:
        """Give the event to every subscription, or raise and give it to none.

        What can fail comes first, near the recursion limit say, and so does what can run other code, as the collector
        may where an object is made. From the first change to the last no call goes deeper than one that went well.
        """
        node = Node()
        node.next = None
        if self.parked and self.hands_over(event):
            return
        if self.bounded:
            if self.late is not None:
                self.late.append(event)
                return
            if (
                (self.away and self.losses is None)
                or self.sent in self.moving
                or self.sent in self.leaving
            ):
                self.late = []
                try:
                    self.append_at_limits(event, node)
                finally:
                    late, self.late = self.late, None
                    for one in late:
                        self.append(one)
                return
        self.sent += 1
        if self.sharing:
            tail = self.tail
            tail.event = event
            tail.next = node
            self.tail = node

    def append_at_limits(self, event: Any, node: Node) -> None:
        """What `append` does, where subscriptions may be at their limits, or are and nobody is about to be told."""
        # Goes deeper in the stack than any call below, where it is too late to fail.
        self.let_leave()
        # Have those at their limits that drop the oldest event step past it. The first of these events in the chain,
        # and so all of them, is held until the end: to free an event may run code that sends, reads, subscribes or
        # closes.
        gone: Node | None = None
        position = 0
        while (bound := self.moving.get(self.sent)) is not None:
            subscription = None if bound.subscription is None else bound.subscription()
            if subscription is None:
                self.file(bound, 0)
                continue
            oldest = subscription._node
            if oldest is not None and self.sent - subscription._position >= bound.limit:
                if gone is None or subscription._position < position:
                    gone, position = oldest, subscription._position
                subscription._node = oldest.next
                subscription._position += 1
                bound.dropped += 1
            oldest = None
            self.file(bound, subscription._position + bound.limit)
        self.sent += 1
        if self.sharing:
            tail = self.tail
            tail.event = event
            tail.next = node
            self.tail = node
        subscription = bound = None
        if self.losses is None and (gone is not None or self.away):
            # Every subscription has the event. What cannot be told now is told with the next drop, or at the end.
            try:  # noqa: SIM105 - suppress() would be one more call that can fail
                note_losses(self)
            except Exception:  # noqa: S110
                pass
        if getrefcount is not None:
            while gone is not None and getrefcount(gone) <= _UNSHARED:
                gone.next, gone = None, gone.next

    def let_leave(self) -> None:
        """Move those out of the chain that are at their limits and take no further event.

        That changes nothing that can be seen, and so does no harm if the event is not sent after all.
        """
        while (bound := self.leaving.get(self.sent)) is not None:
            subscription = None if bound.subscription is None else bound.subscription()
            if subscription is None:
                self.file(bound, 0)
            elif subscription._waiting() < bound.limit:
                self.file(bound, self.sent + bound.limit - subscription._waiting())
            elif subscription._held is None:
                room: list[Any] = [None] * bound.limit
                if subscription._held is None:
                    subscription._held = room
            else:
                subscription._move_out()

    def file(self, bound: Bound, due: int) -> None:
        """Have the bound looked at when `sent` is `due`; never, if that is 0, or if its subscription is closed."""
        # No call from here on, so that nothing comes between. What is filed ahead of time does no harm.
        dues, before, after = bound.dues, bound.before, bound.after
        if bound.due:
            if after is not None:
                after.before = before
            if before is not None:
                before.after = after
            elif after is not None:
                dues[bound.due] = after
            else:
                del dues[bound.due]
        bound.before = bound.after = None
        bound.due = 0 if bound.subscription is None else due
        if bound.due:
            after = dues[due] if due in dues else None  # noqa: SIM401 - get() is a call
            bound.after = after
            if after is not None:
                after.before = bound
            dues[due] = bound

    def enter(self, subscription: Cursor) -> None:
        """Give a subscription a place at the end of the chain: a new one, or one that comes back for what is sent now.

        The latter has just taken an event, and so has room for one.
        """
        # No call from here on, so that a signal's handler sends before all this or after it.
        bound = subscription._bound
        if subscription._node is None:
            subscription._position = subscription._start = subscription._asked = self.sent
        if bound is not None:
            if bound.left_at < 0:
                due = self.sent + bound.limit
            else:
                due = self.sent + 1
                lost = self.sent - bound.left_at
                if lost and bound.gaps is not None:
                    bound.gaps[bound.held_until] = lost
                bound.dropped += lost
                bound.missed += lost
                bound.left_at = -1
                self.away -= 1
            # As `file` does.
            after = bound.dues[due] if due in bound.dues else None  # noqa: SIM401
            bound.after = after
            if after is not None:
                after.before = bound
            bound.dues[due] = bound
            bound.due = due
        subscription._node = self.tail
        self.sharing += 1


class Bound:
    """What a subscription with a limit has besides its place in the chain (guarantee 4).

    One that drops the oldest event always has a place there. One that takes no further event gives it up when an event
    comes that it has no room for. It moves what waits to its own `held`, where the event with the number n is at
    n % limit, and a send costs it nothing from then on. With the next event that is taken from it, it comes back.

    Invariants: `apart` says that something waits outside of the chain: events in `held`, with the numbers from the
    subscription's `position` to `held_until`; or the news of a loss, in `gaps`. What waits in the chain comes after
    these. `told` of the dropped events have been reported. It refers to no event: the channel holds it.
    """

    __slots__ = (
        "after",
        "apart",
        "before",
        "channel",
        "dropped",
        "due",
        "dues",
        "gaps",
        "held_until",
        "left_at",
        "limit",
        "missed",
        "name",
        "overflow",
        "subscription",
        "told",
    )

    def __init__(self, channel: Chain, limit: int, overflow: str, name: str | None = None) -> None:
        self.channel: Chain = channel
        self.limit: int = min(limit, maxsize)
        self.overflow: str = overflow
        # That of its subscription, which may be gone when this is told.
        self.name: str | None = name
        # None once it is closed.
        self.subscription: ref[Cursor] | None = None
        # The table in which it is filed, at `due` and between two others, unless `due` is 0.
        self.dues: dict[int, Bound] = channel.moving if overflow == DROP_OLDEST else channel.leaving
        self.due: int = 0
        self.before: Bound | None = None
        self.after: Bound | None = None
        # But for those since it has left the chain, at this number of `sent`; which is -1 while it is there.
        self.dropped: int = 0
        self.left_at: int = -1
        # Of the dropped ones those that never waited, unlike what "drop_oldest" drops.
        self.missed: int = 0
        self.apart: bool = False
        self.held_until: int = 0
        # By the number of the event that comes after them, how many were lost. Told with overflow="raise".
        self.gaps: dict[int, int] | None = {} if overflow == RAISE else None
        self.told: int = 0

    def lost(self) -> int:
        """How many events it was ever denied, or lost."""
        if self.left_at < 0 or self.subscription is None:
            return self.dropped
        return self.dropped + self.channel.sent - self.left_at


class Cursor:
    """Where a subscription stands in the chain, and what waits for it.

    Invariants: `_node` is the place of the next event that is not apart, None once closed. `_waiting()` events wait.
    `_plain` means that there is nothing else to see to: nothing apart, no pool, and no call of flush that waits.
    `_asked` is a position at which a reader asked for the next event, and so was done with all before: the latest, or,
    while it is `_plain`, the latest at which there was none.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_bound",
        "_channel",
        "_held",
        "_node",
        "_plain",
        "_position",
        "_start",
        "_work",
    )

    # Set by the subscription, in its own __init__: to call another would cost it 4 % of what it takes to subscribe.
    _channel: Chain
    _bound: Bound | None
    # `limit` places for events that wait apart from the chain.
    _held: list[Any] | None
    _node: Node | None
    # The number of the next event, counted without those that it missed; and what that was at the beginning.
    _position: int
    _start: int
    _asked: int
    _work: Work | None
    _plain: bool

    def _take(self) -> Any:
        """The next event, past which it steps; raises SubscriptionOverflow in place of lost ones."""
        if self._bound is not None and self._bound.apart:
            return self._take_apart(self._bound)
        # No call up to the step, so that a signal's handler sends or reads before it or after it.
        node: Any = self._node
        self._node = node.next
        self._position += 1
        if self._work is not None:
            self._work.took(self._position)
        return node.event

    def _take_apart(self, bound: Bound) -> Any:
        if self._at_gap():
            lost = cast("dict[int, int]", bound.gaps).pop(self._position)
            self._settle(bound)
            raise overflowed(self._channel.event_type, bound.limit, lost)
        # As in `_take`.
        held: Any = self._held
        place = self._position % bound.limit
        event = held[place]
        held[place] = None
        self._position += 1
        if bound.left_at >= 0:
            self._channel.enter(self)
        self._settle(bound)
        if self._work is not None:
            self._work.took(self._position)
        return event

    def _settle(self, bound: Bound) -> None:
        """Something that waited apart is gone: maybe the last of it."""
        if bound.held_until == self._position and not bound.gaps:
            bound.apart = False
            self._held = None
            self._plain = self._work is None

    def _at_gap(self) -> bool:
        gaps = None if self._bound is None else self._bound.gaps
        return gaps is not None and self._position in gaps

    def _move_out(self) -> None:
        """Leave the chain, with all that waits there. `held` is ready for it."""
        bound, channel = cast("Bound", self._bound), self._channel
        position, former = self._position, self._node
        number = bound.held_until if bound.apart else position
        node: Any = former
        while node.next is not None:
            cast("list[Any]", self._held)[number % bound.limit] = node.event
            number += 1
            node = node.next
        node = None
        channel.file(bound, 0)
        # No call from here on: what was taken or closed up to here is seen, and nothing comes between.
        if self._position == position and self._node is former and former is not None:
            bound.held_until = number
            bound.apart = True
            bound.left_at = channel.sent
            self._plain = False
            self._node = NOWHERE
            channel.sharing -= 1
            channel.away += 1
        elif self._node is not None:
            channel.file(bound, channel.sent)
        if getrefcount is not None:
            while former is not None and getrefcount(former) <= _UNSHARED:
                former.next, former = None, former.next

    def _take_batch(self, limit: int) -> list[Any]:
        batch = [self._take()]
        while len(batch) < limit and self._has_event():
            if self._at_gap():
                break
            batch.append(self._take())
        return batch

    def _set_work(self, work: Work | None) -> None:
        self._work = work
        self._plain = work is None and (self._bound is None or not self._bound.apart)

    def _waiting(self) -> int:
        """How many events wait, unless it is closed."""
        bound = self._bound
        if bound is None:
            return self._channel.sent - self._position
        last = self._channel.sent if bound.left_at < 0 else bound.left_at
        return last - bound.missed - self._position

    def _has_event(self) -> bool:
        return self._node is not None and (
            self._node.next is not None or (self._bound is not None and self._bound.apart)
        )

    @property
    def _delivered(self) -> int:
        """How many events its readers took."""
        bound = self._bound
        skipped = 0 if bound is None or bound.overflow != DROP_OLDEST else bound.dropped
        return self._position - self._start - skipped

    def _release(self) -> None:
        # In a loop, because a chain that is let go at its head frees itself recursively, one stack frame a node
        # (guarantee 3.3). It stops at the first node that somebody else holds: from there on the chain is in use.
        node, self._node = self._node, None
        if self._bound is not None:
            self._bound.dropped = self._bound.lost()
            self._bound.subscription = self._held = None
        if getrefcount is None:
            return
        while node is not None and getrefcount(node) <= _UNSHARED:
            node.next, node = None, node.next

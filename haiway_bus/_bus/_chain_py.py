"""The chain of events of one type, and the place of each subscription in it: in plain Python.

    Chain.tail ----------------------------------------------+
                                                             v
    Node(event 1) -> Node(event 2) -> Node(event 3) -> Node(empty)
      ^ Cursor A                        ^ Cursor B        ^ Cursor C: has everything

All subscriptions to a type share its chain. The cursor of a subscription points at the node that it takes next, and no
node points backwards. When the last cursor has stepped past a node, the reference count of the node falls to zero, and
its event is freed. The chain ends in an empty node. `append` fills that node and links a new empty node behind it, so a
subscription that has taken every event holds none.

A subscription with a limit (`Bound`) is in the chain, too. `append` looks at it only when it may have reached its
limit. With overflow="drop_oldest" it then steps past its oldest event. Otherwise it leaves the chain and takes its
waiting events along.

The chain does not know how readers wait and wake: see `_core_py.py`.
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
    """A place in a chain: an event and the next place.

    Invariants:
    - The tail, the last node of a chain, has no event yet, and its `next` is None. All other nodes have both.
    """

    __slots__ = ("event", "next")

    event: Any
    next: Node | None


def empty_node() -> Node:
    # Instead of `__init__`, which would double the cost of a node.
    node = Node()
    node.next = None
    return node


# The node of a subscription that has left the chain. No event is ever sent here.
NOWHERE: Final = empty_node()


# None on PyPy, which counts no references. Its collector frees a chain of any length without recursion, so a
# subscription does not need to unlink nodes there.
getrefcount: Final[Callable[[object], int] | None] = getattr(sys, "getrefcount", None)


def _unshared() -> int:
    # The result of getrefcount() for a node that only a local variable holds. It differs between versions of CPython
    # (from 3.14 on, a call may borrow its argument from a local variable). So it is measured, in code of the same shape
    # as `Cursor._release`.
    if getrefcount is None:
        return 0
    node: Node | None = empty_node()
    while node is not None and (count := getrefcount(node)):
        return count
    raise AssertionError


_UNSHARED: Final = _unshared()


class Chain:
    """The events of one type on one bus.

    Invariants:
    - `bounded` maps the key of each subscription with a limit to its bound.
    - `sharing` subscriptions have a place in the chain. `away` subscriptions have left it.
    - The bound of a subscription in the chain is in the table `moving` or `leaving`, under its `due`. That is not below
      `sent`, and not above the value of `sent` at which the subscription reaches its limit.
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
        # Events that a signal handler sends during `append_at_limits`. They come after the event of that call. None at
        # other times.
        self.late: list[Any] | None = None
        self.bounded: dict[int, Bound] = {}
        # Both map a `due` to the first bound with that `due`: `moving` for overflow="drop_oldest", `leaving` for the
        # others.
        self.moving: dict[int, Bound] = {}
        self.leaving: dict[int, Bound] = {}
        # None unless a report of drops is scheduled.
        self.losses: Losses | None = None
        # The reads that wait for an event. `Channel` fills it.
        self.parked: list[Any] = []

    def hands_over(self, event: Any) -> bool:
        """Wake the parked reads, or else put the event into the inbox of the bus. Return True for the inbox.

        `Channel` implements this.
        """
        raise NotImplementedError

    def append(self, event: Any) -> None:
        """Append the event for every subscription, or raise and append it for none.

        First come the steps that can fail, near the recursion limit for example, and those that can run other code, as
        making an object can start the collector. After the first change, no call goes deeper in the stack than a call
        that has succeeded.
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
        """The rest of `append`, when a bound is due, or a subscription is away and no report of drops is scheduled."""
        # This call goes deeper in the stack than the calls below it, which must not fail.
        self.let_leave()
        # Let each subscription at its limit with overflow="drop_oldest" step past its oldest event. `gone` holds the
        # first of these nodes, and through it all of them, until the end: freeing an event may run code that sends,
        # reads, subscribes or closes.
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
            # Every subscription has the event. If this fails, the next drop or the end of the subscription reports the
            # drops.
            try:  # noqa: SIM105 - suppress() would be one more call that can fail
                note_losses(self)
            except Exception:  # noqa: S110
                pass
        if getrefcount is not None:
            while gone is not None and getrefcount(gone) <= _UNSHARED:
                gone.next, gone = None, gone.next

    def let_leave(self) -> None:
        """Move the subscriptions in `leaving` that are at their limit out of the chain.

        This has no visible effect, so it does no harm if the send fails later.
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
        """File the bound under `due`, a value of `sent`. Unfile it if `due` is 0 or its subscription is closed."""
        # No call from here on, so no other code can run in between. A `due` that is too early does no harm.
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
        """Put a subscription at the end of the chain: a new subscription, or a subscription that was away.

        A subscription that was away has just taken an event, so it has room for the next.
        """
        # No call from here on, so a signal handler sends before all of this or after it.
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
            # The same steps as in `file`.
            after = bound.dues[due] if due in bound.dues else None  # noqa: SIM401
            bound.after = after
            if after is not None:
                after.before = bound
            bound.dues[due] = bound
            bound.due = due
        subscription._node = self.tail
        self.sharing += 1


class Bound:
    """The limit of a subscription, and its count of lost events (guarantee 4).

    With overflow="drop_oldest", a subscription stays in the chain. Otherwise it leaves the chain when an event comes
    for which it has no room. It moves its waiting events to `Cursor._held`, a ring: the index of an event is its number
    modulo `limit`. From then on, a send costs it nothing. When a reader takes the next event, the subscription returns
    to the chain.

    Invariants:
    - `apart` is true while something waits outside of the chain: the events in `_held`, whose numbers begin at
      `_position` and end before `held_until`, or the report of a loss, in `gaps`. They come before the events in the
      chain.
    - `told` is the number of dropped events that have been reported.
    - A bound refers to no event, because the channel holds the bound.
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
        # The name of its subscription, which may be gone when drops are reported.
        self.name: str | None = name
        # None once the subscription is closed.
        self.subscription: ref[Cursor] | None = None
        # The table for this bound. It is in the table, under `due`, unless `due` is 0. `before` and `after` are its
        # neighbours among the bounds with the same `due`.
        self.dues: dict[int, Bound] = channel.moving if overflow == DROP_OLDEST else channel.leaving
        self.due: int = 0
        self.before: Bound | None = None
        self.after: Bound | None = None
        # `dropped` lacks the events since the subscription left the chain. `left_at` is the value of `sent` at that
        # time, -1 while it is in the chain.
        self.dropped: int = 0
        self.left_at: int = -1
        # The part of `dropped` that never waited. An event that "drop_oldest" drops did wait.
        self.missed: int = 0
        self.apart: bool = False
        self.held_until: int = 0
        # For overflow="raise", maps the number of an event to how many events were lost before it. Else None.
        self.gaps: dict[int, int] | None = {} if overflow == RAISE else None
        self.told: int = 0

    def lost(self) -> int:
        """The number of events that the subscription has lost."""
        if self.left_at < 0 or self.subscription is None:
            return self.dropped
        return self.dropped + self.channel.sent - self.left_at


class Cursor:
    """The place of a subscription in the chain, and the events that wait for it.

    Invariants:
    - `_node` is the place of the next event in the chain, None once the subscription is closed.
    - `_waiting()` events wait.
    - `_plain` means that a read only has to take the next node: nothing waits outside of the chain, no pool of tasks
      reads, and no call of flush waits.
    - `_asked` is a position at which a reader asked for the next event, and so was done with the events before. It is
      the latest such position, or, while `_plain`, the latest at which no event was waiting.
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

    # `SubscriptionCore.__init__` sets these. A call of an `__init__` here would add 4 % to the time of `subscribe`.
    _channel: Chain
    _bound: Bound | None
    # `limit` places for events that wait outside of the chain, or None.
    _held: list[Any] | None
    _node: Node | None
    # The number of the next event, without the missed events, and the same number at the start of the subscription.
    _position: int
    _start: int
    _asked: int
    _work: Work | None
    _plain: bool

    def _take(self) -> Any:
        """Take the next event. Raise SubscriptionOverflow in place of lost events."""
        if self._bound is not None and self._bound.apart:
            return self._take_apart(self._bound)
        # No call up to the step, so a signal handler sends or reads before the step or after it.
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
        # No call up to the step, as in `_take`.
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
        """Forget what was outside of the chain, once nothing waits there any more."""
        if bound.held_until == self._position and not bound.gaps:
            bound.apart = False
            self._held = None
            self._plain = self._work is None

    def _at_gap(self) -> bool:
        gaps = None if self._bound is None else self._bound.gaps
        return gaps is not None and self._position in gaps

    def _move_out(self) -> None:
        """Leave the chain, and move all waiting events to `_held`, which the caller has made."""
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
        # No call from here on, so no other code can run in between. A read or a close up to here has changed
        # `_position` or `_node`.
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
        """The number of waiting events, while the subscription is open."""
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
        """The number of events that its readers took."""
        bound = self._bound
        skipped = 0 if bound is None or bound.overflow != DROP_OLDEST else bound.dropped
        return self._position - self._start - skipped

    def _release(self) -> None:
        # Free the nodes in a loop: a chain that is let go at its head frees itself recursively, with a stack frame for
        # each node (guarantee 3.3). The loop stops at the first node that is held elsewhere, as the chain is in use
        # from there on.
        node, self._node = self._node, None
        if self._bound is not None:
            self._bound.dropped = self._bound.lost()
            self._bound.subscription = self._held = None
        if getrefcount is None:
            return
        while node is not None and getrefcount(node) <= _UNSHARED:
            node.next, node = None, node.next

"""The bus in plain Python: the reference, whose names and order `_core_c.pyx` keeps.

    Bus.table:  id of the type of event -> Channel

    Channel.tail --------------------------------------------+
                                                             v
    Node(event 1) -> Node(event 2) -> Node(event 3) -> Node(empty)
      ^ Subscription A                  ^ Subscription B  ^ Subscription C: has everything

The events of one type stand in one chain, whoever reads them. Each subscription points at the node that it
will take next, and nothing points backwards: when the last subscription has stepped past a node, its
reference count falls to zero, and the event goes with it. The chain ends in an empty node; `send` fills it
and appends the next empty one, so that a subscription which has taken everything holds no event.

A subscription with a limit stands in that chain, too. It is looked at when it may have come to its limit, and not
before: then it steps past its oldest event, or leaves the chain with all that waits for it (`Bound`).

A task that finds nothing parks: it waits on its `Receive`, and the channel remembers that. The next `send`
hands all parked reads of the channel to the bus, which resumes them together in one callback of the loop.
"""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, CancelledError, Future
from asyncio.events import _get_running_loop
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import Context, ContextVar
from math import inf
from opcode import opmap
from sys import _getframe, get_asyncgen_hooks, maxsize, version_info
from threading import get_ident
from types import FunctionType, coroutine
from typing import Any, Final, NoReturn, TypeVar, cast
from weakref import ref

from haiway_bus._bus._turns_py import Turns
from haiway_bus._bus.drops import Losses, note_losses
from haiway_bus._bus.flush import Round, Work, share_work
from haiway_bus._bus.inbox import Inbox
from haiway_bus._bus.rare import (
    check_close,
    deliver_first,
    leave_from_any_thread,
    left,
    name_for,
    not_at_home,
    refuse,
    successor,
)
from haiway_bus._bus.reads import drives, no_copy, read_over, read_taken, thrown
from haiway_bus._bus.refusals import (
    DROP_OLDEST,
    KNOWN,
    RAISE,
    TURN,
    check_limit,
    check_type,
    is_event_type,
    no_scope,
    nothing_waits,
    overflow_of,
    overflowed,
)
from haiway_bus._bus.stats import Looks

__all__ = (
    "BatchesCore",
    "Bound",
    "BusCore",
    "Channel",
    "Node",
    "Receive",
    "SubscriptionCore",
    "current",
    "publish",
    "send",
)

# The life of a Receive. NEW: not waited on yet. PARKED: in line. GRANTED: its task is being resumed and may
# take an event. CANCELLED, ENDED: out of the line, to be resumed without an event. YIELDED: the loop has its turn, the
# read is NEW again when `resume` comes to it. DONE: over.
NEW: Final = 0
PARKED: Final = 1
GRANTED: Final = 2
CANCELLED: Final = 3
ENDED: Final = 4
YIELDED: Final = 5
DONE: Final = 6


# In which run of which loop code stands, in one cheap call: a read of `async for` asks this each time. 3.11 asks the
# kernel before it tells the loop; but each run of a loop has hooks for async generators of its own.
_here: Final[Callable[[], object]] = (
    get_asyncgen_hooks if version_info < (3, 12) else _get_running_loop
)

# The instruction by which an `async for` asks for its iterator, which it shows to nobody. Another caller may.
_GET_AITER: Final = opmap.get("GET_AITER")


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


class Channel:
    """The events of one type on one bus, and who waits for them.

    Invariants: a channel is in its bus's table while it has subscriptions, and no longer. `members` are these, held
    weakly, by their `key`; `bounded` are the bounds of those with a limit. `sharing` subscriptions have a place in the
    chain, `away` have left it. A bound whose subscription is in the chain is in the table `moving` or `leaving`, at a
    `due` that is not past and not after the `sent` at which it comes to its limit. `parked` holds at most one read for
    each subscription, its `head`, and `parked[r.slot] is r` for each of them. A parked read is held strongly: a task
    that waits for an event lives as long as the bus can bring one.
    """

    __slots__ = (
        "away",
        "bounded",
        "bus",
        "delivered",
        "dropped",
        "ended",
        "event_type",
        "joined",
        "late",
        "leaving",
        "looks",
        "losses",
        "members",
        "moving",
        "parked",
        "round",
        "sent",
        "sharing",
        "tail",
    )

    def __init__(self, bus: BusCore, event_type: type[Any]) -> None:
        self.bus: BusCore = bus
        self.event_type: type[Any] = event_type
        self.tail: Node = empty_node()
        self.sent: int = 0
        self.sharing: int = 0
        self.away: int = 0
        # Counts the subscriptions that there ever were, to tell them apart: an id would be used again, and one
        # that is collected in another thread leaves only when the loop gets to it.
        self.joined: int = 0
        # What a signal's handler sends while those at their limits are seen to: it comes after that event. Else None.
        self.late: list[Any] | None = None
        self.members: dict[int, ref[SubscriptionCore]] = {}
        self.bounded: dict[int, Bound] = {}
        # By `due`, the first bound that is due then: of those with overflow="drop_oldest", and of the others.
        self.moving: dict[int, Bound] = {}
        self.leaving: dict[int, Bound] = {}
        # While a report of drops is due.
        self.losses: Losses | None = None
        # Since somebody has looked.
        self.looks: Looks | None = None
        self.parked: list[Receive] = []
        self.ended: bool = False
        # The latest round of flush.
        self.round: Round | None = None
        # Of the subscriptions that are closed, so that the channel can tell of them, too (contract 8.3).
        self.delivered: int = 0
        self.dropped: int = 0

    def append(self, event: Any) -> None:
        """Give the event to every subscription, or raise and give it to none.

        What can fail comes first, near the recursion limit say, and so does what can run other code, as the collector
        may where an object is made. From the first change to the last no call goes deeper than one that went well.
        """
        node = Node()
        node.next = None
        if self.parked:
            if self.bus.runs_elsewhere():
                self.bus.inbox.put(event)
                return
            self.wake_all()
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

    def enter(self, subscription: SubscriptionCore) -> None:
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

    def wake_all(self) -> None:
        """Hand every read that is parked here over to the bus, in one step however many there are."""
        bus = self.bus
        bus.wakes += 1
        bus.schedule()
        if bus.ready:
            bus.ready.extend(self.parked)
            self.parked.clear()
        else:
            bus.ready, self.parked = self.parked, bus.ready

    def park(self, receive: Receive) -> None:
        receive.slot = len(self.parked)
        self.parked.append(receive)

    def unpark(self, receive: Receive) -> None:
        # The last one takes the freed place, so that this takes the same time however many are parked. A read
        # that `send` has handed to the bus already stands there, and is passed over when its turn comes.
        parked = self.parked
        slot = receive.slot
        if slot < len(parked) and parked[slot] is receive:
            last = parked.pop()
            if last is not receive:
                parked[slot] = last
                last.slot = slot

    def join(self, subscription: SubscriptionCore) -> None:
        self.joined += 1
        subscription._key = self.joined
        self.members[subscription._key] = ref(subscription)
        if subscription._bound is not None:
            try:
                self.bounded[subscription._key] = subscription._bound
            except MemoryError:
                del self.members[subscription._key]
                raise
        self.enter(subscription)

    def leave(self, key: int, bound: Bound | None, delivered: int, unread: int) -> None:
        del self.members[key]
        self.delivered += delivered
        if bound is not None and bound.left_at >= 0:
            self.away -= 1
        else:
            self.sharing -= 1
        if bound is not None:
            del self.bounded[key]
            self.file(bound, 0)
            self.dropped += bound.dropped
        was_last = not self.members and self.bus.table.get(id(self.event_type)) is self
        if was_last:
            del self.bus.table[id(self.event_type)]
        if was_last or unread or (bound is not None and bound.dropped > bound.told):
            left(self, bound, unread, was_last=was_last)


class Bound:
    """What a subscription with a limit has besides its place in the chain (contract 4).

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

    def __init__(
        self, channel: Channel, limit: int, overflow: str, name: str | None = None
    ) -> None:
        self.channel: Channel = channel
        self.limit: int = min(limit, maxsize)
        self.overflow: str = overflow
        # That of its subscription, which may be gone when this is told.
        self.name: str | None = name
        # None once it is closed.
        self.subscription: ref[SubscriptionCore] | None = None
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


class SubscriptionCore:
    """Where a subscription stands in the chain, and who waits for it: what is on the way of an event.

    `Subscription` in subscription.py is the public class over it. That shows its documented names alone, so that all
    names here but theirs begin with an underscore.

    Invariants: `_node` is the place of the next event that is not apart, None once closed. `_waiting()` events wait.
    `_head` is the read that is first in line and `_line` those behind it. A read that did not wait may take an
    event only while nobody is in line. `_plain` means that there is nothing else to see to: nothing apart, no pool, and
    no call of flush that waits. `_asked` is a position at which a reader asked for the next event, and so was done with
    all before: the latest, or, while it is `_plain`, the latest at which there was none.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_bound",
        "_channel",
        "_head",
        "_held",
        "_key",
        "_line",
        "_name",
        "_node",
        "_plain",
        "_position",
        "_start",
        "_work",
    )

    def __init__(
        self, channel: Channel, bound: Bound | None = None, name: str | None = None
    ) -> None:
        self._channel: Channel = channel
        self._bound: Bound | None = bound
        # What logs and errors call it.
        self._name: str | None = name
        # `limit` places for events that wait apart from the chain.
        self._held: list[Any] | None = None
        self._node: Node | None = None
        # The number of the next event, counted without those that it missed.
        self._position: int = channel.sent
        self._start: int = self._position
        self._asked: int = self._position
        self._head: Receive | None = None
        self._line: OrderedDict[Receive, None] | None = None
        self._work: Work | None = None
        self._plain: bool = True
        self._key: int = 0
        if bound is not None:
            bound.subscription = ref(self)
        # Last, so that one which could not join has nothing to leave.
        channel.join(self)

    def __aiter__(self) -> SubscriptionCore | Loop:
        self._check()
        caller = _getframe(1)
        if caller.f_code.co_code[caller.f_lasti] == _GET_AITER:
            return Loop(self)
        return self

    def __anext__(self) -> Any:
        return Receive(self)

    def receive_nowait(self) -> Any:
        """Take one event that waits.

        Raises:
            asyncio.QueueEmpty: when none waits, or when those that do belong to readers waiting in line.
            SubscriptionOverflow: in place of events that were lost, with overflow="raise".
            RuntimeError: in another loop or thread than the bus's own.
        """
        self._check()
        if not self._plain:
            self._came_back()
        if self._head is not None or not self._has_event():
            self._asked = self._position
            raise nothing_waits(self)
        return self._take()

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

    def _came_back(self) -> None:
        """A reader asks for the next event, and so is done with the one before."""
        self._asked = self._position
        if self._work is not None:
            self._work.came_back()

    def _set_work(self, work: Work | None) -> None:
        self._work = work
        self._plain = work is None and (self._bound is None or not self._bound.apart)

    @property
    def _pending(self) -> int:
        """How many events wait to be taken."""
        return 0 if self._node is None else self._waiting()

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

    def _is_closed(self) -> bool:
        return self._node is None or self._channel.ended

    def _next_in_line(self) -> None:
        """The head was served or has left: who waited longest after it is first now."""
        if not self._line:
            self._head = None
            return
        first = next(iter(self._line))
        if self._has_event() or self._is_closed():
            self._channel.bus.wake(first)
        else:
            self._channel.park(first)
        del self._line[first]
        self._head = first

    def _check(self) -> None:
        """Refuse another loop or thread than the bus's own (contract 6.1)."""
        self._channel.bus.check("reading a subscription")

    def _close(self) -> None:
        if self._node is None and self._head is None:
            return
        if get_ident() != self._channel.bus.thread:
            check_close(self)
        try:
            if self._node is not None:
                self._leave()
        finally:
            while self._head is not None and self._head.state == PARKED:
                self._head.end()

    def _leave(self) -> None:
        """Free what waits, and be counted out of the channel."""
        delivered, unread = self._delivered, self._waiting()
        self._release()
        if self._work is not None:
            self._work.end()
        self._channel.leave(self._key, self._bound, delivered, unread)

    @property
    def _delivered(self) -> int:
        """How many events its readers took."""
        bound = self._bound
        skipped = 0 if bound is None or bound.overflow != DROP_OLDEST else bound.dropped
        return self._position - self._start - skipped

    def _release(self) -> None:
        # In a loop, because a chain that is let go at its head frees itself recursively, one stack frame a node
        # (contract 3.3). It stops at the first node that somebody else holds: from there on the chain is in use.
        node, self._node = self._node, None
        if self._bound is not None:
            self._bound.dropped = self._bound.lost()
            self._bound.subscription = self._held = None
        if getrefcount is None:
            return
        while node is not None and getrefcount(node) <= _UNSHARED:
            node.next, node = None, node.next

    def __del__(self) -> None:
        # The collector runs this in whichever thread set it off. Nobody waits any more (a read in line holds its
        # subscription), so that all there is to do is to free the backlog, here, and to be counted out, which
        # is left to the bus's own thread.
        if getattr(self, "_node", None) is None:
            return
        if get_ident() == self._channel.bus.thread:
            self._leave()
            return
        self._release()
        parting = self._key, self._bound, self._delivered, self._waiting()
        leave_from_any_thread(self._channel, self._work, parting)


# The public class, of which `subscribe` makes the instances.
_public: type[SubscriptionCore]

Public = TypeVar("Public", bound=type)


def publish(kind: Public) -> Public:
    """A class decorator for the public class over one of the cores: `subscribe` makes instances of it."""
    global _public
    if issubclass(kind, SubscriptionCore):
        _public = kind
    return kind


class Loop:
    """What an `async for` over a subscription iterates.

    Its reads are coroutines, which Python makes faster than any object: nobody but the loop gets hold of them, where
    what `anext()` gives has to refuse strangers (guarantee 2.13). So `aiter()` gives the subscription itself.
    """

    __slots__ = ("subscription",)

    def __init__(self, subscription: SubscriptionCore) -> None:
        self.subscription: SubscriptionCore = subscription

    async def __anext__(self) -> Any:
        subscription = self.subscription
        bus = subscription._channel.bus
        is_home = _here() == bus.here
        # The usual case, spelled out: nobody in line, an event there, and no turn of the loop due. No call from here
        # on, so that a signal's handler reads before the step or after it.
        node = subscription._node
        if (
            node is not None
            and node.next is not None
            and bus.left > 0
            and subscription._plain
            and subscription._head is None
            and is_home
        ):
            subscription._node = node.next
            subscription._position += 1
            bus.left -= 1
            event = node.event
        else:
            node = None  # it will hold an event while this waits
            if not is_home:
                subscription._check()
                bus.here = _here()
            steps, subscription = _walk(Receive(subscription)), None  # type: ignore[assignment]
            event = await steps
        return event


class BatchesCore:
    """Reads of batches: `Batches` in subscription.py is the public class over it."""

    __slots__ = ("_limit", "_subscription")

    def __init__(self, subscription: SubscriptionCore, limit: int) -> None:
        check_limit("batches()", limit)
        self._subscription: SubscriptionCore = subscription
        self._limit: int = limit

    def __aiter__(self) -> BatchesCore:
        self._subscription._check()
        return self

    def __anext__(self) -> Any:
        return Receive(self._subscription, self._limit)


class Receive:
    """One read of a subscription by one task, and what the task waits on while there is no event.

    With `send`, `throw` and `close` it counts as a coroutine, so that `asyncio.create_task(anext(subscription))` works.

    To a Task it is a future: `_asyncio_future_blocking`, `get_loop`, `add_done_callback`, `result` and `cancel`
    are all that a Task asks of one. It is no asyncio.Future: those are resumed by one call_soon each, where the
    bus resumes all its readers in one. And it is nobody else's: cancelling a task cancels what it waits on, so
    that readers which shared a future would end each other (contract 2.5). While somebody waits on it, it refuses
    what anybody else does with it (guarantee 2.13).

    Invariants: it stands in `subscription._head` or in `subscription._line` exactly while PARKED or GRANTED. It has its
    subscription while NEW, YIELDED, PARKED or GRANTED, and holds nothing when it is over (guarantee 2.14). `wakeup`
    tells who waits: the callback of the task that is to be resumed. `limit` is 0 for the read of one event, else the
    most events of a batch. `steps` is the generator that takes its steps, which whoever awaits it drives; None before
    and after.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "context",
        "limit",
        "message",
        "slot",
        "state",
        "steps",
        "subscription",
        "wakeup",
    )

    # Set when it parks or is cancelled: most reads do neither.
    slot: int
    message: Any

    def __init__(self, subscription: SubscriptionCore, limit: int = 0) -> None:
        self.subscription: SubscriptionCore | None = subscription
        self.limit: int = limit
        self.state: int = NEW
        self.wakeup: Any = None
        self.context: Context | None = None
        self.steps: Generator[Receive | None, None, Any] | None = None
        # True only until its Task has taken it over. Else None: asyncio.isfuture() then sees a coroutine, so that
        # gather, shield and the like run it in a task, in which it says whose it is.
        self._asyncio_future_blocking: bool | None = None

    def __await__(self) -> Generator[Receive | None, None, Any]:
        if self.steps is not None:
            # Somebody waits on it: refused at its next step. `anext()` with a default asks for this at each step.
            return self  # type: ignore[return-value]
        return self.begin()

    def begin(self) -> Generator[Receive | None, None, Any]:
        """Check where the read stands, and give what takes its steps."""
        if self.subscription is None:
            raise read_over()
        self.subscription._check()
        self.steps = self.walk()
        return self.steps

    def refused(self) -> RuntimeError:
        """The error for awaiting it again."""
        return read_over() if self.state == DONE else read_taken(self.wakeup)

    def walk(self) -> Generator[Receive | None, None, Any]:
        """The steps of the read, as its task takes them."""
        subscription = cast("SubscriptionCore", self.subscription)
        bus = subscription._channel.bus
        # The usual case, spelled out as in `Loop`.
        node = subscription._node
        if (
            node is not None
            and node.next is not None
            and bus.left > 0
            and subscription._plain
            and subscription._head is None
            and not self.limit
        ):
            self.state = DONE
            self.subscription = self.steps = None
            subscription._node = node.next
            subscription._position += 1
            bus.left -= 1
            return node.event
        node = None
        try:
            if not subscription._plain:
                subscription._came_back()
            while subscription._head is None:
                if bus.left <= 0 and subscription._has_event() and bus.turn_is_over():
                    bus.put_off(self)
                    self.state = YIELDED
                    self._asyncio_future_blocking = True
                    yield self
                    self.state = NEW
                elif subscription._has_event():
                    return self.take(subscription)
                elif subscription._is_closed():
                    raise StopAsyncIteration
                else:
                    break
            subscription._asked = subscription._position
            self.park(subscription)
            while True:
                self._asyncio_future_blocking = True
                yield self
                if self.state == ENDED:
                    raise StopAsyncIteration
                if self.state != GRANTED:
                    raise RuntimeError("a parked read was resumed by something else than its bus")
                if subscription._has_event():
                    return self.take(subscription)
                if subscription._is_closed():
                    raise StopAsyncIteration
                # What it was woken for is gone: it keeps its place at the head.
                self.state = PARKED
                subscription._channel.park(self)
        finally:
            if self.state == PARKED or self.state == GRANTED:
                self.leave()
            self.state = DONE
            self.wakeup = self.context = None
            # This frame, too: the traceback of an exception that comes through it would keep the subscription.
            subscription = self.subscription = self.steps = None  # type: ignore[assignment]

    def __next__(self) -> Receive | None:
        return self.send(None)

    def send(self, value: None, /) -> Receive | None:
        if self.state == DONE or self.wakeup is not None:
            raise self.refused()
        return (self.steps or self.begin()).send(value)

    def __iter__(self) -> Iterator[Receive | None]:
        return self

    def throw(self, exception_type: Any, exception: Any = None, traceback: Any = None) -> Any:
        self.give_up()
        raise thrown(exception_type, exception, traceback)

    def close(self) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Be over without an event. Refused while a task waits that does not itself do this."""
        if self.state != DONE:
            if self.wakeup is not None and not drives(self.wakeup, self):
                raise read_taken(self.wakeup)
            if self.steps is not None:
                self.steps.close()
            self.leave()
            self.over()
            self.wakeup = self.context = None

    def over(self) -> None:
        self.state = DONE
        self.subscription = self.steps = None

    def waits(self) -> bool:
        return self.state == PARKED or self.state == YIELDED

    @property
    def yielded(self) -> bool:
        """Whether it is put off to the loop's next turn."""
        return self.state == YIELDED

    def take(self, subscription: SubscriptionCore) -> Any:
        """What the read is for: one event, or a batch when it has a limit."""
        bus = subscription._channel.bus
        if self.limit == 0:
            bus.left -= 1
            return subscription._take()
        batch = subscription._take_batch(self.limit)
        bus.left -= len(batch)
        return batch

    def park(self, subscription: SubscriptionCore) -> None:
        """Take a place at the end of the line."""
        if subscription._head is None:
            subscription._channel.park(self)
            subscription._head = self
        else:
            if subscription._line is None:
                subscription._line = OrderedDict()
                share_work(subscription)
            subscription._line[self] = None
            self.slot = 0
        self.state = PARKED

    def leave(self) -> None:
        """Give up the place in line, if it has one, so that whoever is next waits no longer behind it."""
        subscription = self.subscription
        if subscription is None or (self.state != PARKED and self.state != GRANTED):
            return
        if subscription._head is self:
            subscription._next_in_line()
            if self.state == PARKED:
                subscription._channel.unpark(self)
        elif subscription._line is not None:
            del subscription._line[self]
        self.state = DONE
        self.subscription = None

    @property
    def idle(self) -> bool:
        """Whether it waits for an event that is not there (contract 5.4)."""
        return (
            self.state == PARKED
            and self.subscription is not None
            and not (self.subscription._has_event() or self.subscription._is_closed())
        )

    def end(self) -> None:
        """End the wait without an event: its reader's loop finishes (contract 5.4)."""
        if self.state == PARKED and self.subscription is not None:
            self.subscription._channel.bus.wake(self)
            self.leave()
            self.state = ENDED

    @property
    def channel(self) -> Channel | None:
        return None if self.subscription is None else self.subscription._channel

    def get_loop(self) -> AbstractEventLoop:
        if self.subscription is None:
            raise read_over()
        return self.subscription._channel.bus.loop

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        state = self.state
        if self.wakeup is not None or (state != PARKED and state != YIELDED):
            raise self.refused()
        self.wakeup = callback
        self.context = context
        self._asyncio_future_blocking = None

    def cancel(self, msg: Any = None) -> bool:
        """Called by Task.cancel(). The event, if one has arrived meanwhile, stays where it is (contract 2.5).

        Its task does not stand behind all that is to be resumed before it: the loop calls it next.
        """
        if not self.waits() or self.subscription is None:
            return False
        bus = self.subscription._channel.bus
        if self.wakeup is not None and not bus.loop.is_closed():
            bus.loop.call_soon(self.wakeup, self, context=self.context)
            bus.wakes += 1
            bus.tell_stirred()
        self.leave()
        self.subscription = None
        self.state = CANCELLED
        self.message = msg
        return True

    def result(self) -> None:
        if self.state == CANCELLED:
            raise CancelledError() if self.message is None else CancelledError(self.message)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def __repr__(self) -> str:
        return (
            "<Receive, over>"
            if self.subscription is None
            else f"<Receive of {self.subscription!r}>"
        )


# The same steps as something that `await` takes directly, for `Loop`, which needs no object around them.
_walk: Final[Callable[[Receive], Awaitable[Any]]] = coroutine(
    FunctionType(Receive.walk.__code__, globals(), "walk")
)


class BusCore(Turns):
    """The table of channels of one bus, and the reads that are to be resumed: what is on the way of an event.

    `Bus` in bus.py is the class over it, with all the rest. It belongs to the loop and the thread in which it was made
    (guarantee 6.1).
    """

    __slots__ = (
        "__weakref__",
        "ended",
        "here",
        "inbox",
        "name",
        "resumed",
        "strict",
        "table",
        "thread",
    )

    def __init__(self, name: str, turn: float = TURN) -> None:
        super().__init__(turn)
        self.name: str = name
        self.thread: int = get_ident()
        self.here: object = _here()
        # By identity, as a metaclass may compare its classes in its own way. A channel keeps its type alive.
        self.table: dict[int, Channel] = {}
        self.ended: bool = False
        # Whether an event that nobody subscribes to may have to be refused.
        self.strict: bool = False
        # A finished future, given to each task as the one that woke it: the Task finds its result faster than
        # it could ask a Receive.
        self.resumed: Future[None] = self.loop.create_future()
        self.resumed.set_result(None)
        self.inbox: Inbox = Inbox(name, self.loop, Context(), self.accept)

    def send(self, event: Any) -> None:
        """Append the event to its type's chain, or drop it if nobody subscribes to the type (guarantee 1)."""
        event_type = type(event)
        channel = self.table.get(id(event_type))
        if channel is not None:
            if get_ident() != self.thread:
                self.inbox.put(event)
            else:
                channel.append(event)
        elif self.strict or (id(event_type) not in KNOWN and not is_event_type(event_type)):
            refuse(self, event)

    def accept(self, event: Any) -> None:
        """Append an event that another thread sent, unless its type has lost its subscriptions since."""
        channel = self.table.get(id(type(event)))
        if channel is not None:
            channel.append(event)

    def subscribe(
        self,
        event_type: type[Any],
        limit: int | None = None,
        overflow: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Start receiving the events of exactly this type (contract 2.1, 4.1)."""
        check_type("subscribe()", event_type)
        if self.ended:
            return successor(self, "subscribe()").subscribe(event_type, limit, overflow, name)
        self.check("subscribe()")
        kind = "" if limit is None and overflow is None else overflow_of(limit, overflow)
        if name is not None or self.loop.get_debug():
            name = name_for(name)
        if self.strict or self.inbox.events:
            deliver_first(self, event_type)
        while True:
            channel = self.table.get(id(event_type))
            if channel is None:
                channel = Channel(self, event_type)
                if id(event_type) in self.table:
                    continue
                self.table[id(event_type)] = channel
            bound = None if limit is None else Bound(channel, limit, kind, name)
            subscription = _public(channel, bound, name)
            # To make it may have set off the collector, which may have ended the channel's last subscription and the
            # channel with it, or subscribed to the type.
            if self.table.get(id(event_type)) is channel:
                return subscription

    def check(self, call: str) -> None:
        """Refuse another loop or thread than the bus's own (guarantee 6.1)."""
        running = _get_running_loop()
        if running is not self.loop or get_ident() != self.thread:
            raise not_at_home(self, call, running)

    def runs_elsewhere(self) -> bool:
        """Whether its loop is being run, but not by the caller: in another thread by now, or around a loop within it.

        What wakes a reader must be handed over then, as from any thread.
        """
        return _get_running_loop() is not self.loop and self.loop.is_running()

    def resume(self, here: Context, asked: int) -> None:
        """Run the tasks whose waits are over, each in its own context (contract 2.6, 2.7).

        Workers of one subscription hand on to each other within the batch. When the time is over, those that are left
        are the first in the next turn.
        """
        if self.over == 2:
            # This stands in the loop's queue before what its timers and sockets have ready by now: these first.
            self.over = 1
            if asked == self.asked:
                self.due = None
            try:
                self.schedule()
            finally:
                if self.due is None:
                    self.schedule()
                self.contexts.append(here)
            return
        outer, outer_walked = self.batch, self.walked
        batch: list[Receive] = []
        # A signal's handler may raise between any two steps of this: what is in hand then is put back below.
        try:
            if asked == self.asked:
                self.due = None
            self.walked = 0
            # Where a task that is being resumed runs the loop again, those behind it are not to wait until it is back.
            batch = self.ready if outer is None else outer[outer_walked:] + self.ready
            self.begin_turn(1)
            self.noted = False
            self.ready = []
            self.batch = batch
            if outer is not None:
                del outer[outer_walked:]
            if len(batch) > 1 and type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # where the loop may be run again, by what is resumed first
            while (count := self.walked) < len(batch) and (
                self.left > 0 or not self.turn_is_over()
            ):
                receive = batch[count]
                try:
                    # None for one that was cancelled after it had been woken, or that stands here twice, ended then.
                    wakeup = context = None
                    if receive.state != CANCELLED:
                        wakeup, context = receive.wakeup, receive.context
                        receive.wakeup = receive.context = None
                    if wakeup is not None and receive.state == PARKED:
                        receive.state = GRANTED
                    self.walked = count + 1
                    if wakeup is not None:
                        cast("Context", context).run(wakeup, self.resumed)
                finally:
                    # Its task did not come for the event. Or nobody waits on it, as whoever parked it was interrupted
                    # or has dropped it: then those behind it are not to wait.
                    if receive.state == GRANTED or (
                        receive.state == PARKED and receive.wakeup is None
                    ):
                        receive.leave()
        finally:
            # Left over after KeyboardInterrupt or SystemExit, which a Task lets through, or when the time was over.
            if self.walked < len(batch):
                del batch[: self.walked]
                if self.ready is not batch:
                    batch.extend(self.ready)
                    self.ready = batch
            self.batch, self.walked = outer, outer_walked
            if self.ready and self.due is None:
                self.schedule()
            if self.stirred is not None:
                self.tell_stirred()
            # The traceback of a task's exception may come through this frame, and would keep them.
            batch = []
            receive = wakeup = context = None  # type: ignore[assignment]
            self.contexts.append(here)

    def clear(self) -> dict[int, Channel]:
        """Give up the table, so that `send` finds nobody; returns it."""
        table, self.table = self.table, {}
        return table

    def retire(self) -> None:
        """Be of no thread and no run of a loop, so that each call looks closer, and ask nothing more of the loop."""
        self.thread = 0
        self.here = None
        self.due = ref(self)
        self.trusted = inf


current: Final[ContextVar[Any]] = ContextVar("haiway_bus.current", default=None)


def send(event: Any, /) -> None:
    """Send the event to every subscription of exactly its type on the bus of the current scope.

    Never blocks and never runs a reader. Raises ContextMissing outside a scope and after its end (contract 5.2,
    5.6), TypeError for what cannot be an event (contract 1.4).
    """
    bus: BusCore | None = current.get()
    if bus is None:
        raise no_scope("send()")
    # The usual case of Bus.send, spelled out.
    channel = bus.table.get(id(type(event)))
    if channel is not None and get_ident() == bus.thread:
        channel.append(event)
    else:
        bus.send(event)

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
from asyncio.events import _get_running_loop, get_running_loop
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import Context, ContextVar
from math import inf
from opcode import opmap
from sys import _getframe, get_asyncgen_hooks, maxsize, version_info
from threading import get_ident
from time import perf_counter
from types import FunctionType, TracebackType, coroutine
from typing import Any, Final, Generic, Literal, NoReturn, TypeVar, cast
from weakref import WeakSet, ref

from haiway_bus._bus.drops import Dropped, Losses, note_closed, note_losses, tell_rest
from haiway_bus._bus.first import first_of
from haiway_bus._bus.flush import Round, Work, flush
from haiway_bus._bus.inbox import Inbox
from haiway_bus._bus.loops import runs_again
from haiway_bus._bus.names import caller, name_of
from haiway_bus._bus.reads import drives, no_copy, read_over, read_taken
from haiway_bus._bus.refusals import (
    DROP_OLDEST,
    FORKED,
    KNOWN,
    RAISE,
    TURN,
    apart_from,
    bus_over,
    check_limit,
    check_timeout,
    check_type,
    elsewhere,
    event_refused,
    is_event_type,
    no_scope,
    nothing_waits,
    overflow_of,
    overflowed,
)
from haiway_bus._bus.stats import EventStats, Looks, Observer, look, stats_of
from haiway_bus._bus.watch import open_buses
from haiway_bus._values.by_type import ByType
from haiway_bus._values.printable import described, name_of_type

__all__ = (
    "Batches",
    "Bound",
    "Bus",
    "Channel",
    "Node",
    "Receive",
    "Subscription",
    "current",
    "send",
    "subscribe",
)

Event = TypeVar("Event")

# The most reads between two looks at the clock, and how many there are before the second one of a turn that began
# outside of `resume`.
STRIDE: Final = 64
FIRST_STRIDE: Final = 8

# How long a call of `resume` that was asked of the loop is relied on, once another read is to be resumed by it.
TRUST_SECONDS: Final = 0.005

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

    def __init__(self, bus: Bus, event_type: type[Any]) -> None:
        self.bus: Bus = bus
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
        self.members: dict[int, ref[Subscription[Any]]] = {}
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
            self.bus.wake_all(self)
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
            oldest = subscription.node
            if oldest is not None and self.sent - subscription.position >= bound.limit:
                if gone is None or subscription.position < position:
                    gone, position = oldest, subscription.position
                subscription.node = oldest.next
                subscription.position += 1
                bound.dropped += 1
            oldest = None
            self.file(bound, subscription.position + bound.limit)
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
            elif subscription.waiting() < bound.limit:
                self.file(bound, self.sent + bound.limit - subscription.waiting())
            elif subscription.held is None:
                room: list[Any] = [None] * bound.limit
                if subscription.held is None:
                    subscription.held = room
            else:
                subscription.move_out()

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

    def enter(self, subscription: Subscription[Any]) -> None:
        """Give a subscription a place at the end of the chain: a new one, or one that comes back for what is sent now.

        The latter has just taken an event, and so has room for one.
        """
        # No call from here on, so that a signal's handler sends before all this or after it.
        bound = subscription.bound
        if subscription.node is None:
            subscription.position = subscription.start = subscription.asked = self.sent
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
        subscription.node = self.tail
        self.sharing += 1

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

    def join(self, subscription: Subscription[Any]) -> None:
        self.joined += 1
        subscription.key = self.joined
        self.members[subscription.key] = ref(subscription)
        if subscription.bound is not None:
            try:
                self.bounded[subscription.key] = subscription.bound
            except MemoryError:
                del self.members[subscription.key]
                raise
        self.enter(subscription)

    def leave(self, key: int, bound: Bound | None, delivered: int, unread: int) -> None:
        del self.members[key]
        self.delivered += delivered
        if unread and self.bus.parted is not None:
            self.bus.parted.append((self.event_type, unread))
        if bound is not None and bound.left_at >= 0:
            self.away -= 1
        else:
            self.sharing -= 1
        if bound is not None:
            del self.bounded[key]
            self.file(bound, 0)
            self.dropped += bound.dropped
        forgotten = self.forget()
        try:
            if bound is not None and bound.dropped > bound.told:
                note_closed(self, bound.dropped - bound.told, bound)
        finally:
            if forgotten and self.bus.forgotten is not None:
                self.bus.forgotten(self.event_type, stats_of(self))

    def untold(self) -> list[tuple[int, Bound]]:
        """The bounds of those that have lost events since this was last asked, each with how many."""
        found = []
        for bound in list(self.bounded.values()):
            lost = bound.lost()
            if lost > bound.told:
                found.append((lost - bound.told, bound))
                bound.told = lost
        return found

    def forget(self) -> bool:
        """Leave the bus's table when there is no subscription. Whether that was so."""
        if self.members or self.bus.table.get(id(self.event_type)) is not self:
            return False
        del self.bus.table[id(self.event_type)]
        return True

    def subscriptions(self) -> list[Subscription[Any]]:
        # Of a copy, as wherever a table is walked: what runs meanwhile may set off the collector, and that may end
        # subscriptions which nobody holds any more.
        return [found for member in list(self.members.values()) if (found := member()) is not None]


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
        self.subscription: ref[Subscription[Any]] | None = None
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


class Subscription(Generic[Event]):
    """What `ctx.subscribe(T)` returns: the events of exactly the type T sent from then on, once each, in order.

    Iterate it with `async for`, or take one event with `await anext(subscription)`. Several tasks may do so at
    once: each event goes to one of them, and those that wait are served in the order in which they came
    (contract 2.1 to 2.8). It ends with `close()`, at the end of an `async with` block over it, when the last
    reference to it is dropped, and with its scope.

    Invariants: `node` is the place of the next event that is not apart, None once closed. `waiting()` events wait.
    `head` is the read that is first in line and `line` those behind it; a read that did not wait may take an
    event only while nobody is in line. `plain` means that there is nothing else to see to: nothing apart, no pool, and
    no call of flush that waits. `asked` is a position at which a reader asked for the next event, and so was done with
    all before: the latest, or, while it is `plain`, the latest at which there was none.
    """

    __slots__ = (
        "__weakref__",
        "asked",
        "bound",
        "channel",
        "head",
        "held",
        "key",
        "line",
        "name",
        "node",
        "plain",
        "position",
        "start",
        "work",
    )

    def __init__(
        self, channel: Channel, bound: Bound | None = None, name: str | None = None
    ) -> None:
        self.channel: Channel = channel
        self.bound: Bound | None = bound
        # What logs and errors call it.
        self.name: str | None = name
        # `limit` places for events that wait apart from the chain.
        self.held: list[Any] | None = None
        self.node: Node | None = None
        # The number of the next event, counted without those that it missed.
        self.position: int = channel.sent
        self.start: int = self.position
        self.asked: int = self.position
        self.head: Receive | None = None
        self.line: OrderedDict[Receive, None] | None = None
        self.work: Work | None = None
        self.plain: bool = True
        self.key: int = 0
        if bound is not None:
            bound.subscription = ref(self)
        # Last, so that one which could not join has nothing to leave.
        channel.join(self)

    @property
    def event_type(self) -> type[Event]:
        """The type whose events it receives."""
        return cast("type[Event]", self.channel.event_type)

    @property
    def pending(self) -> int:
        """The number of events that wait to be taken (contract 2.9)."""
        return 0 if self.node is None else self.waiting()

    @property
    def dropped(self) -> int:
        """The number of events that its limit cost it; none without a limit (contract 2.9, 4.2)."""
        return 0 if self.bound is None else self.bound.lost()

    @property
    def limit(self) -> int | None:
        """The most events that wait for it at a time; None without a limit (contract 4.1)."""
        return None if self.bound is None else self.bound.limit

    @property
    def closed(self) -> bool:
        """Whether no further event will reach it; what waits can still be read after its scope's end."""
        return self.node is None or self.channel.ended

    def __aiter__(self) -> Subscription[Event]:
        self.check()
        caller = _getframe(1)
        if caller.f_code.co_code[caller.f_lasti] == _GET_AITER:
            return cast("Subscription[Event]", Loop(self))
        return self

    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return Receive(self)

    def batches(self, limit: int = 1024) -> Batches[Event]:
        """Iterate lists of the events that wait: at least one each, at most `limit` (contract 2.10).

        Cheaper an event than `async for` over the subscription, and mixes with it: each event goes to one reader.
        Raises TypeError or ValueError for a limit that is no number of events.
        """
        return Batches(self, limit)

    def receive_nowait(self) -> Event:
        """Take one event that waits (contract 2.10).

        Raises asyncio.QueueEmpty when none does, or when those that do belong to readers waiting in line, and
        RuntimeError in another loop or thread than the bus's own.
        """
        self.check()
        if not self.plain:
            self.came_back()
        if self.head is not None or not self.has_event():
            self.asked = self.position
            raise nothing_waits(self)
        return cast("Event", self.take())

    def first(
        self, where: Callable[[Event], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Event]:
        """The next event for which `where` holds; the subscription is closed afterwards (contract 2.12).

        One that was made before the request is sent misses no answer. Raises TimeoutError after `timeout` seconds,
        SubscriptionClosed when the subscription ends before. At the end of the scope of a task that waits here for
        an event which nobody is left to send, the task is cancelled.

        Raises TypeError or ValueError for a `where` that is no plain function of one event and for a `timeout` that
        is no number of seconds: at the call, before anything is awaited.
        """
        return first_of(self, where, timeout)

    def take(self) -> Any:
        """The next event, past which it steps; raises SubscriptionOverflow in place of lost ones."""
        if self.bound is not None and self.bound.apart:
            return self.take_apart(self.bound)
        # No call up to the step, so that a signal's handler sends or reads before it or after it.
        node: Any = self.node
        self.node = node.next
        self.position += 1
        if self.work is not None:
            self.work.took(self.position)
        return node.event

    def take_apart(self, bound: Bound) -> Any:
        if self.at_gap():
            lost = cast("dict[int, int]", bound.gaps).pop(self.position)
            self.settle(bound)
            raise overflowed(self.event_type, bound.limit, lost)
        # As in `take`.
        held: Any = self.held
        place = self.position % bound.limit
        event = held[place]
        held[place] = None
        self.position += 1
        if bound.left_at >= 0:
            self.channel.enter(self)
        self.settle(bound)
        if self.work is not None:
            self.work.took(self.position)
        return event

    def settle(self, bound: Bound) -> None:
        """Something that waited apart is gone: maybe the last of it."""
        if bound.held_until == self.position and not bound.gaps:
            bound.apart = False
            self.held = None
            self.plain = self.work is None

    def at_gap(self) -> bool:
        gaps = None if self.bound is None else self.bound.gaps
        return gaps is not None and self.position in gaps

    def move_out(self) -> None:
        """Leave the chain, with all that waits there. `held` is ready for it."""
        bound, channel = cast("Bound", self.bound), self.channel
        position, former = self.position, self.node
        number = bound.held_until if bound.apart else position
        node: Any = former
        while node.next is not None:
            cast("list[Any]", self.held)[number % bound.limit] = node.event
            number += 1
            node = node.next
        node = None
        channel.file(bound, 0)
        # No call from here on: what was taken or closed up to here is seen, and nothing comes between.
        if self.position == position and self.node is former and former is not None:
            bound.held_until = number
            bound.apart = True
            bound.left_at = channel.sent
            self.plain = False
            self.node = NOWHERE
            channel.sharing -= 1
            channel.away += 1
        elif self.node is not None:
            channel.file(bound, channel.sent)
        if getrefcount is not None:
            while former is not None and getrefcount(former) <= _UNSHARED:
                former.next, former = None, former.next

    def take_batch(self, limit: int) -> list[Any]:
        batch = [self.take()]
        while len(batch) < limit and self.has_event():
            if self.at_gap():
                break
            batch.append(self.take())
        return batch

    def came_back(self) -> None:
        """A reader asks for the next event, and so is done with the one before."""
        self.asked = self.position
        if self.work is not None:
            self.work.came_back()

    def belongs_to(self, bus: Bus, event_type: type[Any]) -> bool:
        return self.channel.bus is bus and self.channel.event_type is event_type

    def share_work(self) -> None:
        """From now on, tell apart the tasks that read it: they are a pool of workers."""
        if self.work is None:
            self.set_work(Work(self))
        cast("Work", self.work).share()

    def set_work(self, work: Work | None) -> None:
        self.work = work
        self.plain = work is None and (self.bound is None or not self.bound.apart)

    def waiting(self) -> int:
        """How many events wait, unless it is closed."""
        bound = self.bound
        if bound is None:
            return self.channel.sent - self.position
        last = self.channel.sent if bound.left_at < 0 else bound.left_at
        return last - bound.missed - self.position

    def has_event(self) -> bool:
        return self.node is not None and (
            self.node.next is not None or (self.bound is not None and self.bound.apart)
        )

    def next_in_line(self) -> None:
        """The head was served or has left: who waited longest after it is first now."""
        if not self.line:
            self.head = None
            return
        first = next(iter(self.line))
        if self.has_event() or self.closed:
            self.channel.bus.wake(first)
        else:
            self.channel.park(first)
        del self.line[first]
        self.head = first

    def check(self) -> None:
        """Refuse another loop or thread than the bus's own (contract 6.1)."""
        self.channel.bus.check("reading a subscription")

    def close(self) -> None:
        """End the subscription: free what waits, end the loops that read it (contract 2.8).

        A second call does nothing. Events sent later are no longer kept for it. Raises RuntimeError in another
        thread than the bus's own (contract 6.1).
        """
        if self.node is None and self.head is None:
            return
        bus = self.channel.bus
        if get_ident() != bus.thread and not bus.lost and not bus.loop.is_closed():
            self.check()
        try:
            if self.node is not None:
                parting = self.parting()
                self.release()
                self.leave(*parting)
        finally:
            while self.head is not None and self.head.state == PARKED:
                self.head.end()

    def delivered(self) -> int:
        """How many events its readers took."""
        skipped = (
            self.bound.dropped
            if self.bound is not None and self.bound.overflow == DROP_OLDEST
            else 0
        )
        return self.position - self.start - skipped

    def parting(self) -> tuple[Channel, int, Bound | None, int, int, Work | None]:
        """What `leave` is to know when the subscription itself is gone."""
        delivered, unread = self.delivered(), self.waiting()
        return self.channel, self.key, self.bound, delivered, unread, self.work

    @staticmethod
    def leave(
        channel: Channel,
        key: int,
        bound: Bound | None,
        delivered: int,
        unread: int,
        work: Work | None,
    ) -> None:
        if work is not None:
            work.end()
        channel.leave(key, bound, delivered, unread)

    def release(self) -> None:
        # In a loop, because a chain that is let go at its head frees itself recursively, one stack frame a node
        # (contract 3.3). It stops at the first node that somebody else holds: from there on the chain is in use.
        node, self.node = self.node, None
        if self.bound is not None:
            self.bound.dropped = self.bound.lost()
            self.bound.subscription = self.held = None
        if getrefcount is None:
            return
        while node is not None and getrefcount(node) <= _UNSHARED:
            node.next, node = None, node.next

    def __del__(self) -> None:
        # The collector runs this in whichever thread set it off. Nobody waits any more (a read in line holds its
        # subscription), so that all there is to do is to free the backlog, here, and to be counted out, which
        # is left to the bus's own thread.
        if getattr(self, "node", None) is None:
            return
        self.release()
        bus = self.channel.bus
        parting = self.parting()
        if get_ident() == bus.thread or bus.lost or bus.loop.is_closed():
            self.leave(*parting)
            return
        try:
            bus.loop.call_soon_threadsafe(self.leave, *parting)
        except RuntimeError:  # closed meanwhile
            self.leave(*parting)

    async def __aenter__(self) -> Subscription[Event]:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def __repr__(self) -> str:
        state = "closed" if self.node is None else "ended" if self.channel.ended else "open"
        dropped = f" dropped={self.dropped}" if self.bound is not None else ""
        name = "" if self.name is None else f" {described(self.name)}"
        kind = name_of_type(self.event_type)
        return f"<Subscription {kind}{name} pending={self.pending}{dropped} {state}>"


class Loop(Generic[Event]):
    """What an `async for` over a subscription iterates.

    Its reads are coroutines, which Python makes faster than any object: nobody but the loop gets hold of them, where
    what `anext()` gives has to refuse strangers (guarantee 2.13). So `aiter()` gives the subscription itself.
    """

    __slots__ = ("subscription",)

    def __init__(self, subscription: Subscription[Event]) -> None:
        self.subscription: Subscription[Event] = subscription

    async def __anext__(self) -> Event:
        subscription = self.subscription
        bus = subscription.channel.bus
        is_home = _here() == bus.here
        # The usual case, spelled out: nobody in line, an event there, and no turn of the loop due. No call from here
        # on, so that a signal's handler reads before the step or after it.
        node = subscription.node
        if (
            node is not None
            and node.next is not None
            and bus.left > 0
            and subscription.plain
            and subscription.head is None
            and is_home
        ):
            subscription.node = node.next
            subscription.position += 1
            bus.left -= 1
            event: Event = node.event
        else:
            node = None  # it will hold an event while this waits
            if not is_home:
                subscription.check()
                bus.here = _here()
            steps, subscription = _walk(Receive(subscription)), None  # type: ignore[assignment]
            event = await steps
        return event


class Batches(Generic[Event]):
    """What `subscription.batches(limit)` returns: an iterator over lists of waiting events (contract 2.10)."""

    __slots__ = ("limit", "subscription")

    def __init__(self, subscription: Subscription[Event], limit: int) -> None:
        check_limit("batches()", limit)
        self.subscription: Subscription[Event] = subscription
        self.limit: int = limit

    def __aiter__(self) -> Batches[Event]:
        self.subscription.check()
        return self

    def __anext__(self) -> Coroutine[Any, Any, list[Event]]:
        return Receive(self.subscription, self.limit)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)


class Receive:
    """One read of a subscription by one task, and what the task waits on while there is no event.

    With `send`, `throw` and `close` it counts as a coroutine, so that `asyncio.create_task(anext(subscription))` works.

    To a Task it is a future: `_asyncio_future_blocking`, `get_loop`, `add_done_callback`, `result` and `cancel`
    are all that a Task asks of one. It is no asyncio.Future: those are resumed by one call_soon each, where the
    bus resumes all its readers in one. And it is nobody else's: cancelling a task cancels what it waits on, so
    that readers which shared a future would end each other (contract 2.5). While somebody waits on it, it refuses
    what anybody else does with it (guarantee 2.13).

    Invariants: it stands in `subscription.head` or in `subscription.line` exactly while PARKED or GRANTED. It has its
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

    def __init__(self, subscription: Subscription[Any], limit: int = 0) -> None:
        self.subscription: Subscription[Any] | None = subscription
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
        self.subscription.check()
        self.steps = self.walk()
        return self.steps

    def refused(self) -> RuntimeError:
        """The error for awaiting it again."""
        return read_over() if self.state == DONE else read_taken(self.wakeup)

    def walk(self) -> Generator[Receive | None, None, Any]:
        """The steps of the read, as its task takes them."""
        subscription = cast("Subscription[Any]", self.subscription)
        bus = subscription.channel.bus
        # The usual case, spelled out as in `Loop`.
        node = subscription.node
        if (
            node is not None
            and node.next is not None
            and bus.left > 0
            and subscription.plain
            and subscription.head is None
            and not self.limit
        ):
            self.state = DONE
            self.subscription = self.steps = None
            subscription.node = node.next
            subscription.position += 1
            bus.left -= 1
            return node.event
        node = None
        try:
            if not subscription.plain:
                subscription.came_back()
            while subscription.head is None:
                if bus.left <= 0 and subscription.has_event() and bus.turn_is_over():
                    bus.put_off(self)
                    self.state = YIELDED
                    self._asyncio_future_blocking = True
                    yield self
                    self.state = NEW
                elif subscription.has_event():
                    return self.take(subscription)
                elif subscription.closed:
                    raise StopAsyncIteration
                else:
                    break
            subscription.asked = subscription.position
            self.park(subscription)
            while True:
                self._asyncio_future_blocking = True
                yield self
                if self.state == ENDED:
                    raise StopAsyncIteration
                if self.state != GRANTED:
                    raise RuntimeError("a parked read was resumed by something else than its bus")
                if subscription.has_event():
                    return self.take(subscription)
                if subscription.closed:
                    raise StopAsyncIteration
                # What it was woken for is gone: it keeps its place at the head.
                self.state = PARKED
                subscription.channel.park(self)
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
        if exception is None:
            exception = (
                exception_type if isinstance(exception_type, BaseException) else exception_type()
            )
        elif not isinstance(exception, BaseException):
            exception = exception_type(exception)
        raise exception if traceback is None else exception.with_traceback(traceback)

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

    def take(self, subscription: Subscription[Any]) -> Any:
        """What the read is for: one event, or a batch when it has a limit."""
        bus = subscription.channel.bus
        if self.limit == 0:
            bus.left -= 1
            return subscription.take()
        batch = subscription.take_batch(self.limit)
        bus.left -= len(batch)
        return batch

    def park(self, subscription: Subscription[Any]) -> None:
        """Take a place at the end of the line."""
        if subscription.head is None:
            subscription.channel.park(self)
            subscription.head = self
        else:
            if subscription.line is None:
                subscription.line = OrderedDict()
                subscription.share_work()
            subscription.line[self] = None
            self.slot = 0
        self.state = PARKED

    def leave(self) -> None:
        """Give up the place in line, if it has one, so that whoever is next waits no longer behind it."""
        subscription = self.subscription
        if subscription is None or (self.state != PARKED and self.state != GRANTED):
            return
        if subscription.head is self:
            subscription.next_in_line()
            if self.state == PARKED:
                subscription.channel.unpark(self)
        elif subscription.line is not None:
            del subscription.line[self]
        self.state = DONE
        self.subscription = None

    @property
    def idle(self) -> bool:
        """Whether it waits for an event that is not there (contract 5.4)."""
        return (
            self.state == PARKED
            and self.subscription is not None
            and not (self.subscription.has_event() or self.subscription.closed)
        )

    def end(self) -> None:
        """End the wait without an event: its reader's loop finishes (contract 5.4)."""
        if self.state == PARKED and self.subscription is not None:
            self.subscription.channel.bus.wake(self)
            self.leave()
            self.state = ENDED

    @property
    def channel(self) -> Channel | None:
        return None if self.subscription is None else self.subscription.channel

    def get_loop(self) -> AbstractEventLoop:
        if self.subscription is None:
            raise read_over()
        return self.subscription.channel.bus.loop

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
        bus = self.subscription.channel.bus
        if self.wakeup is not None and not bus.loop.is_closed():
            bus.loop.call_soon(self.wakeup, self, context=self.context)
            bus.wakes += 1
            if bus.stirred is not None:
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


class Bus:
    """The bus of one root or isolated scope: a table of channels, and the reads that are to be resumed.

    It belongs to the loop and the thread in which it was made (contract 6.1).

    Invariants: `ready` holds reads whose wait is over, and while there are any, `resume` is scheduled (`due`) or
    running. `batch` is the list that the innermost `resume` is walking, `walked` how far it has come; None while none
    runs. More than one runs where a task that is resumed runs the loop again (guarantee 2.16). `contexts` are those in
    which none runs and none is to be called.

    All readers together have `turn` seconds in a turn of the loop, and the body that is running then (guarantee 2.6). A
    clock costs as much as a third of a read, so it is asked after `left` reads: the quicker they are, the more. A turn
    begins with `resume`, or with the first look at the clock outside of it.
    """

    __slots__ = (
        "__weakref__",
        "asked",
        "batch",
        "contexts",
        "due",
        "ended",
        "forgotten",
        "here",
        "inbox",
        "instead",
        "kept",
        "left",
        "looked_at",
        "loop",
        "losses",
        "lost",
        "name",
        "noted",
        "observer",
        "open_buses",
        "over",
        "parted",
        "ready",
        "resumed",
        "run_forever",
        "stirred",
        "strict",
        "stride",
        "table",
        "thread",
        "trusted",
        "turn",
        "turn_end",
        "wakes",
        "walked",
    )

    def __init__(self, name: str, turn: float = TURN) -> None:
        self.name: str = name
        self.turn: float = turn
        self.turn_end: float = 0.0
        self.looked_at: float = 0.0
        # Reads until the clock is asked again, and between the last two times that it was.
        self.left: int = 1
        self.stride: int = 1
        # Not 0: nobody reads until `resume` has been called so often, and it is scheduled.
        self.over: int = 0
        # The loop is to call `turn_ended`.
        self.noted: bool = False
        self.loop: AbstractEventLoop = get_running_loop()
        self.thread: int = get_ident()
        self.here: object = _here()
        # By identity, as a metaclass may compare its classes in its own way. A channel keeps its type alive.
        self.table: dict[int, Channel] = {}
        self.ready: list[Receive] = []
        self.batch: list[Receive] | None = None
        self.walked: int = 0
        # How many times reads were handed over to be resumed, and what to call once some have been.
        self.wakes: int = 0
        self.stirred: list[Callable[[], object]] | None = None
        # `resume` needs a context of its own: it enters each task's. And so does one within another, as none can be
        # entered twice.
        self.contexts: list[Context] = []
        # The call of `resume` that the loop is to make, how many it was asked for, and until when the last one is
        # relied on.
        self.due: ref[Any] | None = None
        self.asked: int = 0
        self.trusted: float = 0.0
        # That of the loop, if nothing that it calls can run it again.
        self.run_forever: Any = None if runs_again(self.loop) else type(self.loop).run_forever
        self.ended: bool = False
        # Whether an event that nobody subscribes to may have to be refused.
        self.strict: bool = False
        # A finished future, given to each task as the one that woke it: the Task finds its result faster than
        # it could ask a Receive.
        self.resumed: Future[None] = self.loop.create_future()
        self.resumed.set_result(None)
        self.inbox: Inbox = Inbox(name, self.loop, Context(), self.accept)
        # Who is told of drops: called in the loop.
        self.observer: Callable[[Dropped], None] | None = None
        # By the id of the type, while a report of its drops is due.
        self.losses: dict[int, Losses] = {}
        # Who is told the last numbers of a type that has lost its last subscription.
        self.forgotten: Callable[[type[Any], EventStats], None] | None = None
        # The one that takes its place for code whose context still has this one (guarantee 5.14).
        self.instead: Bus | None = None
        # By type, what was unread in subscriptions that have gone since the scope was broken off; None before.
        self.parted: list[tuple[type[Any], int]] | None = None
        # Why it ended when its scope had no part in it, and the table that it had then.
        self.lost: str = ""
        self.kept: dict[int, Channel] = {}
        # Those of the loop, which hear of its close, and of a fork.
        self.open_buses: WeakSet[Bus] = open_buses(self.loop).buses
        self.open_buses.add(self)

    def send(self, event: Any) -> None:
        """Append the event to its type's chain, or drop it if nobody subscribes to the type (contract 1)."""
        event_type = type(event)
        channel = self.table.get(id(event_type))
        if channel is not None:
            if get_ident() != self.thread:
                self.inbox.put(event)
            else:
                channel.append(event)
        elif id(event_type) not in KNOWN and not is_event_type(event_type):
            raise event_refused(event)
        elif self.strict:
            self.check_unheard(event)

    def check_unheard(self, event: Any) -> None:
        """Raise when an event that nobody subscribes to must not be dropped: after the end, or from a thread before."""
        if self.ended:
            if self.instead is None:
                raise bus_over("send()", self.name, self.lost)
            self.instead.send(event)
        elif get_ident() != self.thread:
            self.inbox.check(type(event))

    def refuse_threads(self, event_types: Iterable[type[Any]] | None) -> bool:
        """Refuse what other threads send from now on, of these types or, given None, of all (guarantee 6.2).

        Called at a scope's end, before its readers are ended: what has come is delivered first. False, and nothing is
        refused, when a thread has just sent, so that those readers have work to do.
        """
        self.strict = True
        if event_types is None:
            self.inbox.deliver(close=True)
            return True
        return self.inbox.refuse(event_types)

    def accept(self, event: Any) -> None:
        """Append an event that another thread sent, unless its type has lost its subscriptions since."""
        channel = self.table.get(id(type(event)))
        if channel is not None:
            channel.append(event)

    def subscribe(
        self,
        event_type: type[Event],
        limit: int | None = None,
        overflow: str | None = None,
        name: str | None = None,
    ) -> Subscription[Event]:
        """Start receiving the events of exactly this type (contract 2.1, 4.1)."""
        check_type("subscribe()", event_type)
        if self.ended:
            if self.instead is None:
                raise bus_over("subscribe()", self.name, self.lost)
            return self.instead.subscribe(event_type, limit, overflow, name)
        self.check("subscribe()")
        overflow = overflow_of(limit, overflow)
        if name is not None:
            name = name_of(name)
        elif self.loop.get_debug():
            name = caller()
        if self.inbox.events:
            # Their `send` has returned, and a subscription sees only what is sent after it (guarantee 2.1, 6.2).
            self.inbox.deliver()
        if self.strict:
            self.inbox.refused.pop(id(event_type), None)  # it has a reader again
        while True:
            channel = self.table.get(id(event_type))
            if channel is None:
                channel = Channel(self, event_type)
                if id(event_type) in self.table:
                    continue
                self.table[id(event_type)] = channel
            try:
                bound = None if limit is None else Bound(channel, limit, overflow, name)
                subscription: Subscription[Event] = Subscription(channel, bound, name)
            except MemoryError:
                channel.forget()
                raise
            # To make it may have set off the collector, which may have ended the channel's last subscription and the
            # channel with it, or subscribed to the type.
            if self.table.get(id(event_type)) is channel:
                return subscription

    async def flush(
        self,
        event_type: type[Any],
        timeout: float | None = None,
        without: Iterable[Subscription[Any]] = (),
    ) -> None:
        """Return when every subscription of the type has taken all that was sent before (contract 4.4)."""
        self.check("flush()")
        check_type("flush()", event_type)
        check_timeout("flush()", timeout)
        apart = apart_from(event_type, without, self, Subscription)
        self.inbox.deliver()
        channel = self.table.get(id(event_type))
        if channel is not None:
            await flush(channel, timeout, apart)

    def check(self, call: str) -> None:
        running = _get_running_loop()
        if running is not self.loop or get_ident() != self.thread:
            if self.lost == FORKED:
                raise bus_over(call, self.name, self.lost)
            raise elsewhere(call, self.loop, self.inbox.thread, running)

    def runs_elsewhere(self) -> bool:
        """Whether its loop is being run, but not by the caller: in another thread by now, or around a loop within it.

        What wakes a reader must be handed over then, as from any thread.
        """
        return _get_running_loop() is not self.loop and self.loop.is_running()

    def wake_all(self, channel: Channel) -> None:
        """Hand over every read that is parked on the channel, in one step however many there are."""
        self.wakes += 1
        self.schedule()
        if self.ready:
            self.ready.extend(channel.parked)
            channel.parked.clear()
        else:
            self.ready, channel.parked = channel.parked, self.ready

    def wake(self, receive: Receive) -> None:
        """Resume one read: in the batch that is being resumed, or else in the next.

        In none once the loop is closed: nobody can be resumed, and who leaves the line then is not to fail for it.
        """
        self.wakes += 1
        if self.batch is not None:
            self.batch.append(receive)
            if type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # who walks the batch may stand below, and wait for the loop that is run again here
        elif not self.loop.is_closed():
            self.schedule()
            self.ready.append(receive)

    def put_off(self, receive: Receive) -> None:
        """Resume a read in the loop's next turn, behind those that wait for it already."""
        self.schedule()
        self.ready.append(receive)

    def begin_turn(self, reads: int) -> None:
        self.looked_at = perf_counter()
        self.turn_end = self.looked_at + self.turn
        self.over = 0
        self.left = self.stride = reads

    def turn_is_over(self) -> bool:
        """Whether the loop is to have its turn: asked when no read is left before the next look at the clock."""
        if self.over:
            return True
        if self.batch is None and not self.noted:
            # Tasks that the loop itself has called read here. When the turn began is not known, so it begins now.
            self.loop.call_soon(self.turn_ended, context=Context())
            self.noted = True
            self.begin_turn(FIRST_STRIDE)
            return False
        before, self.looked_at = self.looked_at, perf_counter()
        if self.looked_at >= self.turn_end:
            self.over = 2
            self.left = 0
            # Readers that take all their time are no sign that a call of `resume` was lost.
            self.trusted = self.loop.time() + self.turn + TRUST_SECONDS
            return True
        quick = (self.looked_at - before) * 8 < self.turn
        self.left = self.stride = min(2 * self.stride, STRIDE) if quick else 1
        return False

    def turn_ended(self) -> None:
        """Called by the loop in its next turn."""
        self.noted = False

    def schedule(self) -> None:
        if self.due is None:
            self.call_resume()
        elif self.loop.time() >= self.trusted:
            # A loop can lose what it was to call, to a KeyboardInterrupt just then, and who holds that exception hides
            # the loss: the handle is not let go. So a second call is made now and then, which costs little.
            self.trusted = self.loop.time() + TRUST_SECONDS
            self.call_resume()

    def call_resume(self) -> None:
        try:
            context = self.contexts.pop()
        except IndexError:
            context = Context()
        # The handle that the loop drops uncalled tells that it was lost (guarantee 2.16).
        self.asked += 1
        handle = self.loop.call_soon(self.resume, context, self.asked, context=context)
        self.due = ref(handle, self.ask_again)

    def ask_again(self, due: ref[Any]) -> None:
        if self.due is due:
            self.due = None
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self.wake_ready, context=Context())

    def when_stirred(self, call: Callable[[], object]) -> Callable[[], object]:
        """Have it called by the loop after reads have been resumed next; returns what withdraws that."""
        if self.stirred is None:
            self.stirred = []
        self.stirred.append(call)

        def withdraw() -> None:
            if self.stirred is not None and call in self.stirred:
                self.stirred.remove(call)

        return withdraw

    def tell_stirred(self) -> None:
        calls, self.stirred = self.stirred or (), None
        for call in calls:
            self.loop.call_soon(call, context=Context())

    def wake_ready(self) -> None:
        """See to it that the reads whose wait is over are resumed."""
        if self.ready:
            self.schedule()

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

    def events(self, observer: Observer | None = None) -> ByType[EventStats]:
        """By type, what the channels tell of themselves (contract 8.3), to who looks: whoever, unless given."""
        return ByType(
            [(channel.event_type, look(channel, observer)) for channel in list(self.table.values())]
        )

    def unread(self) -> list[tuple[type[Any], int]]:
        """By type, how many events wait in subscriptions that no task is reading."""
        put_off = {
            id(one.subscription)
            for one in [*self.ready, *(self.batch or ())]
            if one.state == YIELDED
        }
        waiting = [
            (
                channel.event_type,
                sum(
                    one.pending
                    for one in channel.subscriptions()
                    if one.head is None and id(one) not in put_off
                ),
            )
            for channel in list(self.table.values())
        ]
        return [(event_type, number) for event_type, number in waiting if number]

    def break_off(self) -> None:
        """From now on, keep what is unread in subscriptions that go: the tasks that read them are being cancelled."""
        if self.parted is None:
            self.parted = []

    def close(self) -> None:
        """End the bus: reads that wait for an event end, `send` and `subscribe` are refused (contract 5.6)."""
        self.refuse_threads(None)
        self.open_buses.discard(self)
        self.ended = True
        self.parted = None
        channels = list(self.table.values())
        self.table.clear()
        for channel in channels:
            channel.ended = True
            if channel.parked and not self.loop.is_closed():
                self.wake_all(channel)
            for subscription in channel.subscriptions():
                if subscription.work is not None:
                    subscription.work.end()
        # Last: an observer that fails leaves nothing half ended.
        tell_rest(self, channels)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def abandon(self, reason: str) -> None:
        """End the bus as it stands, as its loop is closed or this process was forked. Nobody is woken or told.

        What it holds is kept where `send` does not find it: to free a parked read would end its task, here.
        """
        self.lost = reason
        self.ended = self.strict = True
        # Of no thread and no loop: each call looks closer, and is refused.
        self.thread = 0
        self.here = None
        # Nothing more is asked of the loop.
        self.due = ref(self)
        self.trusted = inf
        self.observer = self.forgotten = None
        self.inbox.abandon()
        self.kept, self.table = self.table, {}
        for channel in self.kept.values():
            channel.ended = True

    def __repr__(self) -> str:
        state = "ended" if self.ended else f"types={len(self.table)}"
        return f"<Bus {described(self.name)} {state}>"


current: Final[ContextVar[Bus | None]] = ContextVar("haiway_bus.current", default=None)


def send(event: Any, /) -> None:
    """Send the event to every subscription of exactly its type on the bus of the current scope.

    Never blocks and never runs a reader. Raises ContextMissing outside a scope and after its end (contract 5.2,
    5.6), TypeError for what cannot be an event (contract 1.4).
    """
    bus = current.get()
    if bus is None:
        raise no_scope("send()")
    # The usual case of Bus.send, spelled out.
    channel = bus.table.get(id(type(event)))
    if channel is not None and get_ident() == bus.thread:
        channel.append(event)
    else:
        bus.send(event)


def subscribe(
    event_type: type[Event],
    /,
    *,
    limit: int | None = None,
    overflow: Literal["drop_oldest", "drop_newest", "raise"] | None = None,
    name: str | None = None,
) -> Subscription[Event]:
    """Subscribe to the events of exactly this type on the bus of the current scope.

    The subscription exists when the call returns: every event sent afterwards waits for it (contract 2.1).

    Arguments:
        event_type: the class of the events.
        limit: the most events that wait at a time; as many as are sent, unless given (contract 4.1).
        overflow: what gives way when one more comes: "drop_oldest" (unless given) or "drop_newest", or "raise",
            where the reader gets SubscriptionOverflow in the place of those it lost, and can read on after it.
        name: what logs and errors call it; in asyncio's debug mode the place of this call, unless given.

    Raises ContextMissing outside a scope and after its end (contract 5.2, 5.6), TypeError for what is no class
    of events (contract 1.4), no limit or no name, ValueError for a limit below one, an unknown overflow or an empty
    name, RuntimeError in another loop or thread than the scope's (contract 6.1).
    """
    bus = current.get()
    if bus is None:
        raise no_scope("subscribe()")
    return bus.subscribe(event_type, limit, overflow, name)

"""The bus in plain Python: the reference, whose names and order `_core_c.pyx` keeps.

    Bus.table:  id of the type of event -> Channel

    ctx.send(event) -> Channel.append: fills the chain's tail, and hands its parked reads to the bus
                    -> Bus.resume, called by the loop: runs the task of each
                    -> the read of the task steps: Receive takes what its subscription has next

The events of one type stand in one chain: see `_chain_py.py`. A task that finds nothing there parks: it waits on its
`Receive`, and the channel remembers that. The next `send` hands all parked reads of the channel to the bus, which
resumes them together in one callback of the loop: see `_turns_py.py`.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, Future
from asyncio.events import _get_running_loop
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import Context, ContextVar
from math import inf
from sys import _getframe
from threading import get_ident
from types import FunctionType, coroutine
from typing import Any, Final, NoReturn, TypeVar, cast
from weakref import ref

from haiway_bus._bus import rare, refusals
from haiway_bus._bus._chain_py import Bound, Chain, Cursor
from haiway_bus._bus._turns_py import Turns
from haiway_bus._bus.flush import Round, share_work
from haiway_bus._bus.inbox import Inbox
from haiway_bus._bus.loops import GET_AITER, here
from haiway_bus._bus.reads import drives, no_copy, read_over, read_taken, thrown
from haiway_bus._bus.refusals import KNOWN, TURN, is_event_type
from haiway_bus._bus.stats import Looks

__all__ = (
    "BatchesCore",
    "BusCore",
    "Channel",
    "Receive",
    "SubscriptionCore",
    "current",
    "publish",
    "send",
)

# The life of a Receive. NEW: not waited on yet. PARKED: in line. GRANTED: its task is being resumed and may
# take an event. CANCELLED, ENDED: out of the line, to be resumed without an event. YIELDED: the loop has its turn, the
# read is NEW again when `resume` comes to it. DONE: over.
NEW, PARKED, GRANTED, CANCELLED, ENDED, YIELDED, DONE = range(7)


class Channel(Chain):
    """The events of one type on one bus, and who waits for them.

    Invariants: a channel is in its bus's table while it has subscriptions, and no longer. `members` are these, held
    weakly, by their `_key`. `parked` holds at most one read for each subscription, its `_head`, and `parked[r.slot] is
    r` for each of them. A parked read is held strongly: a task that waits for an event lives as long as the bus can
    bring one.
    """

    __slots__ = ("bus", "delivered", "dropped", "ended", "joined", "looks", "members", "round")

    def __init__(self, bus: BusCore, event_type: type[Any]) -> None:
        super().__init__(event_type)
        self.bus: BusCore = bus
        # Counts the subscriptions that there ever were, to tell them apart: an id would be used again, and one
        # that is collected in another thread leaves only when the loop gets to it.
        self.joined: int = 0
        self.members: dict[int, ref[SubscriptionCore]] = {}
        # Since somebody has looked.
        self.looks: Looks | None = None
        self.ended: bool = False
        # The latest round of flush.
        self.round: Round | None = None
        # Of the subscriptions that are closed, so that the channel can tell of them, too (guarantee 8.3).
        self.delivered: int = 0
        self.dropped: int = 0

    def hands_over(self, event: Any) -> bool:
        """Wake the reads that are parked, or hand the event over as from a thread: whether that is so."""
        bus = self.bus
        # Its loop may be run, but not by the caller: in another thread by now, or around a loop within it.
        if _get_running_loop() is not bus.loop and bus.loop.is_running():
            bus.inbox.put(event)
            return True
        self.wake_all()
        return False

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
        if subscription._bound is not None:
            self.bounded[subscription._key] = subscription._bound
        self.members[subscription._key] = ref(subscription)
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
            rare.left(self, bound, unread, was_last)


class SubscriptionCore(Cursor):
    """A subscription, as far as it is on the way of an event.

    `Subscription` in subscription.py is the public class over it. That shows its documented names alone, so that all
    names here but theirs begin with an underscore.

    Invariants: `_head` is the read that is first in line and `_line` those behind it. A read that did not wait may take
    an event only while nobody is in line.
    """

    __slots__ = ("_bus", "_head", "_key", "_line", "_name")

    _channel: Channel

    def __init__(
        self, channel: Channel, bound: Bound | None = None, name: str | None = None
    ) -> None:
        self._channel = channel
        self._bus: BusCore = channel.bus
        self._bound = bound
        self._held = self._node = self._work = None
        self._position = self._start = self._asked = channel.sent
        self._plain = True
        # What logs and errors call it.
        self._name: str | None = name
        self._head: Receive | None = None
        self._line: OrderedDict[Receive, None] | None = None
        self._key: int = 0
        if bound is not None:
            bound.subscription = ref(self)
        # Last, so that one which could not join has nothing to leave.
        channel.join(self)

    def __aiter__(self) -> SubscriptionCore | Loop:
        self._check()
        caller = _getframe(1)
        if (
            caller.f_code.co_code[caller.f_lasti] == GET_AITER
            and type(self).__anext__ is SubscriptionCore.__anext__  # else a test has patched it
        ):
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
            raise refusals.nothing_waits(self)
        return self._take()

    def _came_back(self) -> None:
        """A reader asks for the next event, and so is done with the one before."""
        self._asked = self._position
        if self._work is not None:
            self._work.came_back()

    @property
    def _pending(self) -> int:
        """How many events wait to be taken."""
        return 0 if self._node is None else self._waiting()

    def _is_closed(self) -> bool:
        return self._node is None or self._channel.ended

    def _next_in_line(self) -> None:
        """The head was served or has left: who waited longest after it is first now."""
        if not self._line:
            self._head = None
            return
        first = next(iter(self._line))
        if self._has_event() or self._is_closed():
            self._bus.wake(first)
        else:
            self._channel.park(first)
        del self._line[first]
        self._head = first

    def _check(self) -> None:
        """Refuse another loop or thread than the bus's own (guarantee 6.1)."""
        self._bus.check("reading a subscription")

    def _close(self) -> None:
        if self._node is None and self._head is None:
            return
        if get_ident() != self._bus.thread:
            rare.check_close(self)
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

    def __del__(self) -> None:
        # The collector runs this in whichever thread set it off. Nobody waits any more (a read in line holds its
        # subscription), so that all there is to do is to free the backlog, here, and to be counted out, which
        # is left to the bus's own thread.
        if getattr(self, "_node", None) is None:
            return
        if get_ident() == self._bus.thread:
            self._leave()
            return
        self._release()
        parting = self._key, self._bound, self._delivered, self._waiting()
        rare.leave_from_any_thread(self._channel, self._work, parting)


Public = TypeVar("Public", bound=type)


def publish(kind: Public) -> Public:
    """A class decorator for the public class over a core. The compiled backend copies slots of the core into it."""
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
        bus = subscription._bus
        is_home = here() == bus.here
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
            return node.event
        node = None  # it will hold an event while this waits
        if not is_home:
            subscription._check()
            bus.here = here()
        receive, subscription = Receive(subscription), None  # type: ignore[assignment]
        return await _walk(receive)  # which ends before the read does: see there


class BatchesCore:
    """Reads of batches: `Batches` in subscription.py is the public class over it."""

    __slots__ = ("_limit", "_subscription")

    def __init__(self, subscription: SubscriptionCore, limit: int) -> None:
        refusals.check_limit("batches()", limit)
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
    that readers which shared a future would end each other (guarantee 2.5). While somebody waits on it, it refuses
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
        bus = subscription._bus
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
        last: Any = None
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
        except GeneratorExit:
            # `wakeup` may hold the last reference to the task. With the task goes the coroutine that awaits this read,
            # which closes it, while it is being closed. So the reference lasts as long as the read.
            last = self.wakeup
            raise
        finally:
            if self.state == PARKED or self.state == GRANTED:
                self.leave()
            self.state = DONE
            self.wakeup, self.context = None, last
            # This frame, too: the traceback of an exception that comes through it would keep the subscription.
            subscription = last = self.subscription = self.steps = None  # type: ignore[assignment]

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
        bus = subscription._bus
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
        """Whether it waits for an event that is not there (guarantee 5.4)."""
        return (
            self.state == PARKED
            and self.subscription is not None
            and not (self.subscription._has_event() or self.subscription._is_closed())
        )

    def end(self) -> None:
        """End the wait without an event: its reader's loop finishes (guarantee 5.4)."""
        if self.state == PARKED and self.subscription is not None:
            self.subscription._bus.wake(self)
            self.leave()
            self.state = ENDED

    @property
    def channel(self) -> Channel | None:
        return None if self.subscription is None else self.subscription._channel

    def get_loop(self) -> AbstractEventLoop:
        if self.subscription is None:
            raise read_over()
        return self.subscription._bus.loop

    def add_done_callback(self, callback: Any, *, context: Context | None = None) -> None:
        state = self.state
        if self.wakeup is not None or (state != PARKED and state != YIELDED):
            raise self.refused()
        self.wakeup = callback
        self.context = context
        self._asyncio_future_blocking = None

    def cancel(self, msg: Any = None) -> bool:
        """Called by Task.cancel(). The event, if one has arrived meanwhile, stays where it is (guarantee 2.5).

        Its task does not stand behind all that is to be resumed before it: the loop calls it next.
        """
        if not self.waits() or self.subscription is None:
            return False
        bus = self.subscription._bus
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
        "subscription_class",
        "table",
        "thread",
    )

    subscription_class: type[SubscriptionCore]

    def __init__(self, name: str, turn: float = TURN) -> None:
        super().__init__(turn)
        self.name: str = name
        self.thread: int = get_ident()
        self.here: object = here()
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
            rare.refuse(self, event)

    def accept(self, event: Any) -> None:
        """Append an event that another thread sent, unless its type has lost its subscriptions since."""
        channel = self.table.get(id(type(event)))
        if channel is not None:
            channel.append(event)

    def subscribe(
        self, event_type: type[Any], limit: Any = None, overflow: Any = None, name: Any = None
    ) -> Any:
        """Start receiving the events of exactly this type (guarantee 2.1, 4.1)."""
        refusals.check_type("subscribe()", event_type)
        if self.ended:
            return rare.successor(self, "subscribe()").subscribe(event_type, limit, overflow, name)
        self.check("subscribe()")
        kind = "" if limit is None and overflow is None else refusals.overflow_of(limit, overflow)
        if name is not None or self.loop.get_debug():
            name = rare.name_for(name)
        if self.strict or self.inbox.events:
            rare.deliver_first(self, event_type)
        while True:
            channel = self.table.get(id(event_type))
            if channel is None:
                channel = Channel(self, event_type)
                if id(event_type) in self.table:
                    continue
                self.table[id(event_type)] = channel
            bound = None if limit is None else Bound(channel, limit, kind, name)
            subscription = self.subscription_class(channel, bound, name)
            # To make it may have set off the collector, which may have ended the channel's last subscription and the
            # channel with it, or subscribed to the type.
            if self.table.get(id(event_type)) is channel:
                return subscription

    def check(self, call: str) -> None:
        """Refuse another loop or thread than the bus's own (guarantee 6.1)."""
        running = _get_running_loop()
        if running is not self.loop or get_ident() != self.thread:
            raise rare.not_at_home(self, call, running)

    def resume(self, own: Context, asked: int) -> None:
        """Run the tasks whose waits are over, each in its own context (guarantee 2.6, 2.7).

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
                self.contexts.append(own)
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
            self.contexts.append(own)

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

    The call never blocks, and never runs a reader.

    Args:
        event: An instance of a class that Python code defined.

    Raises:
        ContextMissing: There is no current scope, or it has ended.
        TypeError: The object cannot be an event, such as an int, an exception or a class.
    """
    bus: BusCore | None = current.get()
    if bus is None:
        raise refusals.no_scope("send()")
    # The usual case of Bus.send, spelled out.
    channel = bus.table.get(id(type(event)))
    if channel is not None and get_ident() == bus.thread:
        channel.append(event)
    else:
        bus.send(event)

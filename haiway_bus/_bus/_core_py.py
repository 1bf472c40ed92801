"""The hot path of the bus in plain Python: the reference, whose names and order `_core_c.pyx` keeps.

    ctx.send(event) -> Channel.append: fills the tail of the chain, and hands the parked reads to the bus
                    -> Bus.resume, called by the loop: runs the task of each of these reads
                    -> Receive.walk, in the task: takes the next event of its subscription

`Bus.table` maps the id of an event type to its channel, the chain of its events (`_chain_py.py`). A task that finds no
event parks: it waits on its `Receive`, which the channel keeps. The next `send` hands all parked reads of the channel
to the bus, and a single callback of the loop resumes them (`_turns_py.py`).
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

# fmt: off
__all__ = ("BatchesCore", "BusCore", "Channel", "Receive", "SubscriptionCore", "current", "publish", "send")
# fmt: on

# The states of a Receive. NEW: not awaited yet. PARKED: in line. GRANTED: its task is being resumed and may take an
# event. CANCELLED, ENDED: out of the line, its task resumes without an event. YIELDED: put off to the next turn of the
# loop, and NEW again then. DONE: over.
NEW, PARKED, GRANTED, CANCELLED, ENDED, YIELDED, DONE = range(7)


class Channel(Chain):
    """The events of one type on one bus, its subscriptions, and their waiting reads.

    Invariants:
    - Until its bus ends, a channel is in the table of the bus exactly while it has subscriptions.
    - `members` maps the `_key` of each subscription to a weak reference to it.
    - `parked` has at most one read of each subscription, its `_head`, and `parked[read.slot] is read`. The references
      are strong: a task that waits for an event lives as long as the bus can bring it.
    """

    __slots__ = ("bus", "delivered", "dropped", "ended", "joined", "looks", "members", "round")

    away: int
    parked: list[Receive]
    sharing: int

    def __init__(self, bus: BusCore, event_type: type[Any]) -> None:
        super().__init__(event_type)
        self.bus: BusCore = bus
        # The number of subscriptions so far: the key of the latest. An id could be in use again too early.
        self.joined: int = 0
        self.members: dict[int, ref[SubscriptionCore]] = {}
        self.looks: Looks | None = None  # None before the first look
        self.ended: bool = False
        self.round: Round | None = None  # the latest round of flush
        # The totals of the closed subscriptions, for the statistics (guarantee 8.3).
        self.delivered: int = 0
        self.dropped: int = 0

    def hands_over(self, event: Any) -> bool:
        """Wake the parked reads, or else put the event into the inbox of the bus. Return True for the inbox."""
        bus = self.bus
        # The loop of the bus runs, but is not the caller's: it runs in another thread by now, or around a nested loop.
        if _get_running_loop() is not bus.loop and bus.loop.is_running():
            bus.inbox.put(event)
            return True
        self.wake_all()
        return False

    def wake_all(self) -> None:
        """Hand all parked reads to the bus at once."""
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
        # The last read takes the free place, so the time does not depend on the number of reads. A read that `send` has
        # handed to the bus stays there, and is skipped when its turn comes.
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
    """The hot path of a subscription. `Subscription` in subscription.py is the public class over it.

    Invariants:
    - All names but the documented names of `Subscription` begin with an underscore.
    - `_head` is the first read in line, and `_line` holds the reads behind it.
    - A read that did not wait takes an event only while there is no read in line.
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
        self._name: str | None = name  # in logs and errors
        self._head: Receive | None = None
        self._line: OrderedDict[Receive, None] | None = None
        self._key: int = 0
        if bound is not None:
            bound.subscription = ref(self)
        # Last, so that a subscription that could not join has nothing to leave.
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
        """Take a waiting event and return it.

        Raises:
            asyncio.QueueEmpty: No event waits, or the waiting events belong to readers in line.
            SubscriptionOverflow: Events were lost, with overflow="raise".
            RuntimeError: The call is in another loop or thread than the bus.
        """
        self._check()
        if not self._plain:
            self._came_back()
        if self._head is not None or not self._has_event():
            self._asked = self._position
            raise refusals.nothing_waits(self)
        return self._take()

    def _came_back(self) -> None:
        """A reader asks for the next event, so it is done with the events before."""
        self._asked = self._position
        if self._work is not None:
            self._work.came_back()

    @property
    def _pending(self) -> int:
        """The number of waiting events."""
        return 0 if self._node is None else self._waiting()

    def _is_closed(self) -> bool:
        return self._node is None or self._channel.ended

    def _next_in_line(self) -> None:
        """The head was served or has left: the read behind it becomes the head."""
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
        """Refuse a call in another loop or thread than the bus's own (guarantee 6.1)."""
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
        """Free the waiting events, and leave the channel."""
        delivered, unread = self._delivered, self._waiting()
        self._release()
        if self._work is not None:
            self._work.end()
        self._channel.leave(self._key, self._bound, delivered, unread)

    def __del__(self) -> None:
        # The collector may run this in any thread. There is no read in line, as such a read holds its subscription. So
        # only the waiting events are freed here, and the thread of the bus lets the subscription leave its channel.
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
    """Class decorator for a public class over a core. The compiled backend copies slots of the core into the class."""
    return kind


class Loop:
    """The iterator of an `async for` over a subscription.

    Its reads are coroutines, which Python makes faster than other awaitables. Only the `async for` can reach them. A
    read of `anext()` has to refuse other callers (guarantee 2.13), so `aiter()` returns the subscription itself.
    """

    __slots__ = ("subscription",)

    def __init__(self, subscription: SubscriptionCore) -> None:
        self.subscription: SubscriptionCore = subscription

    async def __anext__(self) -> Any:
        subscription = self.subscription
        bus = subscription._bus
        is_home = here() == bus.here
        # The usual case, written out: no read in line, a waiting event, and no turn of the loop due. No call from here
        # on, so a signal handler reads before the step or after it.
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
        node = None  # or the frame would hold its event while this waits
        if not is_home:
            subscription._check()
            bus.here = here()
        receive, subscription = Receive(subscription), None  # type: ignore[assignment]
        return await _walk(receive)  # `receive` must outlive this: see `walk`


class BatchesCore:
    """The hot path of `Batches`, the public class over it in subscription.py."""

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
    """A read of a subscription, and what its task waits on while there is no event.

    With `send`, `throw` and `close` it counts as a coroutine, so that `asyncio.create_task(anext(subscription))` works.
    To a Task it is a future: a Task uses only `_asyncio_future_blocking`, `get_loop`, `add_done_callback`, `result` and
    `cancel`. An asyncio.Future takes a call_soon of its own; the bus resumes all reads in one call. No two tasks share
    a read, as cancelling a task cancels what it waits on (guarantee 2.5). A read that waits refuses others (2.13).

    Invariants:
    - A read is in `subscription._head` or `subscription._line` exactly while PARKED or GRANTED.
    - It has its subscription while NEW, YIELDED, PARKED or GRANTED. When it is over, it holds nothing (guarantee 2.14).
    - `wakeup` is the callback of the waiting task, None while no task waits.
    - `limit` is 0 for the read of an event, else the maximal size of a batch.
    - `steps` is the generator that the awaiting code drives, None before and after.
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

    message: Any
    slot: int

    def __init__(self, subscription: SubscriptionCore, limit: int = 0) -> None:
        self.subscription: SubscriptionCore | None = subscription
        self.limit: int = limit
        self.state: int = NEW
        self.wakeup: Any = None
        self.context: Context | None = None
        self.steps: Generator[Receive | None, None, Any] | None = None
        # True only until its Task has taken it over, else None. With None, asyncio.isfuture() is false, so that gather,
        # shield and the like run it as a coroutine, in a task, where it can refuse them.
        self._asyncio_future_blocking: bool | None = None

    def __await__(self) -> Generator[Receive | None, None, Any]:
        if self.steps is not None:
            # A task waits on it: its next step is refused. `anext()` with a default calls this at each step.
            return self  # type: ignore[return-value]
        return self.begin()

    def begin(self) -> Generator[Receive | None, None, Any]:
        """Check the loop and the thread, and return the generator of the steps."""
        if self.subscription is None:
            raise read_over()
        self.subscription._check()
        self.steps = self.walk()
        return self.steps

    def refused(self) -> RuntimeError:
        """The error for awaiting it again."""
        return read_over() if self.state == DONE else read_taken(self.wakeup)

    def walk(self) -> Generator[Receive | None, None, Any]:
        """The steps of the read. Its task drives this generator."""
        subscription = cast("SubscriptionCore", self.subscription)
        bus = subscription._bus
        # The usual case, written out as in `Loop`.
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
                # The event for which it was woken is gone. It keeps its place at the head.
                self.state = PARKED
                subscription._channel.park(self)
        except GeneratorExit:
            # To free the task here would close its coroutine again, which is closing this read. So keep it.
            last = self.wakeup
            raise
        finally:
            if self.state == PARKED or self.state == GRANTED:
                self.leave()
            self.state = DONE
            self.wakeup, self.context = None, last
            # Clear this frame, too: the traceback of an exception would keep the subscription alive.
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
        """End the read without an event. While a task waits on it, only that task may do this."""
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
        """Whether it is put off to the next turn of the loop."""
        return self.state == YIELDED

    def take(self, subscription: SubscriptionCore) -> Any:
        """Take an event, or a batch if the read has a limit."""
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
        """Leave the line, if it is in line, and let the next read move up."""
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
        """Whether it waits while there is no event for it (guarantee 5.4)."""
        return (
            self.state == PARKED
            and self.subscription is not None
            and not (self.subscription._has_event() or self.subscription._is_closed())
        )

    def end(self) -> None:
        """End the wait without an event: the `async for` of the reader ends (guarantee 5.4)."""
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
        """Task.cancel() calls this. An event that has arrived in the meantime stays in its place (guarantee 2.5).

        The loop calls the task directly, so it does not wait behind the reads that the bus resumes.
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


# `Receive.walk`, with a result that `await` takes directly: `Loop` needs no object around the steps.
_walk: Final[Callable[[Receive], Awaitable[Any]]] = coroutine(
    FunctionType(Receive.walk.__code__, globals(), "walk")
)


class BusCore(Turns):
    """The hot path of a bus: its table of channels, and how its reads resume.

    `Bus` in bus.py is the class over it. A bus belongs to the loop and the thread in which it was made (guarantee 6.1).
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

    ready: list[Receive]
    subscription_class: type[SubscriptionCore]
    walked: int

    def __init__(self, name: str, turn: float = TURN) -> None:
        super().__init__(turn)
        self.name: str = name
        self.thread: int = get_ident()
        self.here: object = here()
        # Keyed by identity, as a metaclass may define equality. A channel keeps its type alive.
        self.table: dict[int, Channel] = {}
        self.ended: bool = False
        self.strict: bool = False  # whether an event without a subscription may have to be refused
        # A finished future, passed to each resumed task: a Task finds its result faster than that of a Receive.
        self.resumed: Future[None] = self.loop.create_future()
        self.resumed.set_result(None)
        self.inbox: Inbox = Inbox(name, self.loop, Context(), self.accept)

    def send(self, event: Any) -> None:
        """Append the event to the chain of its type, or drop it if the type has no subscription (guarantee 1)."""
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
        """Append an event from another thread, unless its type has lost its subscriptions since."""
        channel = self.table.get(id(type(event)))
        if channel is not None:
            channel.append(event)

    def subscribe(
        self, event_type: type[Any], limit: Any = None, overflow: Any = None, name: Any = None
    ) -> Any:
        """Start receiving the events of exactly this type (guarantees 2.1, 4.1)."""
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
            # Making it may have started the collector, and so code that ended the channel, or made another.
            if self.table.get(id(event_type)) is channel:
                return subscription

    def check(self, call: str) -> None:
        """Refuse a call in another loop or thread than the bus's own (guarantee 6.1)."""
        running = _get_running_loop()
        if running is not self.loop or get_ident() != self.thread:
            raise rare.not_at_home(self, call, running)

    def resume(self, own: Context, asked: int) -> None:
        """Run the tasks whose waits are over, each in its own context (guarantees 2.6, 2.7).

        A read that is served adds the read behind it in line to the batch. When the time is over, the reads that are
        left come first in the next turn.
        """
        if self.over == 2:
            # This callback is ahead of timers and sockets that are ready by now. Let them run first.
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
        # A signal handler may raise between any two steps. The `finally` below puts back the reads that are left.
        try:
            if asked == self.asked:
                self.due = None
            self.walked = 0
            # If a resumed task runs the loop again, the reads behind it must not wait until it is back.
            batch = self.ready if outer is None else outer[outer_walked:] + self.ready
            self.begin_turn(1)
            self.noted = False
            self.ready = []
            self.batch = batch
            if outer is not None:
                del outer[outer_walked:]
            if len(batch) > 1 and type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # the first task may run the loop again
            while (count := self.walked) < len(batch) and (
                self.left > 0 or not self.turn_is_over()
            ):
                receive = batch[count]
                try:
                    # None for a read that was cancelled after its wake, or is here a second time to be ended.
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
                    # GRANTED: its task did not take the event. PARKED: the code that parked it was interrupted or has
                    # dropped it. The reads behind it must not wait.
                    if receive.state == GRANTED or (
                        receive.state == PARKED and receive.wakeup is None
                    ):
                        receive.leave()
        finally:
            # Reads are left after KeyboardInterrupt or SystemExit, which a Task lets through, or when time is up.
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
            # Clear this frame: it may be in the traceback of a task's exception, which would keep the reads alive.
            batch = []
            receive = wakeup = context = None  # type: ignore[assignment]
            self.contexts.append(own)

    def clear(self) -> dict[int, Channel]:
        """Empty the table, so that `send` finds no subscription. Return the former table."""
        table, self.table = self.table, {}
        return table

    def retire(self) -> None:
        """Belong to no thread and no run of a loop, so that each call takes the cold path. Schedule nothing."""
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
    # The usual case of `BusCore.send`, written out.
    channel = bus.table.get(id(type(event)))
    if channel is not None and get_ident() == bus.thread:
        channel.append(event)
    else:
        bus.send(event)

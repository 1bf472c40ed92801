# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The bus in Cython: the twin of `_core_py.py`, which says what everything is for; here stands how it is fast.

A delivery is: `async for` asks the subscription for a Receive (taken from a free list), asks that for itself,
steps it, and drops it. No frame, no exception and no dictionary is involved, and the loop is not asked.
Two things are done by hand that Cython has no words for, both at the end of the file: the slots `am_send`
and `tp_iternext` of Receive, and the StopIteration that hands over an event where the interpreter wants one.

To ask whether a read stands in its own loop costs as much as the read. So the bus remembers the run of the loop in
which this was last found out (`run`): a loop that begins to run gives its thread a hook for async generators, and no
other run of any loop has the same object. To compare it is two loads.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.type cimport PyType_Check
from libc.math cimport INFINITY

from haiway_bus._values.live cimport live_count, live_objects
from haiway_bus._values.type_index cimport (
    Slot,
    TypeIndex,
    index_add,
    index_allot,
    index_clear,
    index_remove,
    index_reserve,
    slot_of,
)

from asyncio import CancelledError
from asyncio.events import _get_running_loop, get_running_loop
from collections import OrderedDict
from contextvars import Context, ContextVar
from types import GenericAlias
from typing import Literal, TypeVar
from weakref import ref

from haiway_bus._bus.first import first_of
from haiway_bus._bus.flush import Work, flush
from haiway_bus._bus.inbox import Inbox
from haiway_bus._bus.loops import runs_again
from haiway_bus._bus.drops import note_closed, note_losses, tell_rest
from haiway_bus._bus.names import caller, name_of
from haiway_bus._bus.reads import drives, no_copy, read_over, read_taken
from haiway_bus._bus.refusals import (
    DROP_OLDEST as DROP_OLDEST_NAME,
    FORKED,
    RAISE as RAISE_NAME,
    TURN,
    bus_over,
    check_limit,
    apart_from,
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
from haiway_bus._bus.stats import look, stats_of
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

Event = TypeVar("Event")  # for annotations


cdef extern from *:
    """
    /* What can be an event, and is no exception: see _rules.py, which looks closer at exceptions. */
    #define HB_IS_EVENT_TYPE(type) \
        ((((PyTypeObject *)(type))->tp_flags \
          & (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASETYPE \
             | Py_TPFLAGS_BASE_EXC_SUBCLASS | Py_TPFLAGS_TYPE_SUBCLASS)) \
         == (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_BASETYPE))
    """
    bint HB_IS_EVENT_TYPE(PyObject *)

cdef extern from *:
    """
    /* The hook that the loop running in this thread has set for async generators: an object of this run alone. */
    #if PY_VERSION_HEX >= 0x030D0000
    #define HB_RUN() (PyThreadState_GetUnchecked()->async_gen_firstiter)
    #else
    #define HB_RUN() (_PyThreadState_UncheckedGet()->async_gen_firstiter)
    #endif
    """
    PyObject *HB_RUN() noexcept

cdef extern from *:
    """
    /* Whether a read ends with the step that it is taking: whoever steps it holds the only reference, to let go of it.
       From 3.14 on a variable lends what it holds, so that one reference may also be the variable's. */
    #if PY_VERSION_HEX >= 0x030E0000
    #define HB_IS_LAST_STEP(receive) PyUnstable_Object_IsUniqueReferencedTemporary(receive)
    #else
    #define HB_IS_LAST_STEP(receive) (Py_REFCNT(receive) == 1)
    #endif
    """
    bint HB_IS_LAST_STEP(PyObject *) noexcept

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    unsigned long PyThread_get_thread_ident() noexcept
    PyTypeObject *Py_TYPE(PyObject *) noexcept
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    int PyContext_Enter(PyObject *) except -1
    int PyContext_Exit(PyObject *) except -1
    int PyContextVar_Get(PyObject *, PyObject *, PyObject **) except -1

cdef extern from *:
    """
    /* Seconds, by a clock that never goes back. */
    #ifdef _WIN32
    #include <windows.h>
    static double hb_clock(void)
    {
        LARGE_INTEGER ticks, frequency;
        QueryPerformanceCounter(&ticks);
        QueryPerformanceFrequency(&frequency);
        return (double)ticks.QuadPart / (double)frequency.QuadPart;
    }
    #else
    #include <time.h>
    static double hb_clock(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    #endif
    """
    double hb_clock() noexcept

# The most reads between two looks at the clock, and how many there are before the second one of a turn that began
# outside of `resume`.
cdef enum:
    STRIDE = 64
    FIRST_STRIDE = 8

# How long a call of `resume` that was asked of the loop is relied on, once another read is to be resumed by it.
cdef double TRUST_SECONDS = 0.005

# As C variables, to be compared by address: `overflow_of` gives these very strings.
cdef str DROP_OLDEST = DROP_OLDEST_NAME
cdef str RAISE = RAISE_NAME

# The life of a Receive. NEW: not waited on yet. PARKED: in line. GRANTED: its task is being resumed and may
# take an event. CANCELLED, ENDED: out of the line, to be resumed without an event. YIELDED: the loop has its turn, the
# read is NEW again when `resume` comes to it. DONE: over.
cdef enum:
    NEW = 0
    PARKED = 1
    GRANTED = 2
    CANCELLED = 3
    ENDED = 4
    YIELDED = 5
    DONE = 6


@cython.final
@cython.freelist(512)
cdef class Node:
    """One place in a chain: an event and the next place.

    Invariant: `next` is None in exactly one node of a chain, the channel's tail, which has no event yet.
    """


# Where a subscription stands that has left the chain: nothing is ever sent here. Made at the end of this file.
cdef Node NOWHERE


cdef inline PyObject *new_reference(object value) noexcept:
    Py_INCREF(value)
    return <PyObject *>value


cdef void let_go(PyObject *node) noexcept:
    """Give up this reference to a node, if it is one, and free the chain up to the first node that somebody else holds.

    In a loop, because a chain that is let go at its head frees itself recursively, one stack frame a node (contract
    3.3). Whoever calls this has done its work: to free an event may run any code.
    """
    cdef PyObject *following
    while node != NULL and Py_REFCNT(node) == 1:
        following = new_reference((<Node>node).next)
        (<Node>node).next = None
        Py_XDECREF(node)
        node = following
    Py_XDECREF(node)


# No subscription comes to this limit. It is told apart so that no sum overflows, nor a key of the tables below.
cdef int64_t UNREACHABLE = <int64_t>1 << 59


cdef inline PyObject *key_of(int64_t due) noexcept:
    # As a key of a TypeIndex, whose look-up leaves out the lowest four bits.
    return <PyObject *>(<size_t>due << 4)


cdef inline PyObject *first_due(TypeIndex *table, int64_t sent) noexcept:
    # The first Bound in this table that is due, borrowed; or NULL.
    if table.used == 0:
        return NULL
    cdef Slot *slot = slot_of(table, key_of(sent))
    return NULL if slot.type == NULL else slot.value


@cython.final
cdef class Channel:
    """The events of one type on one bus, and who waits for them.

    Invariants: a channel is in its bus's table while it has subscriptions, and no longer. `members` are these, held
    weakly, by their `key`; `bounded` are the bounds of those with a limit. `sharing` subscriptions have a place in the
    chain, `away` have left it. A bound whose subscription is in the chain is in the table `moving` or `leaving`, at a
    `due` that is not past and not after the `sent` at which it comes to its limit. `parked` holds at most one read for
    each subscription, its `head`, and `parked[r.slot] is r` for each of them. A parked read is held strongly: a task
    that waits for an event lives as long as the bus can bring one.
    """

    def __cinit__(self, Bus bus not None, object event_type):
        self.bus = bus
        self.event_type = event_type
        self.tail = Node.__new__(Node)
        self.members = {}
        self.bounded = {}
        self.parked = []

    cdef int append(self, object event) except -1:
        """Give the event to every subscription, or raise and give it to none.

        What can fail comes first, near the recursion limit say, and so does what can run other code, as the collector
        may where an object is made. From the first change to the last nothing does.
        """
        cdef Node node = Node.__new__(Node)
        cdef Node tail
        if len(self.parked):
            if HB_RUN() != <PyObject *>self.bus.run and self.bus.runs_elsewhere():
                self.bus.inbox.put(event)
                return 0
            self.bus.wake_all(self)
        if len(self.bounded) and (
            (self.away and self.losses is None)
            or first_due(&self.moving, self.sent) != NULL
            or first_due(&self.leaving, self.sent) != NULL
        ):
            return self.append_at_limits(event, node)
        self.sent += 1
        if self.sharing:
            tail = self.tail
            tail.event = event
            tail.next = node
            self.tail = node
        return 0

    cdef int append_at_limits(self, object event, Node node) except -1:
        """What `append` does, where subscriptions may be at their limits, or are and nobody is about to be told."""
        cdef Node tail
        cdef PyObject *gone
        self.let_leave()
        gone = self.move_on()
        self.sent += 1
        if self.sharing:
            tail = self.tail
            tail.event = event
            tail.next = node
            self.tail = node
        try:
            if self.losses is None and (gone != NULL or self.away):
                note_losses(self)
        except Exception:
            pass  # every subscription has the event; what cannot be told now is told with the next drop, or at the end
        finally:
            let_go(gone)
        return 0

    cdef int let_leave(self) except -1:
        """Move those out of the chain that are at their limits and take no further event.

        That changes nothing that can be seen, and so does no harm if the event is not sent after all.
        """
        cdef PyObject *first
        cdef Bound bound
        cdef Subscription subscription
        while True:
            first = first_due(&self.leaving, self.sent)
            if first == NULL:
                return 0
            bound = <Bound>first
            if bound.subscription == NULL:
                self.file(bound, 0)
                continue
            subscription = <Subscription>bound.subscription
            if subscription.waiting() < bound.limit:
                self.file(bound, self.sent + bound.limit - subscription.waiting())
            elif subscription.held is None:
                # The collector may run code here, which sends, reads, subscribes or closes. So look at all of it again.
                room = [None] * bound.limit
                if subscription.held is None:
                    subscription.held = room
                room = subscription = None
            else:
                subscription.move_out()

    cdef PyObject *move_on(self) noexcept:
        """Have those at their limits that drop the oldest event step past it.

        Returns a reference to the first of these events in the chain, and so to all of them, to be let go when the
        send is over: to free an event may run code that sends, reads, subscribes or closes. NULL if there is none.
        """
        cdef PyObject *first
        cdef PyObject *gone = NULL
        cdef int64_t position = 0
        cdef Bound bound
        cdef Subscription subscription
        while True:
            first = first_due(&self.moving, self.sent)
            if first == NULL:
                return gone
            bound = <Bound>first
            if bound.subscription == NULL:
                self.file(bound, 0)
                continue
            subscription = <Subscription>bound.subscription
            if self.sent - subscription.position >= bound.limit:
                if gone == NULL or subscription.position < position:
                    Py_XDECREF(gone)
                    gone = new_reference(subscription.node)
                    position = subscription.position
                subscription.node = subscription.node.next
                subscription.position += 1
                bound.dropped += 1
            self.file(bound, subscription.position + bound.limit)

    cdef void file(self, Bound bound, int64_t due) noexcept:
        """Have the bound looked at when `sent` is `due`; never, if that is 0."""
        cdef TypeIndex *table = &self.moving if bound.overflow is DROP_OLDEST else &self.leaving
        cdef Slot *slot
        if bound.due:
            if bound.after != NULL:
                (<Bound>bound.after).before = bound.before
            if bound.before != NULL:
                (<Bound>bound.before).after = bound.after
            elif bound.after != NULL:
                slot_of(table, key_of(bound.due)).value = bound.after
            else:
                index_remove(table, key_of(bound.due))
        bound.due = due
        bound.before = bound.after = NULL
        if due:
            slot = slot_of(table, key_of(due))
            if slot.type == NULL:
                index_add(table, key_of(due), <PyObject *>bound)
            else:
                bound.after = slot.value
                (<Bound>slot.value).before = <PyObject *>bound
                slot.value = <PyObject *>bound

    cdef int enter(self, Subscription subscription) except -1:
        """Give a subscription a place at the end of the chain: a new one, or one that comes back for what is sent now.

        The latter is about to take an event, and so has room for one.
        """
        cdef Bound bound = subscription.bound
        cdef int64_t lost
        if subscription.node is None:
            subscription.position = subscription.start = subscription.asked = self.sent
        if bound is not None and bound.left_at >= 0:
            lost = self.sent - bound.left_at
            if lost and bound.gaps is not None:
                bound.gaps[bound.held_until] = lost
            bound.dropped += lost
            bound.missed += lost
            bound.left_at = -1
            self.away -= 1
            self.file(bound, self.sent + 1)
        elif bound is not None and bound.limit < UNREACHABLE:
            self.file(bound, self.sent + bound.limit)
        subscription.node = self.tail
        self.sharing += 1
        return 0

    cdef int park(self, Receive receive) except -1:
        receive.slot = len(self.parked)
        self.parked.append(receive)
        return 0

    cdef int unpark(self, Receive receive) except -1:
        # The last one takes the freed place, so that this takes the same time however many are parked. A read
        # that `send` has handed to the bus already stands there, and is passed over when its turn comes.
        cdef list parked = self.parked
        cdef Py_ssize_t slot = receive.slot
        cdef Receive last
        if slot < len(parked) and parked[slot] is receive:
            last = <Receive>parked.pop()
            if last is not receive:
                parked[slot] = last
                last.slot = slot
        return 0

    cdef int join(self, Subscription subscription) except -1:
        self.joined += 1
        subscription.key = self.joined
        self.members[subscription.key] = ref(subscription)
        if subscription.bound is not None:
            try:
                index_reserve(&self.moving, len(self.bounded) + 1)
                index_reserve(&self.leaving, len(self.bounded) + 1)
                self.bounded[subscription.key] = subscription.bound
            except MemoryError:
                del self.members[subscription.key]
                raise
            subscription.bound.subscription = <PyObject *>subscription
        self.enter(subscription)
        return 0

    def leave(self, key, Bound bound, delivered, unread):
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

    def untold(self):
        """The bounds of those that have lost events since this was last asked, each with how many."""
        cdef Bound bound
        cdef int64_t lost
        found = []
        for bound in list(self.bounded.values()):
            lost = bound.lost()
            if lost > bound.told:
                found.append((lost - bound.told, bound))
                bound.told = lost
        return found

    def forget(self):
        """Leave the bus's table when there is no subscription. Whether that was so."""
        if self.members or self.bus.table.get(id(self.event_type)) is not self:
            return False
        index_remove(&self.bus.index, <PyObject *>self.event_type)
        del self.bus.table[id(self.event_type)]
        return True

    def __dealloc__(self):
        PyMem_Free(self.moving.slots)
        PyMem_Free(self.leaving.slots)

    def subscriptions(self):
        # Of a copy, as wherever a table is walked: what runs meanwhile may set off the collector, and that may end
        # subscriptions which nobody holds any more.
        return [found for member in list(self.members.values()) if (found := member()) is not None]


@cython.final
cdef class Bound:
    """What a subscription with a limit has besides its place in the chain (contract 4).

    One that drops the oldest event always has a place there. One that takes no further event gives it up when an event
    comes that it has no room for. It moves what waits to its own `held`, where the event with the number n is at
    n % limit, and a send costs it nothing from then on. With the next event that is taken from it, it comes back.

    Invariants: `apart` says that something waits outside of the chain: events in `held`, with the numbers from the
    subscription's `position` to `held_until`; or the news of a loss, in `gaps`. What waits in the chain comes after
    these. `told` of the dropped events have been reported. It refers to no event: the channel holds it.
    """

    def __cinit__(self, Channel channel not None, limit, str overflow, str name=None):
        self.channel = channel
        self.limit = min(limit, PY_SSIZE_T_MAX)
        self.overflow = overflow
        self.name = name
        self.left_at = -1
        self.gaps = {} if overflow is RAISE else None

    cdef int64_t lost(self) noexcept:
        """How many events it was ever denied, or lost."""
        if self.left_at < 0 or self.subscription == NULL:
            return self.dropped
        return self.dropped + self.channel.sent - self.left_at


@cython.final
cdef class Subscription:
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

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, Channel channel not None, Bound bound=None, str name=None):
        self.channel = channel
        self.bound = bound
        self.name = name
        self.plain = True
        # Last, so that one which could not join has nothing to leave.
        channel.join(self)

    @property
    def event_type(self):
        """The type whose events it receives."""
        return self.channel.event_type

    @property
    def pending(self):
        """The number of events that wait to be taken (contract 2.9)."""
        return 0 if self.node is None else self.waiting()

    @property
    def dropped(self):
        """The number of events that its limit cost it; none without a limit (contract 2.9, 4.2)."""
        return 0 if self.bound is None else self.bound.lost()

    @property
    def limit(self):
        """The most events that wait for it at a time; None without a limit (contract 4.1)."""
        return None if self.bound is None else self.bound.limit

    @property
    def closed(self):
        """Whether no further event will reach it; what waits can still be read after its scope's end."""
        return self.is_closed()

    def __aiter__(self):
        self.check()
        return self

    def __anext__(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.subscription = self
        return receive

    def batches(self, limit=1024):
        """Iterate lists of the events that wait: at least one each, at most `limit` (contract 2.10).

        Cheaper an event than `async for` over the subscription, and mixes with it: each event goes to one reader.
        Raises TypeError or ValueError for a limit that is no number of events.
        """
        return Batches(self, limit)

    def receive_nowait(self):
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
        return self.take()

    def first(self, where=None, timeout=None):
        """The next event for which `where` holds; the subscription is closed afterwards (contract 2.12).

        One that was made before the request is sent misses no answer. Raises TimeoutError after `timeout` seconds,
        SubscriptionClosed when the subscription ends before. At the end of the scope of a task that waits here for
        an event which nobody is left to send, the task is cancelled.

        Raises TypeError or ValueError for a `where` that is no plain function of one event and for a `timeout` that
        is no number of seconds: at the call, before anything is awaited.
        """
        return first_of(self, where, timeout)

    cdef object take(self):
        """The next event, past which it steps; raises SubscriptionOverflow in place of lost ones."""
        cdef Node node
        if self.bound is not None and self.bound.apart:
            return self.take_apart()
        node = self.node
        self.node = node.next
        self.position += 1
        if self.work is not None:
            self.work.took(self.position)
        return node.event

    cdef object take_apart(self):
        cdef Bound bound = self.bound
        cdef Py_ssize_t place
        if self.at_gap():
            lost = bound.gaps.pop(self.position)
            self.settle()
            raise overflowed(self.event_type, bound.limit, lost)
        if bound.left_at >= 0:
            self.channel.enter(self)
        place = self.position % bound.limit
        event = self.held[place]
        self.held[place] = None
        self.position += 1
        self.settle()
        if self.work is not None:
            self.work.took(self.position)
        return event

    cdef int settle(self) except -1:
        """Something that waited apart is gone: maybe the last of it."""
        if self.bound.held_until == self.position and not self.bound.gaps:
            self.bound.apart = False
            self.held = None
            self.plain = self.work is None
        return 0

    cdef bint at_gap(self) except -1:
        return self.bound is not None and self.bound.gaps is not None and self.position in self.bound.gaps

    cdef int move_out(self) except -1:
        """Leave the chain, with all that waits there. `held` is ready for it."""
        cdef Bound bound = self.bound
        cdef Channel channel = self.channel
        cdef Node node = self.node
        cdef PyObject *former = new_reference(node)
        cdef int64_t number = bound.held_until if bound.apart else self.position
        while node.next is not None:
            self.held[<Py_ssize_t>(number % bound.limit)] = node.event
            number += 1
            node = node.next
        bound.held_until = number
        bound.apart = True
        bound.left_at = channel.sent
        self.plain = False
        self.node = NOWHERE
        channel.sharing -= 1
        channel.away += 1
        channel.file(bound, 0)
        node = None
        let_go(former)
        return 0

    cdef list take_batch(self, Py_ssize_t limit):
        # Node by node: to jump ahead would leave a chain that frees itself recursively.
        cdef list batch
        cdef Py_ssize_t count
        cdef PyObject *event
        cdef int64_t position = self.position
        if self.plain:
            count = min(limit, self.waiting())
            batch = PyList_New(count)
            if self.plain and self.node is not None and self.position == position:
                for limit in range(count):
                    event = new_reference(self.node.event)
                    self.node = self.node.next
                    PyList_SET_ITEM(batch, limit, <object>event)  # takes the reference over
                self.position += count
                return batch
            # To make the list has run code, by the collector, that reads or closes.
        batch = [self.take()] if self.has_event() else []
        while len(batch) < limit and self.has_event():
            if self.at_gap():
                break
            batch.append(self.take())
        return batch

    def came_back(self):
        """A reader asks for the next event, and so is done with the one before."""
        self.asked = self.position
        if self.work is not None:
            self.work.came_back()

    def belongs_to(self, bus, event_type):
        return self.channel.bus is bus and self.channel.event_type is event_type

    def share_work(self):
        """From now on, tell apart the tasks that read it: they are a pool of workers."""
        if self.work is None:
            self.set_work(Work(self))
        self.work.share()

    def set_work(self, work):
        self.work = work
        self.plain = work is None and (self.bound is None or not self.bound.apart)

    cdef int64_t waiting(self) noexcept:
        """How many events wait, unless it is closed."""
        if self.bound is None:
            return self.channel.sent - self.position
        return (
            (self.channel.sent if self.bound.left_at < 0 else self.bound.left_at) - self.bound.missed - self.position
        )

    cdef bint has_event(self) noexcept:
        return self.node is not None and (
            self.node.next is not None or (self.bound is not None and self.bound.apart)
        )

    cdef bint is_closed(self) noexcept:
        return self.node is None or self.channel.ended

    cdef int next_in_line(self) except -1:
        """The head was served or has left: who waited longest after it is first now."""
        if not self.line:
            self.head = None
            return 0
        cdef Receive first = next(iter(self.line))
        if self.has_event() or self.is_closed():
            self.channel.bus.wake(first)
        else:
            self.channel.park(first)
        del self.line[first]
        self.head = first
        return 0

    def check(self):
        """Refuse another loop or thread than the bus's own (contract 6.1)."""
        self.channel.bus.check("reading a subscription")

    def close(self):
        """End the subscription: free what waits, end the loops that read it (contract 2.8).

        A second call does nothing. Events sent later are no longer kept for it. Raises RuntimeError in another
        thread than the bus's own (contract 6.1).
        """
        if self.node is None and self.head is None:
            return
        cdef Bus bus = self.channel.bus
        if PyThread_get_thread_ident() != bus.thread and not bus.lost and not bus.loop.is_closed():
            self.check()
        try:
            if self.node is not None:
                parting = self.parting()
                self.release()
                Subscription.leave(*parting)
        finally:
            while self.head is not None and self.head.state == PARKED:
                self.head.end()

    def delivered(self):
        """How many events its readers took."""
        skipped = self.bound.dropped if self.bound is not None and self.bound.overflow is DROP_OLDEST else 0
        return self.position - self.start - skipped

    def parting(self):
        """What `leave` is to know when the subscription itself is gone."""
        return self.channel, self.key, self.bound, self.delivered(), self.waiting(), self.work

    @staticmethod
    def leave(Channel channel, key, Bound bound, delivered, unread, work):
        if work is not None:
            work.end()
        channel.leave(key, bound, delivered, unread)

    cdef int release(self) except -1:
        cdef PyObject *node = new_reference(self.node)
        self.node = None
        if self.bound is not None:
            self.bound.dropped = self.bound.lost()
            self.bound.subscription = NULL
        let_go(node)
        self.held = None
        return 0

    def __del__(self):
        # The collector runs this in whichever thread set it off. Nobody waits any more (a read in line holds its
        # subscription), so that all there is to do is to free the backlog, here, and to be counted out, which
        # is left to the bus's own thread.
        if self.node is None:
            return
        self.release()
        cdef Bus bus = self.channel.bus
        parting = self.parting()
        if PyThread_get_thread_ident() == bus.thread or bus.lost or bus.loop.is_closed():
            Subscription.leave(*parting)
            return
        try:
            bus.loop.call_soon_threadsafe(Subscription.leave, *parting)
        except RuntimeError:  # closed meanwhile
            Subscription.leave(*parting)

    async def __aenter__(self):
        return self

    async def __aexit__(self, exception_type, exception, traceback):
        self.close()

    def __reduce_ex__(self, protocol):
        no_copy(self)

    def __repr__(self):
        state = "closed" if self.node is None else "ended" if self.channel.ended else "open"
        dropped = f" dropped={self.dropped}" if self.bound is not None else ""
        name = "" if self.name is None else f" {described(self.name)}"
        kind = name_of_type(self.event_type)
        return f"<Subscription {kind}{name} pending={self.pending}{dropped} {state}>"


@cython.final
cdef class Batches:
    """What `subscription.batches(limit)` returns: an iterator over lists of waiting events (contract 2.10)."""

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, Subscription subscription not None, object limit):
        check_limit("batches()", limit)
        self.subscription = subscription
        self.limit = min(limit, PY_SSIZE_T_MAX)

    def __aiter__(self):
        self.subscription.check()
        return self

    def __anext__(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.subscription = self.subscription
        receive.limit = self.limit
        return receive

    def __reduce_ex__(self, protocol):
        no_copy(self)


@cython.final
@cython.freelist(256)
cdef class Receive:
    """One read of a subscription by one task, and what the task waits on while there is no event.

    It is its own iterator, and steps by the slot `am_send` or `tp_iternext` below. With `send`, `throw` and
    `close` it counts as a coroutine, so that `asyncio.create_task(anext(subscription))` works.

    To a Task it is a future: `_asyncio_future_blocking`, `get_loop`, `add_done_callback`, `result` and `cancel`
    are all that a Task asks of one. It is no asyncio.Future: those are resumed by one call_soon each, where the
    bus resumes all its readers in one. And it is nobody else's: cancelling a task cancels what it waits on, so
    that readers which shared a future would end each other (contract 2.5). While somebody waits on it, it refuses
    what anybody else does with it (guarantee 2.13).

    Invariants: it stands in `subscription.head` or in `subscription.line` exactly while PARKED or GRANTED. It has its
    subscription while NEW, YIELDED, PARKED or GRANTED, and holds nothing when it is over (guarantee 2.14). `wakeup`
    tells who waits: the callback of the task that is to be resumed. `limit` is 0 for the read of one event, else the
    most events of a batch.
    """

    def __await__(self):
        # Also while somebody waits on it: it refuses at its next step. `anext()` with a default asks for this at each.
        return self

    cdef object refused(self):
        """The error for awaiting it again."""
        return read_over() if self.state == DONE else read_taken(self.wakeup)

    cdef PySendResult step(self, PyObject **result) except PYGEN_ERROR:
        # `result` receives a new reference: the event with PYGEN_RETURN, what to wait on with PYGEN_NEXT.
        cdef Subscription subscription = self.subscription
        cdef Bus bus
        if self.state == YIELDED and self.wakeup is None:
            self.state = NEW
        if self.state == NEW:
            if HB_RUN() != <PyObject *>subscription.channel.bus.run:
                subscription.check()
                subscription.channel.bus.note_run()
            if not subscription.plain:
                subscription.came_back()
            if subscription.channel.bus.left <= 0 and subscription.head is None and subscription.has_event():
                bus = subscription.channel.bus
                if bus.turn_is_over():
                    bus.put_off(self)
                    self.state = YIELDED
                    result[0] = new_reference(self)
                    return PYGEN_NEXT
            if subscription.head is None:
                if subscription.has_event():
                    return self.serve(result)
                if subscription.is_closed():
                    self.over()
                    raise StopAsyncIteration
            subscription.asked = subscription.position
            self.park()
        elif self.wakeup is not None or self.state == DONE or self.state == CANCELLED:
            raise self.refused()
        elif self.state == GRANTED:
            if subscription.has_event():
                return self.serve(result)
            if subscription.is_closed():
                self.leave()
                raise StopAsyncIteration
            # What it was woken for is gone: it keeps its place at the head.
            try:
                subscription.channel.park(self)
            except MemoryError:
                self.leave()
                raise
            self.take_back_grant()
            self.state = PARKED
        elif self.state == ENDED:
            self.state = DONE
            raise StopAsyncIteration
        else:
            self.leave()
            raise RuntimeError("a parked read was resumed by something else than its bus")
        result[0] = new_reference(self)
        return PYGEN_NEXT

    cdef PySendResult serve(self, PyObject **result) except PYGEN_ERROR:
        """Take what is there, and be over."""
        cdef Subscription subscription = self.subscription
        cdef bint granted = self.state == GRANTED
        if not granted:
            self.state = DONE  # before anything runs that may come here again
        try:
            taken = self.take(subscription)
        finally:
            if granted:
                self.leave()
            else:
                self.subscription = None
        if self.limit and not len(<list>taken):
            # What waited went while the list was made.
            self.subscription = subscription
            self.state = NEW
            return self.step(result)
        result[0] = new_reference(taken)
        return PYGEN_RETURN

    def __iter__(self):
        return self  # for `yield from`

    def __next__(self):
        return self.send(None)

    def send(self, value, /):
        cdef PyObject *result = NULL
        if self.step(&result) == PYGEN_NEXT:
            return owned(result)
        raise StopIteration(owned(result))

    def throw(self, exception_type, exception=None, traceback=None):
        self.give_up()
        if exception is None:
            exception = exception_type if isinstance(exception_type, BaseException) else exception_type()
        elif not isinstance(exception, BaseException):
            exception = exception_type(exception)
        raise exception if traceback is None else exception.with_traceback(traceback)

    def close(self):
        self.give_up()

    cdef int give_up(self) except -1:
        """Be over without an event. Refused while a task waits that does not itself do this."""
        if self.state != DONE:
            if self.wakeup is not None and not drives(self.wakeup, self):
                raise read_taken(self.wakeup)
            self.leave()
            self.over()
            self.wakeup = self.context = None
        return 0

    cdef int over(self) except -1:
        self.state = DONE
        self.subscription = None
        return 0

    cdef bint waits(self) noexcept:
        return self.state == PARKED or self.state == YIELDED

    cdef object take(self, Subscription subscription):
        """What the read is for: one event, or a batch when it has a limit."""
        cdef list batch
        if self.limit == 0:
            subscription.channel.bus.left -= 1
            return subscription.take()
        batch = subscription.take_batch(self.limit)
        subscription.channel.bus.left -= len(batch)
        return batch

    cdef int park(self) except -1:
        """Take a place at the end of the line."""
        cdef Subscription subscription = self.subscription
        if subscription.head is None:
            subscription.channel.park(self)
            subscription.head = self
        else:
            if subscription.line is None:
                subscription.line = OrderedDict()
                subscription.share_work()
            subscription.line[self] = None
        self.state = PARKED
        return 0

    cdef int leave(self) except -1:
        """Give up the place in line, if it has one, so that whoever is next waits no longer behind it."""
        if self.state != PARKED and self.state != GRANTED:
            return 0
        cdef Subscription subscription = self.subscription
        if subscription.head is self:
            subscription.next_in_line()
            if self.state == PARKED:
                subscription.channel.unpark(self)
        elif subscription.line is not None:
            del subscription.line[self]
        if self.state == GRANTED:
            self.take_back_grant()
        return self.over()

    cdef void take_back_grant(self) noexcept:
        """It is GRANTED no longer: `resume` is not to look after it."""
        cdef Grant *grant = self.subscription.channel.bus.grant
        while grant != NULL:
            if grant.receive == <PyObject *>self:
                grant.receive = NULL
            grant = grant.outer

    @property
    def idle(self):
        """Whether it waits for an event that is not there (contract 5.4)."""
        return self.state == PARKED and not (
            self.subscription.has_event() or self.subscription.is_closed()
        )

    def end(self):
        """End the wait without an event: its reader's loop finishes (contract 5.4)."""
        if self.state == PARKED:
            self.subscription.channel.bus.wake(self)
            self.leave()
            self.state = ENDED

    @property
    def channel(self):
        return None if self.subscription is None else self.subscription.channel

    @property
    def _asyncio_future_blocking(self):
        # True only while its Task takes it over. Else None: asyncio.isfuture() then sees a coroutine, so that gather,
        # shield and the like run it in a task, in which it says whose it is.
        return True if self.waits() and self.wakeup is None else None

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint blocking):
        pass  # the Task says so before it adds its callback, which says the same

    def get_loop(self):
        if self.subscription is None:
            raise read_over()
        return self.subscription.channel.bus.loop

    def add_done_callback(self, callback, *, context=None):
        if not self.waits() or self.wakeup is not None:
            raise self.refused()
        self.wakeup = callback
        self.context = context

    def cancel(self, msg=None):
        """Called by Task.cancel(). The event, if one has arrived meanwhile, stays where it is (contract 2.5).

        Its task does not stand behind all that is to be resumed before it: the loop calls it next.
        """
        if not self.waits():
            return False
        cdef Bus bus = self.subscription.channel.bus
        if self.wakeup is not None and not bus.loop.is_closed():
            bus.loop.call_soon(self.wakeup, self, context=self.context)
            bus.wakes += 1
            if bus.stirred is not None:
                bus.tell_stirred()
        self.leave()
        self.over()
        self.state = CANCELLED
        self.message = msg
        return True

    def result(self):
        if self.state == CANCELLED:
            raise CancelledError() if self.message is None else CancelledError(self.message)

    def __reduce_ex__(self, protocol):
        no_copy(self)

    def __repr__(self):
        return "<Receive, over>" if self.subscription is None else f"<Receive of {self.subscription!r}>"


@cython.final
cdef class Bus:
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

    def __cinit__(self, name not None, double turn=TURN):
        self.name = name
        self.turn = turn
        self.left = self.stride = 1
        self.loop = get_running_loop()
        self.thread = PyThread_get_thread_ident()
        self.table = {}
        index_allot(&self.index, 8)
        self.ready = []
        # `resume` needs a context of its own: it enters each task's. And so does one within another, as none can be
        # entered twice.
        self.contexts = []
        self.run_forever = None if runs_again(self.loop) else type(self.loop).run_forever
        # A finished future, given to each task as the one that woke it: the Task finds its result faster than
        # it could ask a Receive.
        self.resumed = self.loop.create_future()
        self.resumed.set_result(None)
        self.inbox = Inbox(name, self.loop, Context(), self.accept)
        # Who is told of drops: called in the loop with a Dropped.
        self.observer = None
        self.losses = {}
        # Who is told the last numbers of a type that has lost its last subscription.
        self.forgotten = None
        # Why it ended when its scope had no part in it, and the table that it had then.
        self.lost = ""
        self.kept = {}
        # Those of the loop, which hear of its close, and of a fork.
        self.open_buses = open_buses(self.loop).buses
        self.open_buses.add(self)

    def __dealloc__(self):
        PyMem_Free(self.index.slots)

    cpdef send(self, event):
        """Append the event to its type's chain, or drop it if nobody subscribes to the type (contract 1)."""
        cdef PyObject *event_type = <PyObject *>Py_TYPE(<PyObject *>event)
        cdef Slot *slot = slot_of(&self.index, event_type)
        cdef Channel channel
        if slot.type != NULL:
            if PyThread_get_thread_ident() != self.thread:
                self.inbox.put(event)
            else:
                # Held: to make a node may set off the collector, which may close the last subscription.
                channel = <Channel>slot.value
                channel.append(event)
        elif self.strict or not HB_IS_EVENT_TYPE(event_type):
            self.refuse(event)

    cdef int refuse(self, object event) except -1:
        # Apart, so that a send which nobody hears does not pay for it. Not all exceptions are refused.
        if not is_event_type(type(event)):
            raise event_refused(event)
        if self.strict:
            self.check_unheard(event)
        return 0

    def check_unheard(self, event):
        """Raise when an event that nobody subscribes to must not be dropped: after the end, or from a thread before."""
        if self.ended:
            if self.instead is None:
                raise bus_over("send()", self.name, self.lost)
            self.instead.send(event)
        elif PyThread_get_thread_ident() != self.thread:
            self.inbox.check(type(event))

    def refuse_threads(self, event_types):
        """Refuse what other threads send from now on, of these types or, given None, of all (guarantee 6.2).

        Called at a scope's end, before its readers are ended: what has come is delivered first. False, and nothing is
        refused, when a thread has just sent, so that those readers have work to do.
        """
        self.strict = True
        if event_types is None:
            self.inbox.deliver(close=True)
            return True
        return self.inbox.refuse(event_types)

    def accept(self, event):
        """Append an event that another thread sent, unless its type has lost its subscriptions since."""
        cdef Slot *slot = slot_of(&self.index, <PyObject *>Py_TYPE(<PyObject *>event))
        cdef Channel channel
        if slot.type != NULL:
            channel = <Channel>slot.value  # held, as in send()
            channel.append(event)

    cpdef subscribe(self, event_type, limit=None, overflow=None, name=None):
        """Start receiving the events of exactly this type (contract 2.1, 4.1)."""
        if not PyType_Check(event_type) or not HB_IS_EVENT_TYPE(<PyObject *>event_type):
            check_type("subscribe()", event_type)  # which refuses it, or finds that it is an exception of a user's
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
                index_reserve(&self.index, self.index.used + 1)
                self.table[id(event_type)] = channel
                index_add(&self.index, <PyObject *>event_type, <PyObject *>channel)
            try:
                bound = None if limit is None else Bound(<Channel>channel, limit, overflow, name)
                subscription = Subscription(<Channel>channel, bound, name)
            except MemoryError:
                channel.forget()
                raise
            # To make it may have set off the collector, which may have ended the channel's last subscription and the
            # channel with it, or subscribed to the type.
            if self.table.get(id(event_type)) is channel:
                return subscription

    async def flush(self, event_type, timeout=None, without=()):
        """Return when every subscription of the type has taken all that was sent before (contract 4.4)."""
        self.check("flush()")
        check_type("flush()", event_type)
        check_timeout("flush()", timeout)
        apart = apart_from(event_type, without, self, Subscription)
        self.inbox.deliver()
        channel = self.table.get(id(event_type))
        if channel is not None:
            await flush(channel, timeout, apart)

    def check(self, str call):
        running = _get_running_loop()
        if running is not self.loop or PyThread_get_thread_ident() != self.thread:
            if self.lost == FORKED:
                raise bus_over(call, self.name, self.lost)
            raise elsewhere(call, self.loop, self.inbox.thread, running)

    cdef bint runs_elsewhere(self) except -1:
        """Whether its loop is being run, but not by the caller: in another thread by now, or around a loop within it.

        What wakes a reader must be handed over then, as from any thread.
        """
        return _get_running_loop() is not self.loop and self.loop.is_running()

    cdef int note_run(self) except -1:
        """The loop that runs here is the bus's own: so it is until another one runs, or it runs anew."""
        cdef PyObject *run = HB_RUN()
        self.run = None if run == NULL else <object>run
        return 0

    cdef int wake_all(self, Channel channel) except -1:
        """Hand over every read that is parked on the channel, in one step however many there are."""
        self.wakes += 1
        self.schedule()
        if len(self.ready):
            self.ready.extend(channel.parked)
            channel.parked.clear()
        else:
            self.ready, channel.parked = channel.parked, self.ready
        return 0

    cdef int wake(self, Receive receive) except -1:
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
        return 0

    cdef int put_off(self, Receive receive) except -1:
        """Resume a read in the loop's next turn, behind those that wait for it already."""
        self.schedule()
        self.ready.append(receive)
        return 0

    cdef void begin_turn(self, Py_ssize_t reads) noexcept:
        self.looked_at = hb_clock()
        self.turn_end = self.looked_at + self.turn
        self.over = 0
        self.left = self.stride = reads

    cdef bint turn_is_over(self) except -1:
        """Whether the loop is to have its turn: asked when no read is left before the next look at the clock."""
        cdef double before = self.looked_at
        if self.over:
            return True
        if self.batch is None and not self.noted:
            # Tasks that the loop itself has called read here. When the turn began is not known, so it begins now.
            self.loop.call_soon(self.turn_ended, context=Context())
            self.noted = True
            self.begin_turn(FIRST_STRIDE)
            return False
        self.looked_at = hb_clock()
        if self.looked_at >= self.turn_end:
            self.over = 2
            self.left = 0
            # Readers that take all their time are no sign that a call of `resume` was lost.
            self.trusted = self.loop.time() + self.turn + TRUST_SECONDS
            return True
        self.stride = min(2 * self.stride, STRIDE) if (self.looked_at - before) * 8 < self.turn else 1
        self.left = self.stride
        return False

    def turn_ended(self):
        """Called by the loop in its next turn."""
        self.noted = False

    cdef int schedule(self) except -1:
        if self.due == NULL:
            self.call_resume()
        elif self.loop.time() >= self.trusted:
            # A loop can lose what it was to call, to a KeyboardInterrupt just then, and who holds that exception hides
            # the loss: the handle is not let go. So a second call is made now and then, which costs little.
            self.trusted = self.loop.time() + TRUST_SECONDS
            self.call_resume()
        return 0

    cdef int call_resume(self) except -1:
        cdef Due due = Due.__new__(Due)
        due.context = self.contexts.pop() if len(self.contexts) else Context()
        self.loop.call_soon(due, context=due.context)
        due.bus = self
        self.due = <PyObject *>due
        return 0

    def when_stirred(self, call):
        """Have it called by the loop after reads have been resumed next; returns what withdraws that."""
        if self.stirred is None:
            self.stirred = []
        self.stirred.append(call)

        def withdraw():
            if self.stirred is not None and call in self.stirred:
                self.stirred.remove(call)

        return withdraw

    def tell_stirred(self):
        calls, self.stirred = self.stirred or (), None
        for call in calls:
            self.loop.call_soon(call, context=Context())

    def wake_ready(self):
        """See to it that the reads whose wait is over are resumed."""
        if self.ready:
            self.schedule()

    cdef int resume(self) except -1:
        """Run the tasks whose waits are over, each in its own context (contract 2.6, 2.7).

        Workers of one subscription hand on to each other within the batch. When the time is over, those that are left
        are the first in the next turn.
        """
        cdef list outer = self.batch
        cdef Py_ssize_t outer_walked = self.walked
        cdef list batch
        cdef Receive receive
        cdef Grant grant
        if self.over == 2:
            # This stands in the loop's queue before what its timers and sockets have ready by now: these first.
            self.over = 1
            return self.schedule()
        # Where a task that is being resumed runs the loop again, those behind it are not to wait until it is back.
        batch = self.ready if outer is None else outer[outer_walked:] + self.ready
        grant.receive = NULL
        grant.outer = self.grant
        self.begin_turn(1)
        self.noted = False
        self.walked = 0
        self.grant = &grant
        try:
            self.ready = []
            self.batch = batch
            if outer is not None:
                del outer[outer_walked:]
            if len(batch) > 1 and type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # where the loop may be run again, by what is resumed first
            while self.walked < len(batch) and (self.left > 0 or not self.turn_is_over()):
                receive = <Receive>batch[self.walked]
                batch[self.walked] = None
                self.walked += 1
                wakeup = receive.wakeup
                if wakeup is None or receive.state == CANCELLED:
                    # Cancelled after it had been woken, or here twice, ended then. Or nobody waits on it, as
                    # whoever parked it was interrupted or has dropped it: then those behind it are not to wait.
                    if receive.state == PARKED:
                        receive.leave()
                    continue
                context = receive.context
                receive.wakeup = receive.context = None
                if receive.state == PARKED:
                    receive.state = GRANTED
                    grant.receive = <PyObject *>receive
                receive = None  # what is over goes while its task is at work (guarantee 2.14)
                try:
                    # This is context.run(wakeup, self.resumed) without its calls.
                    PyContext_Enter(<PyObject *>context)
                    try:
                        wakeup(self.resumed)
                    finally:
                        PyContext_Exit(<PyObject *>context)
                finally:
                    if grant.receive != NULL:
                        receive = <Receive>grant.receive  # held, as its place in line is what holds it
                        receive.leave()  # its task did not come for the event
        finally:
            self.grant = grant.outer
            # Left over after KeyboardInterrupt or SystemExit, which a Task lets through, or when the time was over.
            if self.walked < len(batch):
                del batch[:self.walked]
                if self.ready is not batch:
                    batch.extend(self.ready)
                    self.ready = batch
                self.schedule()
            self.batch = outer
            self.walked = outer_walked
            if self.stirred is not None:
                self.tell_stirred()
        return 0

    def events(self, observer=None):
        """By type, what the channels tell of themselves (contract 8.3), to who looks: whoever, unless given."""
        return ByType(
            [((<Channel>channel).event_type, look(channel, observer)) for channel in list(self.table.values())]
        )

    def unread(self):
        """By type, how many events wait in subscriptions that no task is reading."""
        cdef Receive receive
        put_off = set()
        for receive in [*self.ready, *(self.batch or ())]:
            if receive is not None and receive.state == YIELDED:
                put_off.add(id(receive.subscription))
        waiting = [
            (
                channel.event_type,
                sum([
                    one.pending
                    for one in channel.subscriptions()
                    if (<Subscription>one).head is None and id(one) not in put_off
                ]),
            )
            for channel in (<Channel>one for one in list(self.table.values()))
        ]
        return [(event_type, number) for event_type, number in waiting if number]

    def break_off(self):
        """From now on, keep what is unread in subscriptions that go: the tasks that read them are being cancelled."""
        if self.parted is None:
            self.parted = []

    def close(self):
        """End the bus: reads that wait for an event end, `send` and `subscribe` are refused (contract 5.6)."""
        cdef Channel channel
        self.refuse_threads(None)
        self.open_buses.discard(self)
        self.ended = True
        self.parted = None
        channels = list(self.table.values())
        self.table.clear()
        index_clear(&self.index)
        for channel in channels:
            channel.ended = True
            if channel.parked and not self.loop.is_closed():
                self.wake_all(channel)
            for subscription in channel.subscriptions():
                if (<Subscription>subscription).work is not None:
                    (<Subscription>subscription).work.end()
        # Last: an observer that fails leaves nothing half ended.
        tell_rest(self, channels)

    def __reduce_ex__(self, protocol):
        no_copy(self)

    def abandon(self, str reason):
        """End the bus as it stands, as its loop is closed or this process was forked. Nobody is woken or told.

        What it holds is kept where `send` does not find it: to free a parked read would end its task, here.
        """
        self.lost = reason
        self.ended = self.strict = True
        # Of no thread and no run of a loop: each call looks closer, and is refused.
        self.thread = 0
        self.run = None
        # Nothing more is asked of the loop.
        self.due = <PyObject *>self
        self.trusted = INFINITY
        self.observer = self.forgotten = None
        self.inbox.abandon()
        self.kept, self.table = self.table, {}
        index_clear(&self.index)
        for channel in self.kept.values():
            (<Channel>channel).ended = True

    def __repr__(self):
        state = "ended" if self.ended else f"types={len(self.table)}"
        return f"<Bus {described(self.name)} {state}>"


@cython.final
@cython.freelist(8)
@cython.no_gc_clear  # so that its end always finds the bus
cdef class Due:
    """What the loop is to call to have a bus resume its reads.

    Dropped uncalled, it has the bus schedule another: a loop can lose a callback to an exception that is raised as it
    is about to call it, by a signal's handler or a tracer (guarantee 2.16).
    """

    def __call__(self):
        cdef Bus bus = self.bus
        if bus is not None:
            self.bus = None
            if bus.due == <PyObject *>self:
                bus.due = NULL
            try:
                bus.resume()
            finally:
                bus.contexts.append(self.context)

    def __dealloc__(self):
        # `bus` is None once this was called.
        if self.bus is not None and self.bus.due == <PyObject *>self:
            self.bus.due = NULL
            try:
                if not self.bus.loop.is_closed():
                    self.bus.loop.call_soon_threadsafe(self.bus.wake_ready, context=Context())
            except Exception:
                pass  # closed just now, or the collector has begun to take the bus or the loop apart

    def __repr__(self):
        return f"<Due of {self.bus!r}>"


current = ContextVar("haiway_bus.current", default=None)
cdef PyObject *CURRENT = <PyObject *>current  # the module holds it


cdef inline Bus current_bus():
    cdef PyObject *bus = NULL
    PyContextVar_Get(CURRENT, NULL, &bus)
    return <Bus>owned(bus)


def send(event, /):
    """Send the event to every subscription of exactly its type on the bus of the current scope.

    Never blocks and never runs a reader. Raises ContextMissing outside a scope and after its end (contract 5.2,
    5.6), TypeError for what cannot be an event (contract 1.4).
    """
    cdef Bus bus = current_bus()
    if bus is None:
        raise no_scope("send()")
    bus.send(event)


@cython.annotation_typing(False)
@cython.binding(True)  # carries the annotations. Not `send`, which would take a sixth longer when nobody hears it
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
    cdef Bus bus = current_bus()
    if bus is None:
        raise no_scope("subscribe()")
    return bus.subscribe(event_type, limit, overflow, name)


cdef inline object owned(PyObject *reference):
    # Takes over a reference that was given: the object variable counts it once more, so that one goes back.
    cdef object value = <object>reference
    Py_DECREF(value)
    return value


# ---------------------------------------------------------------------------------------------------------------
# How a Receive is stepped, and the StopIteration that carries an event: the one place that knows of it.
#
# CPython 3.11 steps an awaitable through the slot am_send, which returns the event plainly; so does a Task, on every
# version. `await` in 3.12 to 3.14 calls tp_iternext instead and takes the event out of a StopIteration. To make that
# exception each time would cost more than all the rest of a delivery, so one instance serves again and again.
#
# It is a StopIteration like any other, also to a debugger that sees it pass (guarantee 2.15). `await` lets go of it
# and then of the Receive that it has stepped, so that the Receive's own end is where the event is taken out of it
# (contract 3.2). Whoever else has got hold of it by then keeps it, and another one serves from then on. And it is not
# used where the Receive will not end with this step, because somebody holds that, too.
#
# The slots are C functions, because a `def __next__` which ends in an exception leaves a traceback each time.

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030C0000
    static PyObject *hb_spare = NULL;  /* its value is None while it is at rest */
    static destructor hb_receive_free = NULL;

    static void hb_empty_spare(void)
    {
        PyStopIterationObject *spare = (PyStopIterationObject *)hb_spare;
        if (Py_REFCNT(spare) == 1 && spare->traceback == NULL && spare->dict == NULL && spare->context == NULL
                && spare->cause == NULL && spare->notes == NULL && !spare->suppress_context
                && PyTuple_GET_SIZE(spare->args) == 0) {
            PyObject *event = spare->value;
            spare->value = Py_NewRef(Py_None);
            Py_DECREF(event);
        } else {
            hb_spare = NULL;
            Py_DECREF(spare);
        }
    }

    static void hb_receive_dealloc(PyObject *self)
    {
        hb_receive_free(self);
        /* Last: to free an event may run any code. */
        if (hb_spare != NULL && ((PyStopIterationObject *)hb_spare)->value != Py_None)
            hb_empty_spare();
    }

    static int hb_spare_is_free(void)
    {
        if (hb_spare == NULL && (hb_spare = PyObject_CallNoArgs(PyExc_StopIteration)) == NULL)
            return -1;
        return Py_REFCNT(hb_spare) == 1 && ((PyStopIterationObject *)hb_spare)->value == Py_None;
    }
    #endif

    /* Raises a StopIteration with this event; takes over the reference to it. */
    static void hb_raise_stop(PyObject *receive, PyObject *event)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        int is_free = HB_IS_LAST_STEP(receive) ? hb_spare_is_free() : 0;
        if (is_free == 1) {
            PyStopIterationObject *spare = (PyStopIterationObject *)hb_spare;
            Py_DECREF(spare->value);
            spare->value = event;
            PyErr_SetRaisedException(Py_NewRef(hb_spare));
            return;
        }
        PyObject *stop = is_free < 0 ? NULL : PyObject_CallOneArg(PyExc_StopIteration, event);
        Py_DECREF(event);
        if (stop != NULL)
            PyErr_SetRaisedException(stop);
    #else
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, event);
        Py_DECREF(event);
        if (stop != NULL)
            PyErr_Restore(Py_NewRef(PyExc_StopIteration), stop, NULL);
    #endif
    }

    static int hb_set_slots(PyObject *receive_type, sendfunc send, iternextfunc next)
    {
        /* Only subscriptions make one: without its subscription it would read from nowhere. */
        if (PyDict_DelItemString(((PyTypeObject *)receive_type)->tp_dict, "__new__") < 0)
            return -1;
        ((PyTypeObject *)receive_type)->tp_new = NULL;
        ((PyTypeObject *)receive_type)->tp_vectorcall = NULL;
        PyType_Modified((PyTypeObject *)receive_type);
        ((PyTypeObject *)receive_type)->tp_as_async->am_send = send;
        ((PyTypeObject *)receive_type)->tp_iternext = next;
    #if PY_VERSION_HEX >= 0x030C0000
        hb_receive_free = ((PyTypeObject *)receive_type)->tp_dealloc;
        ((PyTypeObject *)receive_type)->tp_dealloc = hb_receive_dealloc;
    #endif
        return 0;
    }
    """
    ctypedef PySendResult (*sendfunc)(PyObject *, PyObject *, PyObject **)
    ctypedef PyObject *(*iternextfunc)(PyObject *)
    object PyList_New(Py_ssize_t)
    void PyList_SET_ITEM(object, Py_ssize_t, object)
    void hb_raise_stop(PyObject *, PyObject *) noexcept
    int hb_set_slots(PyObject *, sendfunc, iternextfunc) except -1


cdef inline PyObject *waiting_event(Receive receive) noexcept:
    # The usual case of Receive.step: a new read, nobody in line, an event there, and no turn of the loop due. Written
    # without local variables for objects: each would be counted up and down. A new reference, or NULL.
    cdef PyObject *event = NULL
    cdef PyObject *bus
    if (
        receive.state == NEW
        and receive.limit == 0
        and receive.subscription.plain
        and receive.subscription.head is None
        and receive.subscription.node is not None
        and receive.subscription.node.next is not None
    ):
        bus = <PyObject *>receive.subscription.channel.bus
        if (<Bus>bus).left <= 0 or HB_RUN() != <PyObject *>(<Bus>bus).run:
            return NULL
        (<Bus>bus).left -= 1
        event = new_reference(receive.subscription.node.event)
        receive.state = DONE
        receive.subscription.position += 1
        receive.subscription.node = receive.subscription.node.next
        if not HB_IS_LAST_STEP(<PyObject *>receive):
            receive.subscription = None
    return event


cdef PySendResult receive_send(PyObject *self, PyObject *value, PyObject **result) except PYGEN_ERROR:
    result[0] = waiting_event(<Receive>self)
    if result[0] != NULL:
        return PYGEN_RETURN
    return (<Receive>self).step(result)


cdef PyObject *receive_next(PyObject *self) except NULL:
    cdef PyObject *result = waiting_event(<Receive>self)
    if result != NULL or (<Receive>self).step(&result) == PYGEN_RETURN:
        hb_raise_stop(self, result)
        return NULL
    return result


hb_set_slots(<PyObject *>Receive, <sendfunc>receive_send, <iternextfunc>receive_next)

# This one is never freed, and so not counted.
NOWHERE = Node.__new__(Node)

# Counted before the first of them is made (see live.pxd).
for counted in (Batches, Bound, Bus, Channel, Due, Node, Receive, Subscription):
    live_count(<PyObject *>counted)
del counted


def _live():
    """How many objects of each type are alive, in a debug build; else None."""
    return live_objects()

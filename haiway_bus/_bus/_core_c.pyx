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

from haiway_bus._bus._turns_c cimport Turns
from haiway_bus._bus.handover cimport (
    HB_IS_LAST_STEP,
    PYGEN_ERROR,
    PYGEN_NEXT,
    PYGEN_RETURN,
    PySendResult,
    hb_raise_stop,
    hb_read_as,
    hb_set_slots,
    iternextfunc,
    sendfunc,
)
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
from asyncio.events import _get_running_loop
from collections import OrderedDict
from contextvars import Context, ContextVar
from typing import Any
from weakref import ref

from haiway_bus._bus.drops import note_losses
from haiway_bus._bus.flush import share_work
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
    DROP_OLDEST as DROP_OLDEST_NAME,
    RAISE as RAISE_NAME,
    TURN,
    check_limit,
    check_type,
    no_scope,
    nothing_waits,
    overflow_of,
    overflowed,
)

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

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    unsigned long PyThread_get_thread_ident() noexcept
    PyTypeObject *Py_TYPE(PyObject *) noexcept
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    int PyContext_Enter(PyObject *) except -1
    int PyContext_Exit(PyObject *) except -1
    int PyContextVar_Get(PyObject *, PyObject *, PyObject **) except -1
    object PyList_New(Py_ssize_t)
    void PyList_SET_ITEM(object, Py_ssize_t, object)

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

    def __cinit__(self, BusCore bus not None, object event_type):
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
            self.wake_all()
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
        cdef SubscriptionCore subscription
        while True:
            first = first_due(&self.leaving, self.sent)
            if first == NULL:
                return 0
            bound = <Bound>first
            if bound.subscription == NULL:
                self.file(bound, 0)
                continue
            subscription = <SubscriptionCore>bound.subscription
            if subscription._waiting() < bound.limit:
                self.file(bound, self.sent + bound.limit - subscription._waiting())
            elif subscription._held is None:
                # The collector may run code here, which sends, reads, subscribes or closes. So look at all of it again.
                room = [None] * bound.limit
                if subscription._held is None:
                    subscription._held = room
                room = subscription = None
            else:
                subscription._move_out()

    cdef PyObject *move_on(self) noexcept:
        """Have those at their limits that drop the oldest event step past it.

        Returns a reference to the first of these events in the chain, and so to all of them, to be let go when the
        send is over: to free an event may run code that sends, reads, subscribes or closes. NULL if there is none.
        """
        cdef PyObject *first
        cdef PyObject *gone = NULL
        cdef int64_t position = 0
        cdef Bound bound
        cdef SubscriptionCore subscription
        while True:
            first = first_due(&self.moving, self.sent)
            if first == NULL:
                return gone
            bound = <Bound>first
            if bound.subscription == NULL:
                self.file(bound, 0)
                continue
            subscription = <SubscriptionCore>bound.subscription
            if self.sent - subscription._position >= bound.limit:
                if gone == NULL or subscription._position < position:
                    Py_XDECREF(gone)
                    gone = new_reference(subscription._node)
                    position = subscription._position
                subscription._node = subscription._node.next
                subscription._position += 1
                bound.dropped += 1
            self.file(bound, subscription._position + bound.limit)

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

    cdef int enter(self, SubscriptionCore subscription) except -1:
        """Give a subscription a place at the end of the chain: a new one, or one that comes back for what is sent now.

        The latter is about to take an event, and so has room for one.
        """
        cdef Bound bound = subscription._bound
        cdef int64_t lost
        if subscription._node is None:
            subscription._position = subscription._start = subscription._asked = self.sent
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
        subscription._node = self.tail
        self.sharing += 1
        return 0

    cpdef int wake_all(self) except -1:
        """Hand every read that is parked here over to the bus, in one step however many there are."""
        cdef BusCore bus = self.bus
        bus.wakes += 1
        bus.schedule()
        if len(bus.ready):
            bus.ready.extend(self.parked)
            self.parked.clear()
        else:
            bus.ready, self.parked = self.parked, bus.ready
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

    cdef int join(self, SubscriptionCore subscription) except -1:
        self.joined += 1
        subscription._key = self.joined
        self.members[subscription._key] = ref(subscription)
        if subscription._bound is not None:
            try:
                index_reserve(&self.moving, len(self.bounded) + 1)
                index_reserve(&self.leaving, len(self.bounded) + 1)
                self.bounded[subscription._key] = subscription._bound
            except MemoryError:
                del self.members[subscription._key]
                raise
            subscription._bound.subscription = <PyObject *>subscription
        self.enter(subscription)
        return 0

    cpdef leave(self, int64_t key, Bound bound, int64_t delivered, int64_t unread):
        cdef bint was_last
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
            index_remove(&self.bus.index, <PyObject *>self.event_type)
            del self.bus.table[id(self.event_type)]
        if was_last or unread or (bound is not None and bound.dropped > bound.told):
            left(self, bound, unread, was_last=was_last)

    def __dealloc__(self):
        PyMem_Free(self.moving.slots)
        PyMem_Free(self.leaving.slots)


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

    cpdef int64_t lost(self) noexcept:
        """How many events it was ever denied, or lost."""
        if self.left_at < 0 or self.subscription == NULL:
            return self.dropped
        return self.dropped + self.channel.sent - self.left_at


cdef class SubscriptionCore:
    """Where a subscription stands in the chain, and who waits for it: what is on the way of an event.

    `Subscription` in subscription.py is the public class over it. That shows its documented names alone, so that all
    names here but theirs begin with an underscore.

    Invariants: `_node` is the place of the next event that is not apart, None once closed. `_waiting()` events wait.
    `_head` is the read that is first in line and `_line` those behind it. A read that did not wait may take an
    event only while nobody is in line. `_plain` means that there is nothing else to see to: nothing apart, no pool, and
    no call of flush that waits. `_asked` is a position at which a reader asked for the next event, and so was done with
    all before: the latest, or, while it is `_plain`, the latest at which there was none.
    """

    def __cinit__(self, Channel channel not None, Bound bound=None, str name=None):
        self._channel = channel
        self._bound = bound
        self._name = name
        self._plain = True
        # Last, so that one which could not join has nothing to leave.
        channel.join(self)

    def __aiter__(self):
        self._check()
        return self

    def __anext__(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.subscription = self
        return receive

    @cython.binding(True)
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

    cdef object _take(self):
        """The next event, past which it steps; raises SubscriptionOverflow in place of lost ones."""
        cdef Node node
        if self._bound is not None and self._bound.apart:
            return self._take_apart()
        node = self._node
        self._node = node.next
        self._position += 1
        if self._work is not None:
            self._work.took(self._position)
        return node.event

    cdef object _take_apart(self):
        cdef Bound bound = self._bound
        cdef Py_ssize_t place
        if self._at_gap():
            lost = bound.gaps.pop(self._position)
            self._settle()
            raise overflowed(self._channel.event_type, bound.limit, lost)
        if bound.left_at >= 0:
            self._channel.enter(self)
        place = self._position % bound.limit
        event = self._held[place]
        self._held[place] = None
        self._position += 1
        self._settle()
        if self._work is not None:
            self._work.took(self._position)
        return event

    cdef int _settle(self) except -1:
        """Something that waited apart is gone: maybe the last of it."""
        if self._bound.held_until == self._position and not self._bound.gaps:
            self._bound.apart = False
            self._held = None
            self._plain = self._work is None
        return 0

    cdef bint _at_gap(self) except -1:
        return self._bound is not None and self._bound.gaps is not None and self._position in self._bound.gaps

    cdef int _move_out(self) except -1:
        """Leave the chain, with all that waits there. `held` is ready for it."""
        cdef Bound bound = self._bound
        cdef Channel channel = self._channel
        cdef Node node = self._node
        cdef PyObject *former = new_reference(node)
        cdef int64_t number = bound.held_until if bound.apart else self._position
        while node.next is not None:
            self._held[<Py_ssize_t>(number % bound.limit)] = node.event
            number += 1
            node = node.next
        bound.held_until = number
        bound.apart = True
        bound.left_at = channel.sent
        self._plain = False
        self._node = NOWHERE
        channel.sharing -= 1
        channel.away += 1
        channel.file(bound, 0)
        node = None
        let_go(former)
        return 0

    cdef list _take_batch(self, Py_ssize_t limit):
        # Node by node: to jump ahead would leave a chain that frees itself recursively.
        cdef list batch
        cdef Py_ssize_t count
        cdef PyObject *event
        cdef int64_t position = self._position
        if self._plain:
            count = min(limit, self._waiting())
            batch = PyList_New(count)
            if self._plain and self._node is not None and self._position == position:
                for limit in range(count):
                    event = new_reference(self._node.event)
                    self._node = self._node.next
                    PyList_SET_ITEM(batch, limit, <object>event)  # takes the reference over
                self._position += count
                return batch
            # To make the list has run code, by the collector, that reads or closes.
        batch = [self._take()] if self._has_event() else []
        while len(batch) < limit and self._has_event():
            if self._at_gap():
                break
            batch.append(self._take())
        return batch

    def _came_back(self):
        """A reader asks for the next event, and so is done with the one before."""
        self._asked = self._position
        if self._work is not None:
            self._work.came_back()

    def _set_work(self, work):
        self._work = work
        self._plain = work is None and (self._bound is None or not self._bound.apart)

    @property
    def _pending(self):
        """How many events wait to be taken."""
        return 0 if self._node is None else self._waiting()

    cdef int64_t _waiting(self) noexcept:
        """How many events wait, unless it is closed."""
        if self._bound is None:
            return self._channel.sent - self._position
        cdef int64_t last = self._channel.sent if self._bound.left_at < 0 else self._bound.left_at
        return last - self._bound.missed - self._position

    cdef bint _has_event(self) noexcept:
        return self._node is not None and (
            self._node.next is not None or (self._bound is not None and self._bound.apart)
        )

    cdef bint _is_closed(self) noexcept:
        return self._node is None or self._channel.ended

    cdef int _next_in_line(self) except -1:
        """The head was served or has left: who waited longest after it is first now."""
        if not self._line:
            self._head = None
            return 0
        cdef Receive first = next(iter(self._line))
        if self._has_event() or self._is_closed():
            self._channel.bus.wake(first)
        else:
            self._channel.park(first)
        del self._line[first]
        self._head = first
        return 0

    def _check(self):
        """Refuse another loop or thread than the bus's own (contract 6.1)."""
        self._channel.bus.check("reading a subscription")

    def _close(self):
        if self._node is None and self._head is None:
            return
        if PyThread_get_thread_ident() != self._channel.bus.thread:
            check_close(self)
        try:
            if self._node is not None:
                self._leave()
        finally:
            while self._head is not None and self._head.state == PARKED:
                self._head.end()

    cdef int _leave(self) except -1:
        """Free what waits, and be counted out of the channel."""
        cdef int64_t delivered = self._taken()
        cdef int64_t unread = self._waiting()
        self._release()
        if self._work is not None:
            self._work.end()
        self._channel.leave(self._key, self._bound, delivered, unread)
        return 0

    @property
    def _delivered(self):
        """How many events its readers took."""
        return self._taken()

    cdef int64_t _taken(self) noexcept:
        cdef int64_t skipped = 0
        if self._bound is not None and self._bound.overflow is DROP_OLDEST:
            skipped = self._bound.dropped
        return self._position - self._start - skipped

    cdef int _release(self) except -1:
        cdef PyObject *node = new_reference(self._node)
        self._node = None
        if self._bound is not None:
            self._bound.dropped = self._bound.lost()
            self._bound.subscription = NULL
        let_go(node)
        self._held = None
        return 0

    def __del__(self):
        # The collector runs this in whichever thread set it off. Nobody waits any more (a read in line holds its
        # subscription), so that all there is to do is to free the backlog, here, and to be counted out, which
        # is left to the bus's own thread.
        if self._node is None:
            return
        if PyThread_get_thread_ident() == self._channel.bus.thread:
            self._leave()
            return
        self._release()
        parting = self._key, self._bound, self._taken(), self._waiting()
        leave_from_any_thread(self._channel, self._work, parting)


# The public class, of which `subscribe` makes the instances.
cdef object PUBLIC


def publish(kind):
    """A class decorator for the public class over one of the cores: `subscribe` makes instances of it."""
    global PUBLIC
    if issubclass(kind, SubscriptionCore):
        PUBLIC = kind
        hb_read_as(<PyObject *>kind, <PyObject *>SubscriptionCore)
    elif issubclass(kind, BatchesCore):
        hb_read_as(<PyObject *>kind, <PyObject *>BatchesCore)
    live_count(<PyObject *>kind)
    return kind


cdef class BatchesCore:
    """Reads of batches: `Batches` in subscription.py is the public class over it."""

    def __cinit__(self, SubscriptionCore subscription not None, object limit):
        check_limit("batches()", limit)
        self._subscription = subscription
        self._limit = min(limit, PY_SSIZE_T_MAX)

    def __aiter__(self):
        self._subscription._check()
        return self

    def __anext__(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.subscription = self._subscription
        receive.limit = self._limit
        return receive


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

    Invariants: it stands in `subscription._head` or in `subscription._line` exactly while PARKED or GRANTED. It has its
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
        cdef SubscriptionCore subscription = self.subscription
        cdef BusCore bus
        if self.state == YIELDED and self.wakeup is None:
            self.state = NEW
        if self.state == NEW:
            if HB_RUN() != <PyObject *>subscription._channel.bus.run:
                subscription._check()
                subscription._channel.bus.note_run()
            if not subscription._plain:
                subscription._came_back()
            if subscription._channel.bus.left <= 0 and subscription._head is None and subscription._has_event():
                bus = subscription._channel.bus
                if bus.turn_is_over():
                    bus.put_off(self)
                    self.state = YIELDED
                    result[0] = new_reference(self)
                    return PYGEN_NEXT
            if subscription._head is None:
                if subscription._has_event():
                    return self.serve(result)
                if subscription._is_closed():
                    self.over()
                    raise StopAsyncIteration
            subscription._asked = subscription._position
            self.park()
        elif self.wakeup is not None or self.state == DONE or self.state == CANCELLED:
            raise self.refused()
        elif self.state == GRANTED:
            if subscription._has_event():
                return self.serve(result)
            if subscription._is_closed():
                self.leave()
                raise StopAsyncIteration
            # What it was woken for is gone: it keeps its place at the head.
            subscription._channel.park(self)  # if this fails, `resume` has it leave the line
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
        cdef SubscriptionCore subscription = self.subscription
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
        raise thrown(exception_type, exception, traceback)

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

    @property
    def yielded(self):
        """Whether it is put off to the loop's next turn."""
        return self.state == YIELDED

    cdef object take(self, SubscriptionCore subscription):
        """What the read is for: one event, or a batch when it has a limit."""
        cdef list batch
        if self.limit == 0:
            subscription._channel.bus.left -= 1
            return subscription._take()
        batch = subscription._take_batch(self.limit)
        subscription._channel.bus.left -= len(batch)
        return batch

    cdef int park(self) except -1:
        """Take a place at the end of the line."""
        cdef SubscriptionCore subscription = self.subscription
        if subscription._head is None:
            subscription._channel.park(self)
            subscription._head = self
        else:
            if subscription._line is None:
                subscription._line = OrderedDict()
                share_work(subscription)
            subscription._line[self] = None
        self.state = PARKED
        return 0

    cdef int leave(self) except -1:
        """Give up the place in line, if it has one, so that whoever is next waits no longer behind it."""
        if self.state != PARKED and self.state != GRANTED:
            return 0
        cdef SubscriptionCore subscription = self.subscription
        if subscription._head is self:
            subscription._next_in_line()
            if self.state == PARKED:
                subscription._channel.unpark(self)
        elif subscription._line is not None:
            del subscription._line[self]
        if self.state == GRANTED:
            self.take_back_grant()
        return self.over()

    cdef void take_back_grant(self) noexcept:
        """It is GRANTED no longer: `resume` is not to look after it."""
        cdef Grant *grant = self.subscription._channel.bus.grant
        while grant != NULL:
            if grant.receive == <PyObject *>self:
                grant.receive = NULL
            grant = grant.outer

    @property
    def idle(self):
        """Whether it waits for an event that is not there (contract 5.4)."""
        return self.state == PARKED and not (
            self.subscription._has_event() or self.subscription._is_closed()
        )

    def end(self):
        """End the wait without an event: its reader's loop finishes (contract 5.4)."""
        if self.state == PARKED:
            self.subscription._channel.bus.wake(self)
            self.leave()
            self.state = ENDED

    @property
    def channel(self):
        return None if self.subscription is None else self.subscription._channel

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
        return self.subscription._channel.bus.loop

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
        cdef BusCore bus = self.subscription._channel.bus
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


cdef class BusCore(Turns):
    """The table of channels of one bus, and the reads that are to be resumed: what is on the way of an event.

    `Bus` in bus.py is the class over it, with all the rest. It belongs to the loop and the thread in which it was made
    (guarantee 6.1).
    """

    def __cinit__(self, name not None, double turn=TURN):
        self.name = name
        self.thread = PyThread_get_thread_ident()
        self.table = {}
        index_allot(&self.index, 8)
        # A finished future, given to each task as the one that woke it: the Task finds its result faster than
        # it could ask a Receive.
        self.resumed = self.loop.create_future()
        self.resumed.set_result(None)
        self.inbox = Inbox(name, self.loop, Context(), self.accept)

    def __init__(self, name, turn=TURN):
        pass  # all is done by __cinit__, which nobody can leave out

    def __dealloc__(self):
        PyMem_Free(self.index.slots)

    def send(self, event):
        """Append the event to its type's chain, or drop it if nobody subscribes to the type (guarantee 1)."""
        self.post(event)

    cdef int post(self, object event) except -1:
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
            refuse(self, event)
        return 0

    def accept(self, event):
        """Append an event that another thread sent, unless its type has lost its subscriptions since."""
        cdef Channel channel = self.channel_of(<PyObject *>Py_TYPE(<PyObject *>event))
        if channel is not None:
            channel.append(event)

    def subscribe(self, event_type, limit=None, overflow=None, name=None):
        """Start receiving the events of exactly this type (guarantee 2.1, 4.1)."""
        cdef Channel channel
        if not PyType_Check(event_type) or not HB_IS_EVENT_TYPE(<PyObject *>event_type):
            check_type("subscribe()", event_type)  # which refuses it, or finds that it is an exception of a user's
        if self.ended:
            return successor(self, "subscribe()").subscribe(event_type, limit, overflow, name)
        if HB_RUN() != <PyObject *>self.run:
            self.check("subscribe()")
            self.note_run()
        kind = "" if limit is None and overflow is None else overflow_of(limit, overflow)
        if name is not None or self.loop.get_debug():
            name = name_for(name)
        if self.strict or self.inbox.events:
            deliver_first(self, event_type)
        while True:
            channel = self.channel_of(<PyObject *>event_type)
            if channel is None:
                channel = Channel(self, event_type)
                if self.channel_of(<PyObject *>event_type) is not None:
                    continue
                index_reserve(&self.index, self.index.used + 1)
                self.table[id(event_type)] = channel
                index_add(&self.index, <PyObject *>event_type, <PyObject *>channel)
            bound = None if limit is None else Bound(channel, limit, kind, name)
            subscription = PUBLIC(channel, bound, name)
            # To make it may have set off the collector, which may have ended the channel's last subscription and the
            # channel with it, or subscribed to the type.
            if self.channel_of(<PyObject *>event_type) is channel:
                return subscription

    cdef Channel channel_of(self, PyObject *event_type):
        # Held by whoever asks: to make a node may set off the collector, which may close the last subscription.
        cdef Slot *slot = slot_of(&self.index, event_type)
        return None if slot.type == NULL else <Channel>slot.value

    def check(self, str call):
        """Refuse another loop or thread than the bus's own (guarantee 6.1)."""
        running = _get_running_loop()
        if running is not self.loop or PyThread_get_thread_ident() != self.thread:
            raise not_at_home(self, call, running)

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

    def clear(self):
        """Give up the table, so that `send` finds nobody; returns it."""
        table, self.table = self.table, {}
        index_clear(&self.index)
        return table

    def retire(self):
        """Be of no thread and no run of a loop, so that each call looks closer, and ask nothing more of the loop."""
        self.thread = 0
        self.run = None
        self.due = <PyObject *>self
        self.trusted = INFINITY


current = ContextVar("haiway_bus.current", default=None)
cdef PyObject *CURRENT = <PyObject *>current  # the module holds it


cdef inline BusCore current_bus():
    cdef PyObject *bus = NULL
    PyContextVar_Get(CURRENT, NULL, &bus)
    return <BusCore>owned(bus)


def send(event, /):
    """Send the event to every subscription of exactly its type on the bus of the current scope.

    Never blocks and never runs a reader. Raises ContextMissing outside a scope and after its end (contract 5.2,
    5.6), TypeError for what cannot be an event (contract 1.4).
    """
    cdef BusCore bus = current_bus()
    if bus is None:
        raise no_scope("send()")
    bus.post(event)


cdef inline object owned(PyObject *reference):
    # Takes over a reference that was given: the object variable counts it once more, so that one goes back.
    cdef object value = <object>reference
    Py_DECREF(value)
    return value


# ---------------------------------------------------------------------------------------------------------------
# How a Receive is stepped: the slots are C functions, because a `def __next__` which ends in an exception leaves a
# traceback each time. handover.pxd knows how an event is handed to the interpreter.

cdef inline PyObject *waiting_event(Receive receive) noexcept:
    # The usual case of Receive.step: a new read, nobody in line, an event there, and no turn of the loop due. Written
    # without local variables for objects: each would be counted up and down. A new reference, or NULL.
    cdef PyObject *event = NULL
    cdef PyObject *bus
    if (
        receive.state == NEW
        and receive.limit == 0
        and receive.subscription._plain
        and receive.subscription._head is None
        and receive.subscription._node is not None
        and receive.subscription._node.next is not None
    ):
        bus = <PyObject *>receive.subscription._channel.bus
        if (<BusCore>bus).left <= 0 or HB_RUN() != <PyObject *>(<BusCore>bus).run:
            return NULL
        (<BusCore>bus).left -= 1
        event = new_reference(receive.subscription._node.event)
        receive.state = DONE
        receive.subscription._position += 1
        receive.subscription._node = receive.subscription._node.next
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
for counted in (Bound, Channel, Node, Receive):
    live_count(<PyObject *>counted)
del counted


def _live():
    """How many objects of each type are alive, in a debug build; else None."""
    return live_objects()

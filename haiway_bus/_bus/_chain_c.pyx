# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The chain of events in Cython: the twin of `_chain_py.py`, which says what everything is for.

Here stands how it is fast. A send takes a node from a free list, fills the tail and steps on: no Python object is made
but the node, and nobody is asked. Subscriptions with a limit are found by the number of the event at which they come to
it, in a table that holds no references (type_index.pxd).
"""

cimport cython
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from haiway_bus._values.live cimport live_count, live_objects
from haiway_bus._values.type_index cimport Slot, TypeIndex, index_add, index_remove, slot_of

from haiway_bus._bus.drops import note_losses
from haiway_bus._bus.refusals import DROP_OLDEST as DROP_OLDEST_NAME, RAISE as RAISE_NAME, overflowed

__all__ = ("Bound", "Chain", "Cursor", "Node")

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    object PyList_New(Py_ssize_t)
    void PyList_SET_ITEM(object, Py_ssize_t, object)

# As C variables, to be compared by address: `overflow_of` gives these very strings.
cdef str DROP_OLDEST = DROP_OLDEST_NAME
cdef str RAISE = RAISE_NAME


@cython.final
@cython.freelist(512)
cdef class Node:
    """One place in a chain: an event and the next place.

    Invariant: `next` is None in exactly one node of a chain, the channel's tail, which has no event yet.
    """


# Where a subscription stands that has left the chain: nothing is ever sent here. Made at the end of this file.
cdef Node NOWHERE


cdef void let_go(PyObject *node) noexcept:
    """Give up this reference to a node, if it is one, and free the chain up to the first node that somebody else holds.

    In a loop, because a chain that is let go at its head frees itself recursively, one stack frame a node
    (guarantee 3.3). Whoever calls this has done its work: to free an event may run any code.
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


cdef class Chain:
    """The events of one type on one bus.

    Invariants: `bounded` are the bounds of the subscriptions with a limit, by their keys. `sharing` subscriptions have
    a place in the chain, `away` have left it. A bound whose subscription is in the chain is in the table `moving` or
    `leaving`, at a `due` that is not past and not after the `sent` at which it comes to its limit.
    """

    def __cinit__(self, *_):
        self.tail = Node.__new__(Node)
        self.bounded = {}
        self.parked = []

    cdef bint hands_over(self, object event) except -1:
        """Wake the reads that are parked, or have the event sent in another way: whether that is so.

        The channel has it.
        """
        raise NotImplementedError

    @cython.final
    cdef int append(self, object event) except -1:
        """Give the event to every subscription, or raise and give it to none.

        What can fail comes first, near the recursion limit say, and so does what can run other code, as the collector
        may where an object is made. From the first change to the last nothing does.
        """
        cdef Node node = Node.__new__(Node)
        cdef Node tail
        if len(self.parked) and self.hands_over(event):
            return 0
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

    @cython.final
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

    @cython.final
    cdef int let_leave(self) except -1:
        """Move those out of the chain that are at their limits and take no further event.

        That changes nothing that can be seen, and so does no harm if the event is not sent after all.
        """
        cdef PyObject *first
        cdef Bound bound
        cdef Cursor subscription
        while True:
            first = first_due(&self.leaving, self.sent)
            if first == NULL:
                return 0
            bound = <Bound>first
            if bound.subscription == NULL:
                self.file(bound, 0)
                continue
            subscription = <Cursor>bound.subscription
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

    @cython.final
    cdef PyObject *move_on(self) noexcept:
        """Have those at their limits that drop the oldest event step past it.

        Returns a reference to the first of these events in the chain, and so to all of them, to be let go when the
        send is over: to free an event may run code that sends, reads, subscribes or closes. NULL if there is none.
        """
        cdef PyObject *first
        cdef PyObject *gone = NULL
        cdef int64_t position = 0
        cdef Bound bound
        cdef Cursor subscription
        while True:
            first = first_due(&self.moving, self.sent)
            if first == NULL:
                return gone
            bound = <Bound>first
            if bound.subscription == NULL:
                self.file(bound, 0)
                continue
            subscription = <Cursor>bound.subscription
            if self.sent - subscription._position >= bound.limit:
                if gone == NULL or subscription._position < position:
                    Py_XDECREF(gone)
                    gone = new_reference(subscription._node)
                    position = subscription._position
                subscription._node = subscription._node.next
                subscription._position += 1
                bound.dropped += 1
            self.file(bound, subscription._position + bound.limit)

    @cython.final
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

    @cython.final
    cdef int enter(self, Cursor subscription) except -1:
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

    def __dealloc__(self):
        PyMem_Free(self.moving.slots)
        PyMem_Free(self.leaving.slots)


@cython.final
cdef class Bound:
    """What a subscription with a limit has besides its place in the chain (guarantee 4).

    One that drops the oldest event always has a place there. One that takes no further event gives it up when an event
    comes that it has no room for. It moves what waits to its own `held`, where the event with the number n is at
    n % limit, and a send costs it nothing from then on. With the next event that is taken from it, it comes back.

    Invariants: `apart` says that something waits outside of the chain: events in `held`, with the numbers from the
    subscription's `position` to `held_until`; or the news of a loss, in `gaps`. What waits in the chain comes after
    these. `told` of the dropped events have been reported. It refers to no event: the channel holds it.
    """

    def __cinit__(self, Chain channel not None, limit, str overflow, str name=None):
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


cdef class Cursor:
    """Where a subscription stands in the chain, and what waits for it.

    Invariants: `_node` is the place of the next event that is not apart, None once closed. `_waiting()` events wait.
    `_plain` means that there is nothing else to see to: nothing apart, no pool, and no call of flush that waits.
    `_asked` is a position at which a reader asked for the next event, and so was done with all before: the latest, or,
    while it is `_plain`, the latest at which there was none.
    """

    @cython.final
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

    @cython.final
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

    @cython.final
    cdef int _settle(self) except -1:
        """Something that waited apart is gone: maybe the last of it."""
        if self._bound.held_until == self._position and not self._bound.gaps:
            self._bound.apart = False
            self._held = None
            self._plain = self._work is None
        return 0

    @cython.final
    cdef bint _at_gap(self) except -1:
        return self._bound is not None and self._bound.gaps is not None and self._position in self._bound.gaps

    @cython.final
    cdef int _move_out(self) except -1:
        """Leave the chain, with all that waits there. `held` is ready for it."""
        cdef Bound bound = self._bound
        cdef Chain channel = self._channel
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

    @cython.final
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

    @cython.final
    cdef int64_t _waiting(self) noexcept:
        """How many events wait, unless it is closed."""
        if self._bound is None:
            return self._channel.sent - self._position
        cdef int64_t last = self._channel.sent if self._bound.left_at < 0 else self._bound.left_at
        return last - self._bound.missed - self._position

    @cython.final
    cdef bint _has_event(self) noexcept:
        return self._node is not None and (
            self._node.next is not None or (self._bound is not None and self._bound.apart)
        )

    @cython.final
    cdef int64_t _taken(self) noexcept:
        cdef int64_t skipped = 0
        if self._bound is not None and self._bound.overflow is DROP_OLDEST:
            skipped = self._bound.dropped
        return self._position - self._start - skipped

    @cython.final
    cdef int _release(self) except -1:
        cdef PyObject *node = new_reference(self._node)
        self._node = None
        if self._bound is not None:
            self._bound.dropped = self._bound.lost()
            self._bound.subscription = NULL
        let_go(node)
        self._held = None
        return 0


# This one is never freed, and so not counted.
NOWHERE = Node.__new__(Node)

# Counted before the first of them is made (see live.pxd).
for counted in (Bound, Node):
    live_count(<PyObject *>counted)
del counted


def _live():
    """How many objects of each type are alive, in a debug build; else None."""
    return live_objects()

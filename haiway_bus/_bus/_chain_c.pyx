# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The chain of events of one type, in Cython: the twin of `_chain_py.py`, which documents classes and methods.

A send takes a node from a free list, fills the tail and moves the tail on. It makes no other object, and looks at no
subscription. A table that holds no references (type_index.pxd) finds the subscriptions with a limit, by the number of
the event at which they may reach it.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from haiway_bus._common.live cimport live_count, live_objects
from haiway_bus._common.type_index cimport Slot, TypeIndex, index_add, index_remove, slot_of

from haiway_bus._bus.drops import note_losses
from haiway_bus._bus.refusals import DROP_OLDEST as DROP_OLDEST_NAME, RAISE as RAISE_NAME, overflowed

__all__ = ("Bound", "Chain", "Cursor", "Node")

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    object PyList_New(Py_ssize_t)
    void PyList_SET_ITEM(object, Py_ssize_t, object)

# C variables, to be compared by identity: `overflow_of` returns these very strings.
cdef str DROP_OLDEST = DROP_OLDEST_NAME
cdef str RAISE = RAISE_NAME


@cython.final
@cython.freelist(512)
cdef class Node:
    """A place in a chain: an event and the next place.

    Invariants:
    - The tail, the last node of a chain, has no event yet, and its `next` is None. All other nodes have both.
    """


# The node of a subscription that has left the chain. No event is ever sent here. The end of this file makes it.
cdef Node NOWHERE


cdef void let_go(PyObject *node) noexcept:
    """Drop this reference to a node, or NULL, and free the chain up to the first node that is held elsewhere.

    It frees the nodes in a loop: a chain that is let go at its head frees itself recursively, with a stack frame for
    each node (guarantee 3.3). Call it last: freeing an event may run any code.
    """
    cdef PyObject *following
    while node != NULL and Py_REFCNT(node) == 1:
        following = new_reference((<Node>node).next)
        (<Node>node).next = None
        Py_XDECREF(node)
        node = following
    Py_XDECREF(node)


# No subscription reaches this limit, so its bound is in no table. A sum with it could overflow, and might not fit a key
# of the tables.
cdef int64_t UNREACHABLE = <int64_t>1 << 59


cdef inline PyObject *key_of(int64_t due) noexcept:
    # The key for a `due` in a TypeIndex, whose hash leaves out the lowest four bits.
    return <PyObject *>(<size_t>due << 4)


cdef inline PyObject *first_due(TypeIndex *table, int64_t sent) noexcept:
    # A borrowed reference to the first Bound that is due in this table, or NULL.
    if table.used == 0:
        return NULL
    cdef Slot *slot = slot_of(table, key_of(sent))
    return NULL if slot.type == NULL else slot.value


cdef class Chain:
    """The events of one type on one bus.

    Invariants:
    - `bounded` maps the key of each subscription with a limit to its bound.
    - `sharing` subscriptions have a place in the chain. `away` subscriptions have left it.
    - The bound of a subscription in the chain is in the table `moving` or `leaving`, under its `due`. That is not below
      `sent`, and not above the value of `sent` at which the subscription reaches its limit.
    """

    def __cinit__(self, *_):
        self.tail = Node.__new__(Node)
        self.bounded = {}
        self.parked = []

    cdef bint hands_over(self, object event) except -1:
        """Wake the parked reads, or else put the event into the inbox of the bus. Return True for the inbox.

        `Channel` implements this.
        """
        raise NotImplementedError

    @cython.final
    cdef int append(self, object event) except -1:
        """Append the event for every subscription, or raise and append it for none.

        First come the steps that can fail, near the recursion limit for example, and those that can run other code, as
        making an object can start the collector. After the first change, there are no such steps.
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
        """The rest of `append`, when a bound is due, or a subscription is away and no report of drops is scheduled."""
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
            pass  # the next drop or the end of the subscription reports the drops
        finally:
            let_go(gone)
        return 0

    @cython.final
    cdef int let_leave(self) except -1:
        """Move the subscriptions in `leaving` that are at their limit out of the chain.

        This has no visible effect, so it does no harm if the send fails later.
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
                # Making the list may start the collector, and so run code that sends, reads, subscribes or closes. So
                # the loop looks at this bound again.
                room = [None] * bound.limit
                if subscription._held is None:
                    subscription._held = room
                room = subscription = None
            else:
                subscription._move_out()

    @cython.final
    cdef PyObject *move_on(self) noexcept:
        """Let each subscription at its limit with overflow="drop_oldest" step past its oldest event.

        Returns a reference to the first of these nodes, which holds all of them, or NULL. The caller drops it at the
        end of the send: freeing an event may run code that sends, reads, subscribes or closes.
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
        """File the bound under `due`, a value of `sent`. Unfile it if `due` is 0."""
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
        """Put a subscription at the end of the chain: a new subscription, or a subscription that was away.

        A subscription that was away is about to take an event, so it has room for the next.
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

    def __cinit__(self, Chain channel not None, limit, str overflow, str name=None):
        self.channel = channel
        self.limit = min(limit, PY_SSIZE_T_MAX)
        self.overflow = overflow
        self.name = name
        self.left_at = -1
        self.gaps = {} if overflow is RAISE else None

    cpdef int64_t lost(self) noexcept:
        """The number of events that the subscription has lost."""
        if self.left_at < 0 or self.subscription == NULL:
            return self.dropped
        return self.dropped + self.channel.sent - self.left_at


cdef class Cursor:
    """The place of a subscription in the chain, and the events that wait for it.

    Invariants:
    - `_node` is the place of the next event in the chain, None once the subscription is closed.
    - `_waiting()` events wait.
    - `_plain` means that a read only has to take the next node: nothing waits outside of the chain, no pool of tasks
      reads, and no call of flush waits.
    - `_asked` is a position at which a reader asked for the next event, and so was done with the events before. It is
      the latest such position, or, while `_plain`, the latest at which no event was waiting.
    """

    @cython.final
    cdef object _take(self):
        """Take the next event. Raise SubscriptionOverflow in place of lost events."""
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
        """Forget what was outside of the chain, once nothing waits there any more."""
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
        """Leave the chain, and move all waiting events to `_held`, which the caller has made."""
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
        # Node by node: after a jump ahead, the skipped nodes would free each other recursively.
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
            # Making the list has started the collector, and so run code that reads or closes.
        batch = [self._take()] if self._has_event() else []
        while len(batch) < limit and self._has_event():
            if self._at_gap():
                break
            batch.append(self._take())
        return batch

    @cython.final
    cdef int64_t _waiting(self) noexcept:
        """The number of waiting events, while the subscription is open."""
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


# NOWHERE is never freed, so it is not counted.
NOWHERE = Node.__new__(Node)

# Register these types before their first object is made (see live.pxd).
for counted in (Bound, Node):
    live_count(<PyObject *>counted)
del counted


def _live():
    """The number of living objects of each type in a debug build. None in other builds."""
    return live_objects()

# The fields of the compiled twin, one comment for each invariant that C code relies on.

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t

from haiway_bus._values.type_index cimport TypeIndex


cdef inline PyObject *new_reference(object value) noexcept:
    Py_INCREF(value)
    return <PyObject *>value


cdef class Node:
    cdef object event           # None in the tail only
    cdef Node next              # None in the tail only


cdef class Chain:
    cdef readonly object event_type
    cdef Node tail              # never None: the empty node that the next event fills
    cdef readonly list parked   # of the channel's reads
    cdef readonly int64_t sent
    cdef Py_ssize_t sharing     # how many subscriptions have a place in the chain
    cdef Py_ssize_t away        # how many have left it
    cdef readonly dict bounded  # key -> Bound, of those with a limit
    # due -> the first Bound that is due then. They borrow from `bounded`, and have room for all of it.
    cdef TypeIndex moving       # of those with overflow="drop_oldest"
    cdef TypeIndex leaving      # of the others
    cdef public object losses   # Losses while a report of drops is due, or None

    cdef bint hands_over(self, object event) except -1

    cdef int append(self, object event) except -1

    cdef int append_at_limits(self, object event, Node node) except -1

    cdef int let_leave(self) except -1

    cdef PyObject *move_on(self) noexcept

    cdef void file(self, Bound bound, int64_t due) noexcept

    cdef int enter(self, Cursor subscription) except -1


cdef class Bound:
    cdef Chain channel
    cdef PyObject *subscription  # borrowed; NULL once it is closed
    cdef readonly Py_ssize_t limit  # at least 1
    cdef readonly str overflow
    cdef readonly str name      # that of its subscription, which may be gone when this is told
    cdef int64_t due            # the `sent` at which it is looked at; 0 when it is in no table
    cdef PyObject *before       # borrowed: the Bound before it that has the same `due`, or NULL
    cdef PyObject *after        # borrowed, likewise
    cdef readonly int64_t dropped  # but for those since `left_at`
    cdef int64_t missed         # of the dropped ones: those that never waited, unlike what "drop_oldest" drops
    cdef int64_t left_at        # the `sent` at which it left the chain; -1 while it is there
    cdef int64_t held_until
    cdef dict gaps              # for overflow="raise": position -> events lost before it; else None
    cdef bint apart             # something waits outside of the chain
    cdef public int64_t told           # of the dropped ones

    cpdef int64_t lost(self) noexcept


cdef class Cursor:
    cdef readonly Chain _channel
    cdef readonly Bound _bound  # None without a limit
    cdef list _held             # `limit` places for events that wait apart from the chain, or None
    cdef readonly Node _node    # None once closed
    cdef readonly int64_t _position  # the number of the next event, counted without those that it missed
    cdef int64_t _start         # position at the beginning
    cdef readonly int64_t _asked  # position at which a reader asked for the next event
    cdef readonly object _work  # Work; None unless it is known to have several workers, or a flush waits
    cdef bint _plain            # neither work nor anything apart

    cdef int64_t _waiting(self) noexcept

    cdef bint _has_event(self) noexcept

    cdef object _take(self)

    cdef object _take_apart(self)

    cdef int _settle(self) except -1

    cdef bint _at_gap(self) except -1

    cdef int _move_out(self) except -1

    cdef list _take_batch(self, Py_ssize_t limit)

    cdef int64_t _taken(self) noexcept

    cdef int _release(self) except -1

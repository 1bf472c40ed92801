# The fields of the compiled twin of `_chain_py.py`. The comments name the invariants that C code relies on.

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t

from haiway_bus._common.type_index cimport TypeIndex


cdef inline PyObject *new_reference(object value) noexcept:
    Py_INCREF(value)
    return <PyObject *>value


cdef class Node:
    cdef object event           # None in the tail only
    cdef Node next              # None in the tail only


cdef class Chain:
    cdef readonly object event_type
    cdef Node tail              # never None: the empty node that the next event fills
    cdef readonly list parked   # the reads that wait for an event
    cdef readonly int64_t sent
    cdef Py_ssize_t sharing     # the number of subscriptions with a place in the chain
    cdef Py_ssize_t away        # the number of subscriptions that have left it
    cdef readonly dict bounded  # key -> Bound, of the subscriptions with a limit
    # due -> the first Bound with that due. The tables borrow from `bounded`, and have room for all of it.
    cdef TypeIndex moving       # for overflow="drop_oldest"
    cdef TypeIndex leaving      # for the others
    cdef public object losses   # Losses while a report of drops is scheduled, or None

    cdef bint hands_over(self, object event) except -1

    cdef int append(self, object event) except -1

    cdef int append_at_limits(self, object event, Node node) except -1

    cdef int let_leave(self) except -1

    cdef PyObject *move_on(self) noexcept

    cdef void file(self, Bound bound, int64_t due) noexcept

    cdef int enter(self, Cursor subscription) except -1


cdef class Bound:
    cdef Chain channel
    cdef PyObject *subscription  # borrowed; NULL once the subscription is closed
    cdef readonly Py_ssize_t limit  # at least 1
    cdef readonly str overflow
    cdef readonly str name      # the name of its subscription, which may be gone when drops are reported
    cdef int64_t due            # the value of `sent` at which `append` looks at it; 0 while it is in no table
    cdef PyObject *before       # borrowed: the Bound before it with the same `due`, or NULL
    cdef PyObject *after        # borrowed, likewise
    cdef readonly int64_t dropped  # lacks the events since `left_at`
    cdef int64_t missed         # the part of `dropped` that never waited, unlike what "drop_oldest" drops
    cdef int64_t left_at        # the value of `sent` when it left the chain; -1 while it is in the chain
    cdef int64_t held_until     # the number after that of the last event in `_held`
    cdef dict gaps              # for overflow="raise": number of an event -> events lost before it; else None
    cdef bint apart             # something waits outside of the chain
    cdef public int64_t told           # the part of `dropped` that was reported

    cpdef int64_t lost(self) noexcept


cdef class Cursor:
    cdef readonly Chain _channel
    cdef readonly Bound _bound  # None without a limit
    cdef list _held             # `limit` places for events that wait outside of the chain, or None
    cdef readonly Node _node    # None once closed
    cdef readonly int64_t _position  # the number of the next event, without the missed events
    cdef int64_t _start         # the position at the start of the subscription
    cdef readonly int64_t _asked  # a position at which a reader asked for the next event
    cdef readonly object _work  # Work while a pool of tasks reads, or a flush waits; else None
    cdef bint _plain            # no Work, and nothing waits outside of the chain

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

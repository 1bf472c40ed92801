# The fields of the compiled twin, one comment for each invariant that C code relies on.

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from haiway_bus._bus._turns_c cimport Turns
from haiway_bus._bus.handover cimport PYGEN_ERROR, PySendResult
from haiway_bus._values.type_index cimport TypeIndex


cdef class Node:
    cdef object event           # None in the tail only
    cdef Node next              # None in the tail only


cdef class Channel:
    cdef readonly BusCore bus
    cdef readonly object event_type
    cdef Node tail              # never None: the empty node that the next event fills
    cdef readonly list parked            # of Receive; parked[r.slot] is r
    cdef readonly int64_t sent
    cdef Py_ssize_t sharing     # how many subscriptions have a place in the chain
    cdef Py_ssize_t away        # how many have left it
    cdef readonly int64_t joined  # how many subscriptions there ever were: the key of the latest
    cdef readonly dict members  # key -> weak reference, of every subscription
    cdef readonly dict bounded  # key -> Bound, of those with a limit
    # due -> the first Bound that is due then. They borrow from `bounded`, and have room for all of it.
    cdef TypeIndex moving       # of those with overflow="drop_oldest"
    cdef TypeIndex leaving      # of the others
    cdef public object looks    # Looks since somebody has looked, or None
    cdef public object losses   # Losses while a report of drops is due, or None
    cdef public object round    # the latest Round of flush, or None
    cdef readonly int64_t delivered  # by subscriptions that are closed
    cdef readonly int64_t dropped
    cdef public bint ended

    cdef int append(self, object event) except -1
    cdef int append_at_limits(self, object event, Node node) except -1
    cdef int let_leave(self) except -1
    cdef PyObject *move_on(self) noexcept
    cdef void file(self, Bound bound, int64_t due) noexcept
    cdef int enter(self, SubscriptionCore subscription) except -1
    cpdef int wake_all(self) except -1
    cdef int park(self, Receive receive) except -1
    cdef int unpark(self, Receive receive) except -1
    cdef int join(self, SubscriptionCore subscription) except -1
    cpdef leave(self, int64_t key, Bound bound, int64_t delivered, int64_t unread)


cdef class Bound:
    cdef Channel channel
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


cdef class SubscriptionCore:
    cdef object __weakref__
    cdef readonly Channel _channel
    cdef readonly int64_t _key  # tells it apart from all others of its channel, also from those that are gone
    cdef readonly Bound _bound  # None without a limit
    cdef readonly str _name     # what logs and errors call it, or None
    cdef list _held             # `limit` places for events that wait apart from the chain, or None
    cdef readonly Node _node    # None once closed
    cdef readonly int64_t _position  # the number of the next event, counted without those that it missed
    cdef int64_t _start         # position at the beginning
    cdef readonly int64_t _asked  # position at which a reader asked for the next event
    cdef readonly Receive _head  # first in line
    cdef object _line           # OrderedDict of those behind it; None until there is one
    cdef readonly object _work  # Work; None unless it is known to have several workers, or a flush waits
    cdef bint _plain            # neither work nor anything apart

    @cython.final
    cdef int64_t _waiting(self) noexcept

    @cython.final
    cdef bint _is_closed(self) noexcept

    @cython.final
    cdef bint _has_event(self) noexcept

    @cython.final
    cdef object _take(self)

    @cython.final
    cdef object _take_apart(self)

    @cython.final
    cdef int _settle(self) except -1

    @cython.final
    cdef bint _at_gap(self) except -1

    @cython.final
    cdef int _move_out(self) except -1

    @cython.final
    cdef list _take_batch(self, Py_ssize_t limit)

    @cython.final
    cdef int _next_in_line(self) except -1

    @cython.final
    cdef int64_t _taken(self) noexcept

    @cython.final
    cdef int _leave(self) except -1

    @cython.final
    cdef int _release(self) except -1


cdef class BatchesCore:
    cdef SubscriptionCore _subscription
    cdef Py_ssize_t _limit      # at least 1


cdef class Receive:
    cdef readonly SubscriptionCore subscription  # None once it is over
    cdef object wakeup          # the Task's callback; None while nobody waits
    cdef object context         # the Task's context, to resume it in
    cdef object message         # of the cancellation
    cdef Py_ssize_t slot        # its place in channel.parked
    cdef Py_ssize_t limit       # 0: one event; else the most events of a batch
    cdef int state

    cdef object refused(self)
    cdef PySendResult step(self, PyObject **result) except PYGEN_ERROR
    cdef PySendResult serve(self, PyObject **result) except PYGEN_ERROR
    cdef bint waits(self) noexcept
    cdef object take(self, SubscriptionCore subscription)
    cdef int park(self) except -1
    cdef int leave(self) except -1
    cdef void take_back_grant(self) noexcept
    cdef int give_up(self) except -1
    cdef int over(self) except -1


cdef struct Grant:
    PyObject *receive           # borrowed: the read whose task resume() is running, as long as it is GRANTED; or NULL
    Grant *outer                # that of the resume() around this one, or NULL


cdef class BusCore(Turns):
    cdef object __weakref__
    cdef readonly object name
    cdef readonly unsigned long thread
    cdef readonly dict table    # id of the type -> Channel
    # Of the same types: what send() asks. It borrows from `table`, also while the collector takes both apart: no code
    # that could send runs then (tests/leaks/finalizers.py).
    cdef TypeIndex index
    cdef object run             # the hook of the loop's run in which a read was last seen to be at home, or None
    cdef Grant *grant           # that of the innermost resume(), or NULL
    cdef public bint ended
    cdef public bint strict     # an event that nobody subscribes to may have to be refused
    cdef object resumed
    cdef readonly object inbox

    @cython.final
    cdef int post(self, object event) except -1

    @cython.final
    cdef bint runs_elsewhere(self) except -1

    @cython.final
    cdef Channel channel_of(self, PyObject *event_type)

    @cython.final
    cdef int note_run(self) except -1

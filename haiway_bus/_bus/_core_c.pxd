# The fields of the compiled twin, one comment for each invariant that C code relies on.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from haiway_bus._bus._chain_c cimport Bound, Chain, Cursor
from haiway_bus._bus._turns_c cimport Turns
from haiway_bus._bus.handover cimport PYGEN_ERROR, PySendResult
from haiway_bus._values.type_index cimport TypeIndex


cdef class Channel(Chain):
    cdef readonly BusCore bus
    cdef readonly int64_t joined  # how many subscriptions there ever were: the key of the latest
    cdef readonly dict members  # key -> weak reference, of every subscription
    cdef public object looks    # Looks since somebody has looked, or None
    cdef public object round    # the latest Round of flush, or None
    cdef readonly int64_t delivered  # by subscriptions that are closed
    cdef readonly int64_t dropped
    cdef public bint ended

    cpdef int wake_all(self) except -1
    cdef int park(self, Receive receive) except -1
    cdef int unpark(self, Receive receive) except -1
    cdef int join(self, SubscriptionCore subscription) except -1
    cpdef leave(self, int64_t key, Bound bound, int64_t delivered, int64_t unread)


cdef class SubscriptionCore(Cursor):
    cdef object __weakref__
    cdef BusCore _bus           # that of its channel
    cdef readonly int64_t _key  # tells it apart from all others of its channel, also from those that are gone
    cdef readonly str _name     # what logs and errors call it, or None
    cdef readonly Receive _head  # first in line
    cdef object _line           # OrderedDict of those behind it; None until there is one

    cdef bint _is_closed(self) noexcept

    cdef int _next_in_line(self) except -1

    cdef int _leave(self) except -1


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
    cdef public object subscription_class
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

    cdef int post(self, object event) except -1

    cdef Channel channel_of(self, PyObject *event_type)

    cdef int note_run(self) except -1

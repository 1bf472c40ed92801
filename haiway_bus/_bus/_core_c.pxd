# The fields of the compiled twin of `_core_py.py`. The comments name the invariants that C code relies on.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from haiway_bus._bus._chain_c cimport Bound, Chain, Cursor
from haiway_bus._bus._turns_c cimport Turns
from haiway_bus._bus.handover cimport PYGEN_ERROR, PySendResult
from haiway_bus._common.type_index cimport TypeIndex


cdef class Channel(Chain):
    cdef readonly BusCore bus
    cdef readonly int64_t joined  # the number of subscriptions so far: the key of the latest
    cdef readonly dict members  # key -> weak reference to the subscription
    cdef public object looks    # Looks, or None before the first look
    cdef public object round    # the latest Round of flush, or None
    cdef readonly int64_t delivered  # the total of the closed subscriptions
    cdef readonly int64_t dropped  # likewise
    cdef public bint ended

    cpdef int wake_all(self) except -1
    cdef int park(self, Receive receive) except -1
    cdef int unpark(self, Receive receive) except -1
    cdef int join(self, SubscriptionCore subscription) except -1
    cpdef leave(self, int64_t key, Bound bound, int64_t delivered, int64_t unread)


cdef class SubscriptionCore(Cursor):
    cdef object __weakref__
    cdef BusCore _bus           # the bus of its channel
    cdef readonly int64_t _key  # unlike that of any other subscription of its channel, past or present
    cdef readonly str _name     # the name in logs and errors, or None
    cdef readonly Receive _head  # the first read in line, or None
    cdef object _line           # OrderedDict of the reads behind `_head`; None until there is such a read

    cdef bint _is_closed(self) noexcept

    cdef int _next_in_line(self) except -1

    cdef int _leave(self) except -1


cdef class BatchesCore:
    cdef SubscriptionCore _subscription
    cdef Py_ssize_t _limit      # at least 1


cdef class Receive:
    cdef readonly SubscriptionCore subscription  # None once it is over
    cdef object wakeup          # the callback of the waiting task; None while no task waits
    cdef object context         # the context in which the task resumes
    cdef object message         # the message of the cancellation
    cdef Py_ssize_t slot        # its index in channel.parked
    cdef Py_ssize_t limit       # 0 for the read of an event, else the maximal size of a batch
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
    PyObject *receive           # borrowed: the read whose task resume() is running, while GRANTED; or NULL
    Grant *outer                # the Grant of the resume() around this resume(), or NULL


cdef class BusCore(Turns):
    cdef object __weakref__
    cdef readonly object name
    cdef public object subscription_class
    cdef readonly unsigned long thread
    cdef readonly dict table    # id of the type -> Channel
    # The same types, for `send`. It borrows from `table`, also while the collector clears both: no code that could send
    # runs then (tests/leaks/finalizers.py).
    cdef TypeIndex index
    cdef object run             # the hook of the run of the loop in which the last check passed, or None
    cdef Grant *grant           # the Grant of the innermost resume(), or NULL
    cdef public bint ended
    cdef public bint strict     # whether an event without a subscription may have to be refused
    cdef object resumed
    cdef readonly object inbox

    cdef int post(self, object event) except -1

    cdef Channel channel_of(self, PyObject *event_type)

    cdef int note_run(self) except -1

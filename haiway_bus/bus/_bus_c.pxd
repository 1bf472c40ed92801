# The fields of the compiled twin, one comment for each invariant that C code relies on.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from haiway_bus._type_index cimport TypeIndex

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT


cdef class Node:
    cdef object event           # None in the tail only
    cdef Node next              # None in the tail only


cdef class Gap:
    cdef Py_ssize_t lost


cdef class Channel:
    cdef Bus bus
    cdef readonly object event_type
    cdef Node tail              # never None: the empty node that the next event fills
    cdef list parked            # of Receive; parked[r.slot] is r
    cdef readonly int64_t sent
    cdef Py_ssize_t sharing     # how many subscriptions read the chain that ends in tail
    cdef int64_t joined         # how many subscriptions there ever were: the key of the latest
    cdef dict members           # key -> weak reference, of every subscription
    cdef dict bounded           # key -> Bound, of those with a chain of their own
    cdef list walk              # the values of `bounded`, or None when they have changed
    cdef readonly int64_t delivered  # by subscriptions that are closed
    cdef readonly int64_t dropped
    cdef readonly bint ended

    cdef int append(self, object event) except -1
    cdef int append_bounded(self, object event) except -1
    cdef int park(self, Receive receive) except -1
    cdef int unpark(self, Receive receive) except -1
    cdef int join(self, Subscription subscription) except -1


cdef class Bound:
    cdef Channel channel
    cdef PyObject *subscription  # borrowed; NULL once it is closed
    cdef Node tail              # never None: the empty node that the next event fills
    cdef Gap gap                # the last item of the chain, or None
    cdef Py_ssize_t limit       # at least 1
    cdef str overflow
    cdef int64_t accepted       # accepted - subscription.position events wait, at most limit
    cdef int64_t dropped
    cdef int64_t told           # of the dropped ones
    cdef double told_at

    cdef int offer(self, object event) except -1
    cdef int push(self, object item, Node node) except -1


cdef class Subscription:
    cdef object __weakref__
    cdef Channel channel
    cdef int64_t key            # tells it apart from all others of its channel, also from those that are gone
    cdef Bound bound            # None without a limit
    cdef Node node              # None once closed
    cdef readonly int64_t position  # events that it has behind it, of the channel or of its bound
    cdef int64_t start          # position at the beginning
    cdef int64_t asked          # position at which a reader last found nothing
    cdef Py_ssize_t budget      # reads until the loop gets a turn; negative before the first
    cdef Receive head           # first in line
    cdef object line            # OrderedDict of those behind it; None until there is one
    cdef object pool            # Pool; None until it is known to have several workers
    cdef list marks             # of Mark, or None
    cdef bint plain             # neither bound nor pool nor marks

    cdef bint is_closed(self) noexcept
    cdef bint has_event(self) noexcept
    cdef object take(self)
    cdef int skip(self) except -1
    cdef list take_batch(self, Py_ssize_t limit)
    cdef int next_in_line(self) except -1
    cdef int release(self) except -1


cdef class Batches:
    cdef Subscription subscription
    cdef Py_ssize_t limit       # at least 1


cdef class Receive:
    cdef Subscription subscription
    cdef object wakeup          # the Task's callback; None before it waits and after it was resumed
    cdef object context         # the Task's context, to resume it in
    cdef object message         # of the cancellation
    cdef Py_ssize_t slot        # its place in channel.parked
    cdef Py_ssize_t limit       # 0: one event; else the most events of a batch
    cdef int state
    cdef bint blocking          # what a Task reads as _asyncio_future_blocking; True only while it is yielded

    cdef PySendResult step(self, PyObject **result) except PYGEN_ERROR
    cdef object take(self)
    cdef int park(self) except -1
    cdef int leave(self) except -1


cdef class Bus:
    cdef object __weakref__
    cdef readonly object name
    cdef readonly object loop
    cdef unsigned long thread
    cdef readonly dict table    # id of the type -> Channel
    # Of the same types: what send() asks. It borrows from `table`, also while the collector takes both apart: no code
    # that could send runs then (tests/leaks/finalizers.py).
    cdef TypeIndex index
    cdef list ready             # of Receive; while not empty, resume() is scheduled or running
    cdef list batch             # the list that resume() is walking, or None
    cdef bint scheduled
    cdef readonly bint ended
    cdef object context
    cdef object resumed
    cdef readonly object inbox
    cdef public object observer
    cdef public object forgotten

    cpdef object send(self, object event)
    cdef int refuse(self, object event) except -1
    cpdef object subscribe(self, object event_type, object limit=*, object overflow=*)
    cdef int note_dropped(self, Bound bound) except -1
    cdef int wake_all(self, Channel channel) except -1
    cdef int wake(self, Receive receive) except -1
    cdef int schedule(self) except -1

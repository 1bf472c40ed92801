# The fields of the compiled twin, one comment for each invariant that C code relies on.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from haiway_bus._values.type_index cimport TypeIndex

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT


cdef class Node:
    cdef object event           # None in the tail only
    cdef Node next              # None in the tail only


cdef class Channel:
    cdef readonly Bus bus
    cdef readonly object event_type
    cdef Node tail              # never None: the empty node that the next event fills
    cdef list parked            # of Receive; parked[r.slot] is r
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
    cdef readonly bint ended

    cdef int append(self, object event) except -1
    cdef int append_at_limits(self, object event, Node node) except -1
    cdef int let_leave(self) except -1
    cdef PyObject *move_on(self) noexcept
    cdef void file(self, Bound bound, int64_t due) noexcept
    cdef int enter(self, Subscription subscription) except -1
    cdef int park(self, Receive receive) except -1
    cdef int unpark(self, Receive receive) except -1
    cdef int join(self, Subscription subscription) except -1


cdef class Bound:
    cdef Channel channel
    cdef PyObject *subscription  # borrowed; NULL once it is closed
    cdef readonly Py_ssize_t limit  # at least 1
    cdef readonly str overflow
    cdef readonly str name      # that of its subscription, which may be gone when this is told
    cdef int64_t due            # the `sent` at which it is looked at; 0 when it is in no table
    cdef PyObject *before       # borrowed: the Bound before it that has the same `due`, or NULL
    cdef PyObject *after        # borrowed, likewise
    cdef int64_t dropped        # but for those since `left_at`
    cdef int64_t missed         # of the dropped ones: those that never waited, unlike what "drop_oldest" drops
    cdef int64_t left_at        # the `sent` at which it left the chain; -1 while it is there
    cdef int64_t held_until
    cdef dict gaps              # for overflow="raise": position -> events lost before it; else None
    cdef bint apart             # something waits outside of the chain
    cdef int64_t told           # of the dropped ones

    cdef int64_t lost(self) noexcept


cdef class Subscription:
    cdef object __weakref__
    cdef readonly Channel channel
    cdef readonly int64_t key   # tells it apart from all others of its channel, also from those that are gone
    cdef Bound bound            # None without a limit
    cdef readonly str name      # what logs and errors call it, or None
    cdef list held              # `limit` places for events that wait apart from the chain, or None
    cdef Node node              # None once closed
    cdef readonly int64_t position  # the number of the next event, counted without those that it missed
    cdef int64_t start          # position at the beginning
    cdef readonly int64_t asked  # position at which a reader asked for the next event
    cdef Receive head           # first in line
    cdef object line            # OrderedDict of those behind it; None until there is one
    cdef readonly object work   # Work; None unless it is known to have several workers, or a flush waits
    cdef bint plain             # neither work nor anything apart

    cdef int64_t waiting(self) noexcept
    cdef bint is_closed(self) noexcept
    cdef bint has_event(self) noexcept
    cdef object take(self)
    cdef object take_apart(self)
    cdef int settle(self) except -1
    cdef bint at_gap(self) except -1
    cdef int move_out(self) except -1
    cdef list take_batch(self, Py_ssize_t limit)
    cdef int next_in_line(self) except -1
    cdef int release(self) except -1


cdef class Batches:
    cdef Subscription subscription
    cdef Py_ssize_t limit       # at least 1


cdef class Receive:
    cdef readonly Subscription subscription  # None once it is over
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
    cdef object take(self, Subscription subscription)
    cdef int park(self) except -1
    cdef int leave(self) except -1
    cdef void take_back_grant(self) noexcept
    cdef int give_up(self) except -1
    cdef int over(self) except -1


cdef struct Grant:
    PyObject *receive           # borrowed: the read whose task resume() is running, as long as it is GRANTED; or NULL
    Grant *outer                # that of the resume() around this one, or NULL


cdef class Bus:
    cdef object __weakref__
    cdef readonly object name
    cdef readonly object loop
    cdef unsigned long thread
    cdef readonly dict table    # id of the type -> Channel
    # Of the same types: what send() asks. It borrows from `table`, also while the collector takes both apart: no code
    # that could send runs then (tests/leaks/finalizers.py).
    cdef TypeIndex index
    cdef object run             # the hook of the loop's run in which a read was last seen to be at home, or None
    cdef list ready             # of Receive; while not empty, resume() is scheduled or running
    cdef list batch             # the list that the innermost resume() is walking, or None
    cdef Py_ssize_t walked      # how many of `batch` have had their turn
    cdef readonly int64_t wakes  # how many times reads were handed over to be resumed
    cdef list stirred           # what to call once reads have been resumed, or None
    cdef Grant *grant           # that of the innermost resume(), or NULL
    cdef double turn            # seconds
    cdef double turn_end        # by the clock
    cdef double looked_at       # when the clock was last asked
    cdef Py_ssize_t left        # reads until it is asked again
    cdef Py_ssize_t stride      # how many there were between the last two looks, at least 1
    cdef int over               # not 0: nobody reads until resume() has been called so often, and it is scheduled
    cdef bint noted             # the loop is to call turn_ended()
    cdef list contexts          # in which no resume() runs or is to be called
    cdef PyObject *due          # the Due that the loop is to call; it sets this to NULL, or its end does
    cdef double trusted         # until when `due` is relied on
    cdef object run_forever     # that of the loop, if nothing that it calls can run it again; else None
    cdef readonly bint ended
    cdef bint strict            # an event that nobody subscribes to may have to be refused
    cdef object resumed
    cdef readonly object inbox
    cdef readonly str lost
    cdef dict kept              # id of the type -> Channel
    cdef object open_buses
    cdef public Bus instead     # takes its place for code whose context still has this one, or None
    cdef public list parted     # (type, number): unread in what has gone since the scope was broken off; None before
    cdef readonly dict losses   # id of the type -> Losses, while a report of its drops is due
    cdef public object observer
    cdef public object forgotten

    cpdef object send(self, object event)
    cdef int refuse(self, object event) except -1
    cpdef object subscribe(self, object event_type, object limit=*, object overflow=*, object name=*)
    cdef bint runs_elsewhere(self) except -1
    cdef int wake_all(self, Channel channel) except -1
    cdef int wake(self, Receive receive) except -1
    cdef int put_off(self, Receive receive) except -1
    cdef void begin_turn(self, Py_ssize_t reads) noexcept
    cdef bint turn_is_over(self) except -1
    cdef int schedule(self) except -1
    cdef int call_resume(self) except -1
    cdef int resume(self) except -1
    cdef int note_run(self) except -1


cdef class Due:
    cdef Bus bus                # None once it was called
    cdef object context         # in which it is called

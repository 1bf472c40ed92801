# The fields of the compiled twin of `_turns_py.py`.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t


cdef class Turns:
    cdef readonly object loop
    cdef object run_forever     # `run_forever` of the loop, or None if a callback of the loop can run it again
    cdef readonly list ready    # reads; while not empty, resume() is scheduled or running
    cdef readonly list batch    # the list that the innermost resume() walks, or None
    cdef Py_ssize_t walked      # the number of reads of `batch` that have had their turn
    cdef readonly int64_t wakes  # how many times reads were handed over to be resumed
    cdef public list stirred    # callbacks that wait until reads have been resumed, or None
    cdef double turn            # seconds
    cdef double turn_end        # the time at which the turn is over
    cdef double looked_at       # the time of the last look at the clock
    cdef Py_ssize_t left        # reads until the next look
    cdef Py_ssize_t stride      # reads between the last two looks, at least 1
    cdef int over               # while not 0, no read takes an event before resume() was called that many times
    cdef bint noted             # the loop is going to call turn_ended()
    cdef list contexts          # no resume() runs or is scheduled in any of them
    cdef PyObject *due          # borrowed: the scheduled Due, or NULL; its call or its __dealloc__ sets it to NULL
    cdef double trusted         # the time until which schedule() relies on `due`

    cdef int resume(self) except -1

    cdef int wake(self, object receive) except -1

    cdef int put_off(self, object receive) except -1

    cdef void begin_turn(self, Py_ssize_t reads) noexcept

    cdef bint turn_is_over(self) except -1

    cdef int schedule(self) except -1

    cdef int call_resume(self) except -1


cdef class Due:
    cdef Turns bus              # None after the call
    cdef object context         # the context of the call

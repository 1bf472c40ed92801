# The fields of the compiled twin.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t


cdef class Turns:
    cdef readonly object loop
    cdef object run_forever     # that of the loop, if nothing that it calls can run it again; else None
    cdef readonly list ready    # of reads; while not empty, resume() is scheduled or running
    cdef readonly list batch    # the list that the innermost resume() is walking, or None
    cdef Py_ssize_t walked      # how many of `batch` have had their turn
    cdef readonly int64_t wakes  # how many times reads were handed over to be resumed
    cdef public list stirred    # what to call once reads have been resumed, or None
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

    cdef int resume(self) except -1

    cdef int wake(self, object receive) except -1

    cdef int put_off(self, object receive) except -1

    cdef void begin_turn(self, Py_ssize_t reads) noexcept

    cdef bint turn_is_over(self) except -1

    cdef int schedule(self) except -1

    cdef int call_resume(self) except -1


cdef class Due:
    cdef Turns bus              # None once it was called
    cdef object context         # in which it is called

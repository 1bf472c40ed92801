# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""When the waiting reads of a bus resume, in Cython: the twin of `_turns_py.py`, which documents the class."""

cimport cython
from cpython.object cimport PyObject

from haiway_bus._common.live cimport live_count, live_objects

from asyncio.events import get_running_loop
from contextvars import Context

from haiway_bus._bus.loops import runs_again
from haiway_bus._bus.refusals import TURN

__all__ = ("Turns",)


cdef extern from *:
    """
    /* The seconds of a monotonic clock. */
    #ifdef _WIN32
    #include <windows.h>
    static double hb_clock(void)
    {
        LARGE_INTEGER ticks, frequency;
        QueryPerformanceCounter(&ticks);
        QueryPerformanceFrequency(&frequency);
        return (double)ticks.QuadPart / (double)frequency.QuadPart;
    }
    #else
    #include <time.h>
    static double hb_clock(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    #endif
    """
    double hb_clock() noexcept

# The maximal number of reads between two looks at the clock, and the number after the first look in a turn that began
# outside of `resume`.
cdef enum:
    STRIDE = 64
    FIRST_STRIDE = 8

# How long `schedule` relies on a requested call of `resume`, before it requests another.
cdef double TRUST_SECONDS = 0.005


cdef class Turns:
    """The ready reads of one bus, and the time that its readers have."""

    def __cinit__(self, name, double turn=TURN):
        self.turn = turn
        self.left = self.stride = 1
        self.loop = get_running_loop()
        self.run_forever = None if runs_again(self.loop) else type(self.loop).run_forever
        self.ready = []
        self.contexts = []

    cdef int resume(self) except -1:
        """Run the tasks whose waits are over. The loop calls this, and `BusCore` implements it."""
        raise NotImplementedError

    @cython.final
    cdef int wake(self, object receive) except -1:
        """Resume a read in the running batch, or else in the next batch.

        Once the loop is closed, no task can resume. A read that leaves the line then must not fail, so nothing is
        scheduled.
        """
        self.wakes += 1
        if self.batch is not None:
            self.batch.append(receive)
            if type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # the `resume` of this batch may be waiting for this nested run of the loop to end
        elif not self.loop.is_closed():
            self.schedule()
            self.ready.append(receive)
        return 0

    @cython.final
    cdef int put_off(self, object receive) except -1:
        """Resume a read in the next turn of the loop, behind the reads that are ready already."""
        self.schedule()
        self.ready.append(receive)
        return 0

    @cython.final
    cdef void begin_turn(self, Py_ssize_t reads) noexcept:
        self.looked_at = hb_clock()
        self.turn_end = self.looked_at + self.turn
        self.over = 0
        self.left = self.stride = reads

    @cython.final
    cdef bint turn_is_over(self) except -1:
        """Whether the readers must give way to the loop. Called when `left` reads have been made."""
        cdef double before = self.looked_at
        if self.over:
            return True
        if self.batch is None and not self.noted:
            # The loop itself has called the task that reads. The beginning of the turn is unknown, so it begins now.
            self.loop.call_soon(self.turn_ended, context=Context())
            self.noted = True
            self.begin_turn(FIRST_STRIDE)
            return False
        self.looked_at = hb_clock()
        if self.looked_at >= self.turn_end:
            self.over = 2
            self.left = 0
            # A `resume` that is late because readers used up their time was not lost.
            self.trusted = self.loop.time() + self.turn + TRUST_SECONDS
            return True
        self.stride = min(2 * self.stride, STRIDE) if (self.looked_at - before) * 8 < self.turn else 1
        self.left = self.stride
        return False

    def turn_ended(self):
        """The loop calls this in its next turn."""
        self.noted = False

    @cython.final
    cdef int schedule(self) except -1:
        if self.due == NULL:
            self.call_resume()
        elif self.loop.time() >= self.trusted:
            # A KeyboardInterrupt can make the loop lose a callback that it is about to call. While that exception is
            # held, the handle is not freed, and the loss is not noticed. So a second call is requested now and then,
            # which costs little.
            self.trusted = self.loop.time() + TRUST_SECONDS
            self.call_resume()
        return 0

    @cython.final
    cdef int call_resume(self) except -1:
        cdef Due due = Due.__new__(Due)
        due.context = self.contexts.pop() if len(self.contexts) else Context()
        self.loop.call_soon(due, context=due.context)
        due.bus = self
        self.due = <PyObject *>due
        return 0

    def tell_stirred(self):
        calls, self.stirred = self.stirred or (), None
        for call in calls:
            self.loop.call_soon(call, context=Context())

    def wake_ready(self):
        """Schedule `resume` if there are ready reads."""
        if self.ready:
            self.schedule()


@cython.final
@cython.freelist(8)
@cython.no_gc_clear  # so that __dealloc__ always has the bus
cdef class Due:
    """A callback for the loop: it calls `resume` of a bus.

    If it is freed without having been called, it has the bus schedule another. A loop can lose a callback to an
    exception that a signal handler or a tracer raises just before the call (guarantee 2.16).
    """

    def __call__(self):
        cdef Turns bus = self.bus
        if bus is not None:
            self.bus = None
            if bus.due == <PyObject *>self:
                bus.due = NULL
            try:
                bus.resume()
            finally:
                bus.contexts.append(self.context)

    def __dealloc__(self):
        # After a call, `bus` is None.
        if self.bus is not None and self.bus.due == <PyObject *>self:
            self.bus.due = NULL
            try:
                if not self.bus.loop.is_closed():
                    self.bus.loop.call_soon_threadsafe(self.bus.wake_ready, context=Context())
            except Exception:
                pass  # the loop was closed just now, or the collector has begun to clear the bus or the loop

    def __repr__(self):
        return f"<Due of {self.bus!r}>"


# Register these types before their first object is made (see live.pxd).
live_count(<PyObject *>Due)


def _live():
    """The number of living objects of each type in a debug build. None in other builds."""
    return live_objects()

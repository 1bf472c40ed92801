# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""When the reads of a bus are resumed, in Cython: the twin of `_turns_py.py`, which says what everything is for."""

cimport cython
from cpython.object cimport PyObject

from haiway_bus._values.live cimport live_count, live_objects

from asyncio.events import get_running_loop
from contextvars import Context

from haiway_bus._bus.loops import runs_again
from haiway_bus._bus.refusals import TURN

__all__ = ("Turns",)


cdef extern from *:
    """
    /* Seconds, by a clock that never goes back. */
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

# The most reads between two looks at the clock, and how many there are before the second one of a turn that began
# outside of `resume`.
cdef enum:
    STRIDE = 64
    FIRST_STRIDE = 8

# How long a call of `resume` that was asked of the loop is relied on, once another read is to be resumed by it.
cdef double TRUST_SECONDS = 0.005


cdef class Turns:
    """The reads of one bus that are to be resumed, and the time that its readers have."""

    def __cinit__(self, name, double turn=TURN):
        self.turn = turn
        self.left = self.stride = 1
        self.loop = get_running_loop()
        self.run_forever = None if runs_again(self.loop) else type(self.loop).run_forever
        self.ready = []
        self.contexts = []

    cdef int resume(self) except -1:
        """Run the tasks whose waits are over: called by the loop. The bus has it."""
        raise NotImplementedError

    @cython.final
    cdef int wake(self, object receive) except -1:
        """Resume one read: in the batch that is being resumed, or else in the next.

        In none once the loop is closed: nobody can be resumed, and who leaves the line then is not to fail for it.
        """
        self.wakes += 1
        if self.batch is not None:
            self.batch.append(receive)
            if type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # who walks the batch may stand below, and wait for the loop that is run again here
        elif not self.loop.is_closed():
            self.schedule()
            self.ready.append(receive)
        return 0

    @cython.final
    cdef int put_off(self, object receive) except -1:
        """Resume a read in the loop's next turn, behind those that wait for it already."""
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
        """Whether the loop is to have its turn: asked when no read is left before the next look at the clock."""
        cdef double before = self.looked_at
        if self.over:
            return True
        if self.batch is None and not self.noted:
            # Tasks that the loop itself has called read here. When the turn began is not known, so it begins now.
            self.loop.call_soon(self.turn_ended, context=Context())
            self.noted = True
            self.begin_turn(FIRST_STRIDE)
            return False
        self.looked_at = hb_clock()
        if self.looked_at >= self.turn_end:
            self.over = 2
            self.left = 0
            # Readers that take all their time are no sign that a call of `resume` was lost.
            self.trusted = self.loop.time() + self.turn + TRUST_SECONDS
            return True
        self.stride = min(2 * self.stride, STRIDE) if (self.looked_at - before) * 8 < self.turn else 1
        self.left = self.stride
        return False

    def turn_ended(self):
        """Called by the loop in its next turn."""
        self.noted = False

    @cython.final
    cdef int schedule(self) except -1:
        if self.due == NULL:
            self.call_resume()
        elif self.loop.time() >= self.trusted:
            # A loop can lose what it was to call, to a KeyboardInterrupt just then, and who holds that exception hides
            # the loss: the handle is not let go. So a second call is made now and then, which costs little.
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
        """See to it that the reads whose wait is over are resumed."""
        if self.ready:
            self.schedule()


@cython.final
@cython.freelist(8)
@cython.no_gc_clear  # so that its end always finds the bus
cdef class Due:
    """What the loop is to call to have a bus resume its reads.

    Dropped uncalled, it has the bus schedule another: a loop can lose a callback to an exception that is raised as it
    is about to call it, by a signal's handler or a tracer (guarantee 2.16).
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
        # `bus` is None once this was called.
        if self.bus is not None and self.bus.due == <PyObject *>self:
            self.bus.due = NULL
            try:
                if not self.bus.loop.is_closed():
                    self.bus.loop.call_soon_threadsafe(self.bus.wake_ready, context=Context())
            except Exception:
                pass  # closed just now, or the collector has begun to take the bus or the loop apart

    def __repr__(self):
        return f"<Due of {self.bus!r}>"

# Counted before the first of them is made (see live.pxd).
live_count(<PyObject *>Due)


def _live():
    """How many objects of each type are alive, in a debug build; else None."""
    return live_objects()

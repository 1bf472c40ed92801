# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The hot path of the bus in Cython: the twin of `_core_py.py`, which documents classes and methods.

    async for event in ctx.subscribe(Event):      am_aiter, am_anext: a Receive from a free list
        ...                                       am_send or tp_iternext of the Receive: the event

A delivery makes no frame, exception or dictionary, and does not call the event loop. `waiting_event` handles the usual
case without needless reference counts, `Receive.step` handles all cases, and handover.pxd passes the event to the
interpreter.

To ask whether a read is in its own loop costs as much as the read. So the bus keeps `run`, the object that identifies
the run of the loop in which the last check passed. Each run of a loop sets its own hook for async generators in its
thread, and that hook is the object. To compare it takes two loads.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.type cimport PyType_Check
from libc.math cimport INFINITY

from haiway_bus._bus._chain_c cimport Bound, Chain, Cursor, new_reference
from haiway_bus._bus._turns_c cimport Turns
from haiway_bus._bus.handover cimport (
    HB_IS_LAST_STEP, PYGEN_ERROR, PYGEN_NEXT, PYGEN_RETURN, PySendResult,
    hb_raise_stop, hb_read_as, hb_set_slots, iternextfunc, sendfunc,
)
from haiway_bus._bus.interpreter cimport (
    HB_IS_EVENT_TYPE, HB_RUN, PY_SSIZE_T_MAX, Py_TYPE, PyContext_Enter, PyContext_Exit, PyContextVar_Get,
    PyThread_get_thread_ident,
)
from haiway_bus._common.live cimport live_count, live_objects
from haiway_bus._common.type_index cimport (
    Slot, index_add, index_allot, index_clear, index_remove, index_reserve, slot_of,
)

from asyncio import CancelledError
from asyncio.events import _get_running_loop
from collections import OrderedDict
from contextvars import Context, ContextVar
from weakref import ref

from haiway_bus._bus import rare, refusals
from haiway_bus._bus.flush import share_work
from haiway_bus._bus.inbox import Inbox
from haiway_bus._bus.reads import drives, no_copy, read_over, read_taken, thrown

__all__ = ("BatchesCore", "BusCore", "Channel", "Receive", "SubscriptionCore", "current", "publish", "send")


# The states of a Receive. NEW: not awaited yet. PARKED: in line. GRANTED: its task is being resumed and may take an
# event. CANCELLED, ENDED: out of the line, its task resumes without an event. YIELDED: put off to the next turn of the
# loop, and NEW again then. DONE: over.
cdef enum:
    NEW, PARKED, GRANTED, CANCELLED, ENDED, YIELDED, DONE


@cython.final
cdef class Channel(Chain):
    """The events of one type on one bus, its subscriptions, and their waiting reads."""

    def __cinit__(self, BusCore bus not None, object event_type):
        self.bus = bus
        self.event_type = event_type
        self.members = {}

    cdef bint hands_over(self, object event) except -1:
        """Wake the parked reads, or else put the event into the inbox of the bus. Return True for the inbox."""
        cdef BusCore bus = self.bus
        # The loop of the bus runs, but is not the caller's: it runs in another thread by now, or around a nested loop.
        if HB_RUN() != <PyObject *>bus.run and _get_running_loop() is not bus.loop and bus.loop.is_running():
            bus.inbox.put(event)
            return True
        self.wake_all()
        return False

    cpdef int wake_all(self) except -1:
        """Hand all parked reads to the bus at once."""
        cdef BusCore bus = self.bus
        bus.wakes += 1
        bus.schedule()
        if len(bus.ready):
            bus.ready.extend(self.parked)
            self.parked.clear()
        else:
            bus.ready, self.parked = self.parked, bus.ready
        return 0

    cdef int park(self, Receive receive) except -1:
        receive.slot = len(self.parked)
        self.parked.append(receive)
        return 0

    cdef int unpark(self, Receive receive) except -1:
        # The last read takes the free place, so the time does not depend on the number of reads. A read that `send` has
        # handed to the bus stays there, and is skipped when its turn comes.
        cdef list parked = self.parked
        cdef Py_ssize_t slot = receive.slot
        cdef Receive last
        if slot < len(parked) and parked[slot] is receive:
            last = <Receive>parked.pop()
            if last is not receive:
                parked[slot] = last
                last.slot = slot
        return 0

    cdef int join(self, SubscriptionCore subscription) except -1:
        self.joined += 1
        subscription._key = self.joined
        if subscription._bound is not None:
            index_reserve(&self.moving, len(self.bounded) + 1)
            index_reserve(&self.leaving, len(self.bounded) + 1)
            self.bounded[subscription._key] = subscription._bound
        self.members[subscription._key] = ref(subscription)
        if subscription._bound is not None:
            subscription._bound.subscription = <PyObject *>subscription
        self.enter(subscription)
        return 0

    cpdef leave(self, int64_t key, Bound bound, int64_t delivered, int64_t unread):
        cdef bint was_last
        del self.members[key]
        self.delivered += delivered
        if bound is not None and bound.left_at >= 0:
            self.away -= 1
        else:
            self.sharing -= 1
        if bound is not None:
            del self.bounded[key]
            self.file(bound, 0)
            self.dropped += bound.dropped
        was_last = not self.members and self.bus.table.get(id(self.event_type)) is self
        if was_last:
            index_remove(&self.bus.index, <PyObject *>self.event_type)
            del self.bus.table[id(self.event_type)]
        if was_last or unread or (bound is not None and bound.dropped > bound.told):
            rare.left(self, bound, unread, was_last)


cdef class SubscriptionCore(Cursor):
    """The hot path of a subscription. `Subscription` in subscription.py is the public class over it."""

    def __cinit__(self, Channel channel not None, Bound bound=None, str name=None):
        self._channel = channel
        self._bus = channel.bus
        self._bound = bound
        self._name = name
        self._plain = True
        # Last, so that a subscription that could not join has nothing to leave.
        channel.join(self)

    def __aiter__(self):
        self._check()
        return self

    def __anext__(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.subscription = self
        return receive

    def receive_nowait(self):
        """Take a waiting event and return it.

        Raises:
            asyncio.QueueEmpty: No event waits, or the waiting events belong to readers in line.
            SubscriptionOverflow: Events were lost, with overflow="raise".
            RuntimeError: The call is in another loop or thread than the bus.
        """
        if HB_RUN() != <PyObject *>self._bus.run:
            self._check()
            self._bus.note_run()
        if not self._plain:
            self._came_back()
        if self._head is not None or not self._has_event():
            self._asked = self._position
            raise refusals.nothing_waits(self)
        return self._take()

    def _came_back(self):
        """A reader asks for the next event, so it is done with the events before."""
        self._asked = self._position
        if self._work is not None:
            self._work.came_back()

    def _set_work(self, work):
        self._work = work
        self._plain = work is None and (self._bound is None or not self._bound.apart)

    @property
    def _pending(self):
        """The number of waiting events."""
        return 0 if self._node is None else self._waiting()

    @cython.final
    cdef bint _is_closed(self) noexcept:
        return self._node is None or (<Channel>self._channel).ended

    @cython.final
    cdef int _next_in_line(self) except -1:
        """The head was served or has left: the read behind it becomes the head."""
        if not self._line:
            self._head = None
            return 0
        cdef Receive first = next(iter(self._line))
        if self._has_event() or self._is_closed():
            self._bus.wake(first)
        else:
            (<Channel>self._channel).park(first)
        del self._line[first]
        self._head = first
        return 0

    def _check(self):
        """Refuse a call in another loop or thread than the bus's own (guarantee 6.1)."""
        self._bus.check("reading a subscription")

    def _close(self):
        if self._node is None and self._head is None:
            return
        if PyThread_get_thread_ident() != self._bus.thread:
            rare.check_close(self)
        try:
            if self._node is not None:
                self._leave()
        finally:
            while self._head is not None and self._head.state == PARKED:
                self._head.end()

    @cython.final
    cdef int _leave(self) except -1:
        """Free the waiting events, and leave the channel."""
        cdef int64_t delivered = self._taken()
        cdef int64_t unread = self._waiting()
        self._release()
        if self._work is not None:
            self._work.end()
        (<Channel>self._channel).leave(self._key, self._bound, delivered, unread)
        return 0

    @property
    def _delivered(self):
        """The number of events that its readers took."""
        return self._taken()

    def __del__(self):
        # The collector may run this in any thread. There is no read in line, as such a read holds its subscription. So
        # only the waiting events are freed here, and the thread of the bus lets the subscription leave its channel.
        if self._node is None:
            return
        if PyThread_get_thread_ident() == self._bus.thread:
            self._leave()
            return
        self._release()
        parting = self._key, self._bound, self._taken(), self._waiting()
        rare.leave_from_any_thread(self._channel, self._work, parting)


def publish(kind):
    """Class decorator for a public class over a core. The compiled backend copies slots of the core into the class."""
    if issubclass(kind, SubscriptionCore):
        hb_read_as(<PyObject *>kind, <PyObject *>SubscriptionCore)
    elif issubclass(kind, BatchesCore):
        hb_read_as(<PyObject *>kind, <PyObject *>BatchesCore)
    live_count(<PyObject *>kind)
    return kind


cdef class BatchesCore:
    """The hot path of `Batches`, the public class over it in subscription.py."""

    def __cinit__(self, SubscriptionCore subscription not None, object limit):
        refusals.check_limit("batches()", limit)
        self._subscription = subscription
        self._limit = min(limit, PY_SSIZE_T_MAX)

    def __aiter__(self):
        self._subscription._check()
        return self

    def __anext__(self):
        cdef Receive receive = Receive.__new__(Receive)
        receive.subscription = self._subscription
        receive.limit = self._limit
        return receive


@cython.final
@cython.freelist(256)
cdef class Receive:
    """A read of a subscription, and what its task waits on. It is its own iterator: its slots take the steps."""

    def __await__(self):
        # Also while a task waits on it: its next step is refused. `anext()` with a default calls this at each step.
        return self

    cdef object refused(self):
        """The error for awaiting it again."""
        return read_over() if self.state == DONE else read_taken(self.wakeup)

    cdef PySendResult step(self, PyObject **result) except PYGEN_ERROR:
        # `result` receives a new reference: the event with PYGEN_RETURN, what to wait on with PYGEN_NEXT.
        cdef SubscriptionCore subscription = self.subscription
        cdef BusCore bus
        if self.state == YIELDED and self.wakeup is None:
            self.state = NEW
        if self.state == NEW:
            if HB_RUN() != <PyObject *>subscription._bus.run:
                subscription._check()
                subscription._bus.note_run()
            if not subscription._plain:
                subscription._came_back()
            if subscription._bus.left <= 0 and subscription._head is None and subscription._has_event():
                bus = subscription._bus
                if bus.turn_is_over():
                    bus.put_off(self)
                    self.state = YIELDED
                    result[0] = new_reference(self)
                    return PYGEN_NEXT
            if subscription._head is None:
                if subscription._has_event():
                    return self.serve(result)
                if subscription._is_closed():
                    self.over()
                    raise StopAsyncIteration
            subscription._asked = subscription._position
            self.park()
        elif self.wakeup is not None or self.state == DONE or self.state == CANCELLED:
            raise self.refused()
        elif self.state == GRANTED:
            if subscription._has_event():
                return self.serve(result)
            if subscription._is_closed():
                self.leave()
                raise StopAsyncIteration
            # The event for which it was woken is gone. It keeps its place at the head.
            (<Channel>subscription._channel).park(self)  # if this fails, `resume` has it leave the line
            self.take_back_grant()
            self.state = PARKED
        elif self.state == ENDED:
            self.state = DONE
            raise StopAsyncIteration
        else:
            self.leave()
            raise RuntimeError("a parked read was resumed by something else than its bus")
        result[0] = new_reference(self)
        return PYGEN_NEXT

    cdef PySendResult serve(self, PyObject **result) except PYGEN_ERROR:
        """Take the event or the batch, and end the read."""
        cdef SubscriptionCore subscription = self.subscription
        cdef bint granted = self.state == GRANTED
        if not granted:
            self.state = DONE  # before anything runs that may come here again
        try:
            taken = self.take(subscription)
        finally:
            if granted:
                self.leave()
            else:
                self.subscription = None
        if self.limit and not len(<list>taken):
            # Making the list has run code that took or freed the events. Begin again.
            self.subscription = subscription
            self.state = NEW
            return self.step(result)
        result[0] = new_reference(taken)
        return PYGEN_RETURN

    def __iter__(self):
        return self  # for `yield from`

    def __next__(self):
        return self.send(None)

    def send(self, value, /):
        cdef PyObject *result = NULL
        if self.step(&result) == PYGEN_NEXT:
            return owned(result)
        raise StopIteration(owned(result))

    def throw(self, exception_type, exception=None, traceback=None):
        self.give_up()
        raise thrown(exception_type, exception, traceback)

    def close(self):
        self.give_up()

    cdef int give_up(self) except -1:
        """End the read without an event. While a task waits on it, only that task may do this."""
        if self.state != DONE:
            if self.wakeup is not None and not drives(self.wakeup, self):
                raise read_taken(self.wakeup)
            self.leave()
            self.over()
            self.wakeup = self.context = None
        return 0

    cdef int over(self) except -1:
        self.state = DONE
        self.subscription = None
        return 0

    cdef bint waits(self) noexcept:
        return self.state == PARKED or self.state == YIELDED

    @property
    def yielded(self):
        """Whether it is put off to the next turn of the loop."""
        return self.state == YIELDED

    cdef object take(self, SubscriptionCore subscription):
        """Take an event, or a batch if the read has a limit."""
        cdef list batch
        if self.limit == 0:
            subscription._bus.left -= 1
            return subscription._take()
        batch = subscription._take_batch(self.limit)
        subscription._bus.left -= len(batch)
        return batch

    cdef int park(self) except -1:
        """Take a place at the end of the line."""
        cdef SubscriptionCore subscription = self.subscription
        if subscription._head is None:
            (<Channel>subscription._channel).park(self)
            subscription._head = self
        else:
            if subscription._line is None:
                subscription._line = OrderedDict()
                share_work(subscription)
            subscription._line[self] = None
        self.state = PARKED
        return 0

    cdef int leave(self) except -1:
        """Leave the line, if it is in line, and let the next read move up."""
        if self.state != PARKED and self.state != GRANTED:
            return 0
        cdef SubscriptionCore subscription = self.subscription
        if subscription._head is self:
            subscription._next_in_line()
            if self.state == PARKED:
                (<Channel>subscription._channel).unpark(self)
        elif subscription._line is not None:
            del subscription._line[self]
        if self.state == GRANTED:
            self.take_back_grant()
        return self.over()

    cdef void take_back_grant(self) noexcept:
        """It is no longer GRANTED, so the `resume` that granted it must not look after it."""
        cdef Grant *grant = self.subscription._bus.grant
        while grant != NULL:
            if grant.receive == <PyObject *>self:
                grant.receive = NULL
            grant = grant.outer

    @property
    def idle(self):
        """Whether it waits while there is no event for it (guarantee 5.4)."""
        return self.state == PARKED and not (
            self.subscription._has_event() or self.subscription._is_closed()
        )

    def end(self):
        """End the wait without an event: the `async for` of the reader ends (guarantee 5.4)."""
        if self.state == PARKED:
            self.subscription._bus.wake(self)
            self.leave()
            self.state = ENDED

    @property
    def channel(self):
        return None if self.subscription is None else self.subscription._channel

    @property
    def _asyncio_future_blocking(self):
        # True only while its Task takes it over, else None. With None, asyncio.isfuture() is false, so that gather,
        # shield and the like run it as a coroutine, in a task, where it can refuse them.
        return True if self.waits() and self.wakeup is None else None

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint blocking):
        pass  # a Task sets False just before add_done_callback, which has the same effect

    def get_loop(self):
        if self.subscription is None:
            raise read_over()
        return self.subscription._bus.loop

    def add_done_callback(self, callback, *, context=None):
        if not self.waits() or self.wakeup is not None:
            raise self.refused()
        self.wakeup = callback
        self.context = context

    def cancel(self, msg=None):
        """Task.cancel() calls this. An event that has arrived in the meantime stays in its place (guarantee 2.5).

        The loop calls the task directly, so it does not wait behind the reads that the bus resumes.
        """
        if not self.waits():
            return False
        cdef BusCore bus = self.subscription._bus
        if self.wakeup is not None and not bus.loop.is_closed():
            bus.loop.call_soon(self.wakeup, self, context=self.context)
            bus.wakes += 1
            if bus.stirred is not None:
                bus.tell_stirred()
        self.leave()
        self.over()
        self.state = CANCELLED
        self.message = msg
        return True

    def result(self):
        if self.state == CANCELLED:
            raise CancelledError() if self.message is None else CancelledError(self.message)

    def __reduce_ex__(self, protocol):
        no_copy(self)

    def __repr__(self):
        return "<Receive, over>" if self.subscription is None else f"<Receive of {self.subscription!r}>"


cdef class BusCore(Turns):
    """The hot path of a bus: its table of channels, and how its reads resume."""

    def __cinit__(self, name not None, double turn=refusals.TURN):
        self.name = name
        self.thread = PyThread_get_thread_ident()
        self.table = {}
        index_allot(&self.index, 8)
        # A finished future, passed to each resumed task: a Task finds its result faster than that of a Receive.
        self.resumed = self.loop.create_future()
        self.resumed.set_result(None)
        self.inbox = Inbox(name, self.loop, Context(), self.accept)

    def __init__(self, name, turn=refusals.TURN):
        pass  # __cinit__ does all, as a subclass cannot skip it

    def __dealloc__(self):
        PyMem_Free(self.index.slots)

    def send(self, event):
        """Append the event to the chain of its type, or drop it if the type has no subscription (guarantee 1)."""
        self.post(event)

    @cython.final
    cdef int post(self, object event) except -1:
        cdef PyObject *event_type = <PyObject *>Py_TYPE(<PyObject *>event)
        cdef Slot *slot = slot_of(&self.index, event_type)
        cdef Channel channel
        if slot.type != NULL:
            if PyThread_get_thread_ident() != self.thread:
                self.inbox.put(event)
            else:
                # `channel` holds it: making a node may start the collector, which may close the last subscription.
                channel = <Channel>slot.value
                channel.append(event)
        elif self.strict or not HB_IS_EVENT_TYPE(event_type):
            rare.refuse(self, event)
        return 0

    def accept(self, event):
        """Append an event from another thread, unless its type has lost its subscriptions since."""
        cdef Channel channel = self.channel_of(<PyObject *>Py_TYPE(<PyObject *>event))
        if channel is not None:
            channel.append(event)

    def subscribe(self, event_type, limit=None, overflow=None, name=None):
        """Start receiving the events of exactly this type (guarantees 2.1, 4.1)."""
        cdef Channel channel
        if not PyType_Check(event_type) or not HB_IS_EVENT_TYPE(<PyObject *>event_type):
            refusals.check_type("subscribe()", event_type)  # refuses the type, unless it is a user's exception
        if self.ended:
            return rare.successor(self, "subscribe()").subscribe(event_type, limit, overflow, name)
        if HB_RUN() != <PyObject *>self.run:
            self.check("subscribe()")
            self.note_run()
        kind = "" if limit is None and overflow is None else refusals.overflow_of(limit, overflow)
        if name is not None or self.loop.get_debug():
            name = rare.name_for(name)
        if self.strict or self.inbox.events:
            rare.deliver_first(self, event_type)
        while True:
            channel = self.channel_of(<PyObject *>event_type)
            if channel is None:
                channel = Channel(self, event_type)
                if self.channel_of(<PyObject *>event_type) is not None:
                    continue
                index_reserve(&self.index, self.index.used + 1)
                self.table[id(event_type)] = channel
                index_add(&self.index, <PyObject *>event_type, <PyObject *>channel)
            bound = None if limit is None else Bound(channel, limit, kind, name)
            subscription = self.subscription_class(channel, bound, name)
            # Making it may have started the collector, and so code that ended the channel, or made another.
            if self.channel_of(<PyObject *>event_type) is channel:
                return subscription

    @cython.final
    cdef Channel channel_of(self, PyObject *event_type):
        # The caller must hold the result: making a node may start the collector, which may close the last subscription.
        cdef Slot *slot = slot_of(&self.index, event_type)
        return None if slot.type == NULL else <Channel>slot.value

    def check(self, str call):
        """Refuse a call in another loop or thread than the bus's own (guarantee 6.1)."""
        running = _get_running_loop()
        if running is not self.loop or PyThread_get_thread_ident() != self.thread:
            raise rare.not_at_home(self, call, running)

    @cython.final
    cdef int note_run(self) except -1:
        """Note the current run of the loop, after a check that it is the bus's own."""
        cdef PyObject *run = HB_RUN()
        self.run = None if run == NULL else <object>run
        return 0

    cdef int resume(self) except -1:
        """Run the tasks whose waits are over, each in its own context (guarantees 2.6, 2.7)."""
        cdef list outer = self.batch
        cdef Py_ssize_t outer_walked = self.walked
        cdef list batch
        cdef Receive receive
        cdef Grant grant
        if self.over == 2:
            # This callback is ahead of timers and sockets that are ready by now. Let them run first.
            self.over = 1
            return self.schedule()
        # If a resumed task runs the loop again, the reads behind it must not wait until it is back.
        batch = self.ready if outer is None else outer[outer_walked:] + self.ready
        grant.receive = NULL
        grant.outer = self.grant
        self.begin_turn(1)
        self.noted = False
        self.walked = 0
        self.grant = &grant
        try:
            self.ready = []
            self.batch = batch
            if outer is not None:
                del outer[outer_walked:]
            if len(batch) > 1 and type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # the first task may run the loop again
            while self.walked < len(batch) and (self.left > 0 or not self.turn_is_over()):
                receive = <Receive>batch[self.walked]
                batch[self.walked] = None
                self.walked += 1
                wakeup = receive.wakeup
                if wakeup is None or receive.state == CANCELLED:
                    # It was cancelled after its wake, or is here a second time to be ended. PARKED: the code that
                    # parked it was interrupted or has dropped it. The reads behind it must not wait.
                    if receive.state == PARKED:
                        receive.leave()
                    continue
                context = receive.context
                receive.wakeup = receive.context = None
                if receive.state == PARKED:
                    receive.state = GRANTED
                    grant.receive = <PyObject *>receive
                receive = None  # a read that is over is freed while its task works (guarantee 2.14)
                try:
                    # The same as context.run(wakeup, self.resumed), with fewer calls.
                    PyContext_Enter(<PyObject *>context)
                    try:
                        wakeup(self.resumed)
                    finally:
                        PyContext_Exit(<PyObject *>context)
                finally:
                    if grant.receive != NULL:
                        receive = <Receive>grant.receive  # a reference of its own, as only its place in line holds it
                        receive.leave()  # its task did not take the event
        finally:
            self.grant = grant.outer
            # Reads are left after KeyboardInterrupt or SystemExit, which a Task lets through, or when time is up.
            if self.walked < len(batch):
                del batch[:self.walked]
                if self.ready is not batch:
                    batch.extend(self.ready)
                    self.ready = batch
                self.schedule()
            self.batch = outer
            self.walked = outer_walked
            if self.stirred is not None:
                self.tell_stirred()
        return 0

    def clear(self):
        """Empty the table, so that `send` finds no subscription. Return the former table."""
        table, self.table = self.table, {}
        index_clear(&self.index)
        return table

    def retire(self):
        """Belong to no thread and no run of a loop, so that each call takes the cold path. Schedule nothing."""
        self.thread = 0
        self.run = None
        self.due = <PyObject *>self
        self.trusted = INFINITY


current = ContextVar("haiway_bus.current", default=None)
cdef PyObject *CURRENT = <PyObject *>current  # the module holds it


cdef inline BusCore current_bus():
    cdef PyObject *bus = NULL
    PyContextVar_Get(CURRENT, NULL, &bus)
    return <BusCore>owned(bus)


def send(event, /):
    """Send the event to every subscription of exactly its type on the bus of the current scope.

    The call never blocks, and never runs a reader.

    Args:
        event: An instance of a class that Python code defined.

    Raises:
        ContextMissing: There is no current scope, or it has ended.
        TypeError: The object cannot be an event, such as an int, an exception or a class.
    """
    cdef BusCore bus = current_bus()
    if bus is None:
        raise refusals.no_scope("send()")
    bus.post(event)


cdef inline object owned(PyObject *reference):
    # Takes over a reference. The variable `value` counts it once more, so the given count is dropped.
    cdef object value = <object>reference
    Py_DECREF(value)
    return value


# The steps of a Receive. The slots are C functions, because a `def __next__` that ends in an exception makes a
# traceback each time. handover.pxd hands the event to the interpreter.

cdef inline PyObject *waiting_event(Receive receive) noexcept:
    # The usual case of Receive.step: a new read, no read in line, a waiting event, and no turn of the loop due. Returns
    # a new reference, or NULL. Without local variables for objects, as those would be counted up and down.
    cdef PyObject *event = NULL
    cdef PyObject *bus
    if (
        receive.state == NEW
        and receive.limit == 0
        and receive.subscription._plain
        and receive.subscription._head is None
        and receive.subscription._node is not None
        and receive.subscription._node.next is not None
    ):
        bus = <PyObject *>receive.subscription._bus
        if (<BusCore>bus).left <= 0 or HB_RUN() != <PyObject *>(<BusCore>bus).run:
            return NULL
        (<BusCore>bus).left -= 1
        event = new_reference(receive.subscription._node.event)
        receive.state = DONE
        receive.subscription._position += 1
        receive.subscription._node = receive.subscription._node.next
        if not HB_IS_LAST_STEP(<PyObject *>receive):
            receive.subscription = None
    return event


cdef PySendResult receive_send(PyObject *self, PyObject *value, PyObject **result) except PYGEN_ERROR:
    result[0] = waiting_event(<Receive>self)
    if result[0] != NULL:
        return PYGEN_RETURN
    return (<Receive>self).step(result)


cdef PyObject *receive_next(PyObject *self) except NULL:
    cdef PyObject *result = waiting_event(<Receive>self)
    if result != NULL or (<Receive>self).step(&result) == PYGEN_RETURN:
        hb_raise_stop(self, result)
        return NULL
    return result


hb_set_slots(<PyObject *>Receive, <sendfunc>receive_send, <iternextfunc>receive_next)

# Register these types before their first object is made (see live.pxd).
live_count(<PyObject *>Channel)
live_count(<PyObject *>Receive)


def _live():
    """The number of living objects of each type in a debug build. None in other builds."""
    return live_objects()

"""The vital figures of a bus, for monitors (guarantee 8.3). They are read on request; nothing is counted in advance."""

from __future__ import annotations

from asyncio import Task, TimerHandle
from collections.abc import Callable
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate
from time import monotonic, perf_counter
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import ref

from haiway_bus._bus import Bus, Receive, Subscription
from haiway_bus._bus.stats import Observer
from haiway_bus._scope.bus_scopes import bus_scopes_of
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("HandlerStats", "Handling", "Pulse", "Vitals", "handler_callback", "vitals_of")

# The number of beats of a pulse after the last request.
PATIENCE: Final = 150
SECONDS: Final = 1.0

HandlerCallback: TypeAlias = Callable[[float, BaseException | None], object]


class HandlerStats(NamedTuple):
    """A handler of `ctx.on`: its workers, those with an event in hand, and the number of events that failed."""

    handler: str
    event_type: type[Any]
    workers: int
    busy: int
    failed: int


class Vitals(NamedTuple):
    """A bus: its open scopes, the events from other threads that wait for the loop, and the handlers."""

    scopes: int
    from_threads: int
    handlers: list[HandlerStats]


class Handling:
    """A call of `ctx.on`: its workers, and the number of events that its handler failed to handle.

    `told` is the callback of the recorder: (seconds, error or None), after each event. If it is None, no time is taken.
    """

    __slots__ = ("event_type", "failed", "name", "subscription", "told", "working")

    def __init__(
        self, name: str, subscription: Subscription[Any], told: HandlerCallback | None
    ) -> None:
        self.name: str = name
        self.event_type: type[Any] = subscription.event_type
        self.subscription: ref[Subscription[Any]] = ref(subscription)
        self.told: HandlerCallback | None = told
        self.working: set[Task[None]] = set()
        self.failed: int = 0

    def fail(self, began: float, error: BaseException) -> None:
        self.failed += 1
        if self.told is not None:
            self.told(perf_counter() - began, error)

    def stats(self) -> HandlerStats:
        working = list(self.working)
        subscription = self.subscription()
        busy = sum(at_work(task, subscription) for task in working)
        return HandlerStats(self.name, self.event_type, len(working), busy, self.failed)


def at_work(task: Any, subscription: Subscription[Any] | None) -> bool:
    """Whether a worker has an event in hand: it has started, and does not wait for the next event."""
    if task.done() or getcoroutinestate(task.get_coro()) == CORO_CREATED:
        return False
    waited = getattr(task, "_fut_waiter", None)
    return not (isinstance(waited, Receive) and waited.subscription is subscription)


def vitals_of(bus: Bus) -> Vitals:
    """The vital figures of the bus. Call it in the thread of its loop."""
    scopes = bus_scopes_of(bus)
    handlings = [] if scopes is None else list(scopes.handlings)
    return Vitals(
        scopes=0 if scopes is None else len(scopes),
        from_threads=len(bus.inbox.events),
        handlers=[one.stats() for one in handlings],
    )


def handler_callback(
    recorder: Observability, scope: ScopeIdentity, handler: str, event_type: type[Any]
) -> HandlerCallback | None:
    """The callback of the recorder for each event of a handler; None if the recorder wants none."""
    watch = getattr(type(recorder), "watch_handler", None)
    if watch is None:
        return None
    told: HandlerCallback | None = watch(recorder, scope, handler, event_type)
    return told


class Pulse:
    """A timer that looks at a bus once a second while a monitor watches it, and measures how late the loop calls it.

    The first request starts it. It stops when there was no request for a while. It belongs to the thread of the loop.
    """

    __slots__ = ("__weakref__", "bus", "due", "late", "left", "observer", "timer")

    def __init__(self, bus: Bus) -> None:
        self.bus: ref[Bus] = ref(bus)
        self.observer: Observer = Observer()
        self.timer: TimerHandle | None = None
        self.due: float = 0.0
        self.late: float = 0.0
        self.left: int = 0

    def lateness(self) -> float:
        """The longest delay of a beat since the last request, in seconds."""
        self.left = PATIENCE
        if self.timer is None:
            self.schedule()
            return 0.0
        late, self.late = max(self.late, monotonic() - self.due), 0.0
        return late

    def schedule(self) -> None:
        bus = self.bus()
        if bus is not None and not bus.ended and not bus.loop.is_closed():
            self.due = monotonic() + SECONDS
            self.timer = bus.loop.call_later(SECONDS, _beat, ref(self), context=Context())

    def beat(self) -> None:
        self.timer = None
        self.late = max(self.late, monotonic() - self.due)
        bus = self.bus()
        self.left -= 1
        if bus is not None and self.left > 0:
            bus.events(self.observer)
            self.schedule()

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _beat(pulse: ref[Pulse]) -> None:
    found = pulse()
    if found is not None:
        found.beat()

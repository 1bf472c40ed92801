"""How a bus is doing as a whole, for who watches it (guarantee 8.3): read when somebody asks, and counted by nobody."""

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

__all__ = ("HandlerStats", "Handling", "Pulse", "Vitals", "teller_of_handler", "vitals_of")

# How long a pulse goes on when nobody asks any more.
PATIENCE: Final = 150
SECONDS: Final = 1.0

Told: TypeAlias = Callable[[float, BaseException | None], object]


class HandlerStats(NamedTuple):
    """A handler of `ctx.on`: how many workers it has, how many are at work, and how many events it failed at."""

    handler: str
    event_type: type[Any]
    workers: int
    busy: int
    failed: int


class Vitals(NamedTuple):
    """A bus: the open scopes on it, the events that other threads sent and that wait for the loop, the handlers."""

    scopes: int
    from_threads: int
    handlers: list[HandlerStats]


class Handling:
    """One call of `ctx.on`: its workers, and how many events its handler failed at.

    `told` is called with the seconds that each event took and the error, if any; None when nobody asked for that, and
    then no clock is asked either.
    """

    __slots__ = ("event_type", "failed", "name", "subscription", "told", "working")

    def __init__(self, name: str, subscription: Subscription[Any], told: Told | None) -> None:
        self.name: str = name
        self.event_type: type[Any] = subscription.event_type
        self.subscription: ref[Subscription[Any]] = ref(subscription)
        self.told: Told | None = told
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
    """Whether a worker has an event in hand: it has begun, and does not wait for the next one."""
    if task.done() or getcoroutinestate(task.get_coro()) == CORO_CREATED:
        return False
    waited = getattr(task, "_fut_waiter", None)
    return not (isinstance(waited, Receive) and waited.subscription is subscription)


def vitals_of(bus: Bus) -> Vitals:
    """How the bus is doing. In its loop's thread."""
    scopes = bus_scopes_of(bus)
    handlings = [] if scopes is None else list(scopes.handlings)
    return Vitals(
        scopes=0 if scopes is None else len(scopes),
        from_threads=len(bus.inbox.events),
        handlers=[one.stats() for one in handlings],
    )


def teller_of_handler(
    recorder: Observability, scope: ScopeIdentity, handler: str, event_type: type[Any]
) -> Told | None:
    """What is called after each event of a handler, if the recorder wants to know."""
    watch = getattr(type(recorder), "watch_handler", None)
    if watch is None:
        return None
    told: Told | None = watch(recorder, scope, handler, event_type)
    return told


class Pulse:
    """While somebody watches a bus: looks at it once a second, and sees how late the loop comes to that.

    It begins when it is asked for the first time, and ends when nobody has asked for a while. In the loop's thread.
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
        """How many seconds late the loop has come to a timer at most, since this was asked last."""
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

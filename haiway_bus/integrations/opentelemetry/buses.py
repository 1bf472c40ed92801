"""Per type of event, what goes over the buses: observable instruments over `ctx.events()`.

Nothing is counted when an event is sent or read. An exporter asks, from a thread of its own, and the numbers are then
read in the loop's thread, because only there is a bus at rest: the exporter waits for the loop, half a second at most,
and otherwise gets what was read the last time. A loop that is blocked thus delays an export and does not break it.

All six instruments of one collection show one reading, so that sent, delivered and pending fit together.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Iterable
from contextvars import Context, copy_context
from functools import partial
from threading import Event, Lock, get_ident
from time import monotonic
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from haiway_bus import EventStats, ScopeIdentity, ctx
from haiway_bus.integrations.opentelemetry.attributes import type_name

__all__ = ("BusInstruments",)

WAIT_SECONDS: Final = 0.5
NOTHING: Final = EventStats(0, 0, 0, 0, 0, 0)


def added(one: EventStats, other: EventStats) -> EventStats:
    """Both together; the slowest of both is the slowest."""
    sums = [a + b for a, b in zip(one, other, strict=True)]
    return EventStats(*sums)._replace(lag=max(one.lag, other.lag))


def ended(stats: EventStats) -> EventStats:
    """What is left of a type's numbers when its subscriptions are gone: only what has been counted."""
    return stats._replace(subscriptions=0, pending=0, lag=0)


class Source:
    """One bus: how to read it, and what was read.

    `counted` is replaced as a whole, since the loop's thread writes what an exporter's thread may be reading: first
    what was counted before the types were last forgotten, then what was read last. Invariant: together they never
    count less than they did before, as OpenTelemetry wants it of counters.
    """

    __slots__ = ("context", "counted", "loop", "name", "thread")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.context: Context = copy_context()  # in which this scope is the current one
        self.loop: AbstractEventLoop = get_running_loop()
        self.thread: int = get_ident()
        self.counted: tuple[dict[str, EventStats], dict[str, EventStats]] = ({}, {})

    def read(self) -> None:
        """Read the bus. In the loop's thread only."""
        now: dict[str, EventStats] = {}
        for event_type, stats in self.context.run(ctx.events).items():
            name = type_name(event_type)
            now[name] = added(now.get(name, NOTHING), stats)
        before, last = dict(self.counted[0]), self.counted[1]
        for name, old in last.items():
            new = now.get(name, NOTHING)
            if new.sent < old.sent or new.delivered < old.delivered or new.dropped < old.dropped:
                # The type was without subscriptions meanwhile, and its count began anew (contract 8.3).
                before[name] = added(before.get(name, NOTHING), ended(old))
        self.counted = (before, now)

    def stats(self) -> dict[str, EventStats]:
        """What was counted before and what was read last, together."""
        before, last = self.counted
        found = dict(before)
        for name, stats in last.items():
            found[name] = added(found.get(name, NOTHING), stats)
        return found


class BusInstruments:
    """The observable instruments of all buses whose scopes were told to it.

    A bus forgets a type with its last subscription. It is therefore read once more when the scope's tasks have settled,
    so that scopes which are shorter than a collection interval count, too. What is not seen is what was sent between
    the last reading and the moment when the last subscription of its type goes while the scope goes on.
    """

    __slots__ = ("_ended", "_lock", "_served", "_sources")

    def __init__(self, meter: Meter) -> None:
        self._lock = Lock()
        self._sources: dict[str, Source] = {}
        self._ended: dict[tuple[str, str], EventStats] = {}
        self._served: set[str] | None = None
        create = meter.create_observable_counter
        create("haiway_bus.events.sent", [partial(self.observe, "sent")], "{event}", "Events sent")
        create(
            "haiway_bus.events.delivered",
            [partial(self.observe, "delivered")],
            "{event}",
            "Events that a reader took",
        )
        create(
            "haiway_bus.events.dropped",
            [partial(self.observe, "dropped")],
            "{event}",
            "Events that a subscription with a limit lost",
        )
        meter.create_observable_up_down_counter(
            "haiway_bus.events.pending",
            [partial(self.observe, "pending")],
            "{event}",
            "Events that wait, over all subscriptions",
        )
        meter.create_observable_up_down_counter(
            "haiway_bus.subscriptions",
            [partial(self.observe, "subscriptions")],
            "{subscription}",
            "Subscriptions",
        )
        meter.create_observable_gauge(
            "haiway_bus.events.lag",
            [partial(self.observe, "lag")],
            "{event}",
            "Events that wait in the slowest subscription",
        )

    def add(self, scope: ScopeIdentity) -> None:
        """A scope with a bus of its own is entered, here."""
        source = Source(scope.name)
        with self._lock:
            self._sources[scope.scope_id] = source

    def remove(self, scope: ScopeIdentity) -> None:
        """The scope is over: what its bus counted stays."""
        self.read(scope)
        self._retire(scope.scope_id)

    def read(self, scope: ScopeIdentity) -> None:
        """Read the bus of the scope now, if it has one of its own and this is its thread."""
        source = self._sources.get(scope.scope_id)
        if source is not None and get_ident() == source.thread:
            source.read()

    def observe(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """The callback of one instrument. Each reading serves each instrument once."""
        with self._lock:
            stale = self._served is None or field in self._served
            if stale:
                self._served = set()
            assert self._served is not None  # noqa: S101 - for the type checker
            self._served.add(field)
        if stale:
            self._read_all()
        return [
            Observation(
                getattr(stats, field), {"haiway_bus.scope": scope, "haiway_bus.event": event}
            )
            for (scope, event), stats in self._totals().items()
        ]

    def _read_all(self) -> None:
        waiting: list[Event] = []
        with self._lock:
            sources = list(self._sources.items())
        for scope_id, source in sources:
            if get_ident() == source.thread:
                source.read()
                continue
            done = Event()
            try:
                source.loop.call_soon_threadsafe(self._read, source, done)
            except RuntimeError:  # the loop was closed before the scope's end
                self._retire(scope_id)
            else:
                waiting.append(done)
        deadline = monotonic() + WAIT_SECONDS
        for done in waiting:
            done.wait(max(0.0, deadline - monotonic()))

    @staticmethod
    def _read(source: Source, done: Event) -> None:
        try:
            source.read()
        finally:
            done.set()

    def _retire(self, scope_id: str) -> None:
        with self._lock:
            source = self._sources.pop(scope_id, None)
            if source is None:
                return
            for event, stats in source.stats().items():
                key = (source.name, event)
                self._ended[key] = added(self._ended.get(key, NOTHING), ended(stats))

    def _totals(self) -> dict[tuple[str, str], EventStats]:
        with self._lock:
            totals = dict(self._ended)
            for source in self._sources.values():
                for event, stats in source.stats().items():
                    key = (source.name, event)
                    totals[key] = added(totals.get(key, NOTHING), stats)
        return totals

"""What goes over the buses, and how these are doing: observable instruments over `ctx.events()` and `vitals_of`.

Nothing is counted when an event is sent or read. An exporter asks, from a thread of its own, and the numbers are then
read in the loop's thread, because only there is a bus at rest: the exporter waits for the loop, half a second at most,
and otherwise gets what was read the last time. A loop that is blocked thus delays an export and does not break it.

All instruments of one collection show one reading, so that sent, delivered and pending fit together. While an exporter
asks, a pulse looks at each bus once a second, so that what was between two collections is known as well.
"""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from threading import Event, Lock, get_ident
from time import monotonic
from typing import Any, Final
from weakref import WeakMethod

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from haiway_bus import EventStats, ScopeIdentity
from haiway_bus._bus import Bus
from haiway_bus._bus.stats import Observer
from haiway_bus._scope.context import current
from haiway_bus._scope.vitals import Pulse, Vitals, vitals_of
from haiway_bus.integrations.opentelemetry.attributes import type_name
from haiway_bus.integrations.opentelemetry.names import (
    COUNTERS,
    EVENT,
    GAUGES,
    HANDLER,
    OF_BUSES,
    OF_HANDLERS,
    SCOPE,
    SUMS,
)
from haiway_bus.integrations.opentelemetry.sums import NOTHING, added, ended, with_passed

__all__ = ("BusInstruments",)

WAIT_SECONDS: Final = 0.5
MANY: Final = 256


class Source:
    """One bus: how to read it, and what was read.

    `counted` is replaced as a whole, since the loop's thread writes what an exporter's thread may be reading: first
    what was counted before types were forgotten, then what was read last. `forgotten` is yet to be added to the first.
    Invariant: together they never count less than they did before, as OpenTelemetry wants it of counters.
    """

    __slots__ = (
        "bus",
        "counted",
        "forgotten",
        "lateness",
        "loop",
        "name",
        "observer",
        "pulse",
        "reading",
        "thread",
        "vitals",
    )

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.bus: Bus = current("events()").scope.bus
        self.observer: Observer = Observer()
        self.pulse: Pulse = Pulse(self.bus)
        self.lateness: float = 0.0
        self.vitals: Vitals = Vitals(0, 0, [])
        self.loop: AbstractEventLoop = get_running_loop()
        self.thread: int = get_ident()
        self.counted: tuple[dict[str, EventStats], dict[str, EventStats]] = ({}, {})
        self.forgotten: deque[tuple[str, EventStats]] = deque()
        self.reading: bool = False

    def keep(self, event_type: type[Any], stats: EventStats) -> None:
        """The bus forgets a type (contract 8.3). This may be called within any other call here: by the collector."""
        self.forgotten.append((type_name(event_type), stats))
        if len(self.forgotten) >= MANY and not self.reading and get_ident() == self.thread:
            self.read(asked=False)  # where nobody collects they would become ever more

    def read(self, asked: bool = True) -> None:
        """Read the bus, for an exporter if one has asked: then what is told is what was since it last did.

        In the loop's thread only.
        """
        self.reading = True
        observer = self.observer if asked else self.pulse.observer
        passed: list[Mapping[type[Any], EventStats]] = []
        try:
            # The collector may end a subscription within any line here. A type forgotten before the bus is read is
            # not in the reading, one forgotten after it is, and is left for the next: each is counted once. Of one
            # forgotten during it nobody knows, so the bus is read again.
            while True:
                known = len(self.forgotten)
                read = events_of(self.bus, observer)
                if len(self.forgotten) == known:
                    break
                passed.append(read)
            now: dict[str, EventStats] = {}
            for event_type, stats in read.items():
                name = type_name(event_type)
                now[name] = added(now.get(name, NOTHING), with_passed(stats, event_type, passed))
            before = dict(self.counted[0])
            for _ in range(known):
                name, stats = self.forgotten.popleft()
                before[name] = added(before.get(name, NOTHING), ended(stats))
            self.counted = (before, now)
            if asked:
                self.vitals = vitals_of(self.bus)
                self.lateness = self.pulse.lateness()
        finally:
            self.reading = False

    def stats(self) -> dict[str, EventStats]:
        """What was counted before and what was read last, together."""
        before, last = self.counted
        found = dict(before)
        for name, stats in last.items():
            found[name] = added(found.get(name, NOTHING), stats)
        return found


def events_of(bus: Bus, observer: Observer) -> Mapping[type[Any], EventStats]:
    return bus.events(observer)


class BusInstruments:
    """The observable instruments of all buses whose scopes were told to it.

    A bus forgets a type with its last subscription, and tells its last numbers then (`keep`). So what is shorter than a
    collection interval counts, too: a scope, or the subscription to the one answer of a request.
    """

    __slots__ = ("__weakref__", "_ended", "_lock", "_served", "_sources")

    def __init__(self, meter: Meter) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            # The buses, and what they counted, are those of the process that forked, which tells of them itself. Its
            # exporter's thread may have had the lock.
            begin = WeakMethod(self._begin)
            os.register_at_fork(after_in_child=lambda: (method := begin()) and method())
        for kinds, create, observe in (
            (COUNTERS, meter.create_observable_counter, self.observe),
            (SUMS, meter.create_observable_up_down_counter, self.observe),
            (GAUGES, meter.create_observable_gauge, self.observe),
            (OF_BUSES, meter.create_observable_gauge, self.observe_bus),
            (OF_HANDLERS, meter.create_observable_gauge, self.observe_handlers),
        ):
            for field, (name, unit, description) in kinds.items():
                create(name, [partial(observe, field)], unit, description)

    def _begin(self) -> None:
        self._lock = Lock()
        self._sources: dict[str, Source] = {}
        self._ended: dict[tuple[str, str], EventStats] = {}
        self._served: set[str] | None = None

    def add(self, scope: ScopeIdentity) -> None:
        """A scope with a bus of its own is entered, here."""
        source = Source(scope.name)
        with self._lock:
            self._sources[scope.scope_id] = source

    def remove(self, scope: ScopeIdentity) -> None:
        """The scope is over: what its bus counted stays."""
        source = self._sources.get(scope.scope_id)
        if source is not None and get_ident() == source.thread:
            source.read(asked=False)
            source.pulse.stop()
        self._retire(scope.scope_id)

    def keep(self, scope: ScopeIdentity, event_type: type[Any], stats: EventStats) -> None:
        """The bus of the scope forgets a type, with these numbers. Takes no lock, as the collector may call it."""
        source = self._sources.get(scope.scope_id)
        if source is not None:
            source.keep(event_type, stats)

    def observe(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """The callback of one instrument about types of events."""
        self._read(field)
        return [
            Observation(getattr(stats, field), {SCOPE: scope, EVENT: event})
            for (scope, event), stats in self._totals().items()
        ]

    def observe_bus(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """The callback of one instrument about buses. Those of one name are told as one."""
        self._read(field)
        found: dict[str, float] = {}
        for source in self._all():
            if field == "lateness":
                found[source.name] = max(found.get(source.name, 0.0), source.lateness)
            else:
                found[source.name] = found.get(source.name, 0) + getattr(source.vitals, field)
        return [Observation(value, {SCOPE: name}) for name, value in found.items()]

    def observe_handlers(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """The callback of one instrument about handlers. Those of one name and type are told as one."""
        self._read(field)
        found: dict[tuple[str, str, str], int] = {}
        for source in self._all():
            for one in source.vitals.handlers:
                key = (source.name, type_name(one.event_type), one.handler)
                found[key] = found.get(key, 0) + getattr(one, field)
        return [
            Observation(value, {SCOPE: scope, EVENT: event, HANDLER: handler})
            for (scope, event, handler), value in found.items()
        ]

    def _all(self) -> list[Source]:
        with self._lock:
            return list(self._sources.values())

    def _read(self, field: str) -> None:
        """Read the buses for one instrument. Each reading serves each instrument once."""
        with self._lock:
            stale = self._served is None or field in self._served
            if stale:
                self._served = set()
            assert self._served is not None  # noqa: S101 - for the type checker
            self._served.add(field)
        if stale:
            self._read_all()

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
                source.loop.call_soon_threadsafe(self._read_one, source, done)
            except RuntimeError:  # the loop was closed before the scope's end
                self._retire(scope_id)
            else:
                waiting.append(done)
        deadline = monotonic() + WAIT_SECONDS
        for done in waiting:
            done.wait(max(0.0, deadline - monotonic()))

    @staticmethod
    def _read_one(source: Source, done: Event) -> None:
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

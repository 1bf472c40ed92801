"""The metrics of the buses: observable instruments over `ctx.events()` and `vitals_of`.

Sending and reading events costs nothing here. An exporter asks from a thread of its own. A bus can be read in its
loop's thread only, so the exporter waits for the loop, half a second at most, and otherwise gets what was read last.
A blocked loop delays an export and does not break it.

All instruments of a collection show the same reading, so that sent, delivered and pending fit together. While an
exporter asks, a pulse looks at each bus once a second, so that peaks between two collections are known too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from threading import Event, Lock, get_ident
from time import monotonic
from typing import Any, Final
from weakref import WeakMethod

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from haiway_bus import EventStats, ScopeIdentity
from haiway_bus.integrations._opentelemetry.attributes import type_name
from haiway_bus.integrations._opentelemetry.bus_reading import NOTHING, BusReading, added, ended
from haiway_bus.integrations._opentelemetry.metric_names import (
    COUNTERS,
    EVENT,
    GAUGES,
    HANDLER,
    OF_BUSES,
    OF_HANDLERS,
    SCOPE,
    SUMS,
)

__all__ = ("BusInstruments",)

WAIT_SECONDS: Final = 0.5


class BusInstruments:
    """The observable instruments of all buses whose scopes were added.

    A bus forgets a type with its last subscription, and tells the last numbers of the type (`keep`). So everything
    counts that is shorter than a collection interval: a scope, or the subscription to the answer of a request.
    """

    __slots__ = ("__weakref__", "_ended", "_lock", "_served", "_sources")

    def __init__(self, meter: Meter) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            # A forked child starts from nothing: the parent tells the numbers of its buses itself, and a thread of the
            # parent may have held the lock.
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
        self._sources: dict[str, BusReading] = {}
        self._ended: dict[tuple[str, str], EventStats] = {}
        self._served: set[str] | None = None

    def add(self, scope: ScopeIdentity) -> None:
        """Add the bus of a scope. The scope is entered in this task."""
        source = BusReading(scope.name)
        with self._lock:
            self._sources[scope.scope_id] = source

    def remove(self, scope: ScopeIdentity) -> None:
        """Remove the bus of a scope that has ended. What the bus counted stays."""
        source = self._sources.get(scope.scope_id)
        if source is not None and get_ident() == source.thread:
            source.read(asked=False)
            source.pulse.stop()
        self._retire(scope.scope_id)

    def keep(self, scope: ScopeIdentity, event_type: type[Any], stats: EventStats) -> None:
        """Keep the last numbers of a type that the scope's bus forgets.

        The garbage collector may call this, so it takes no lock.
        """
        source = self._sources.get(scope.scope_id)
        if source is not None:
            source.keep(event_type, stats)

    def observe(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """Observe an instrument by event type."""
        self._read(field)
        return [
            Observation(getattr(stats, field), {SCOPE: scope, EVENT: event})
            for (scope, event), stats in self._totals().items()
        ]

    def observe_bus(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """Observe an instrument by bus. Buses with the same scope name are added up."""
        self._read(field)
        found: dict[str, float] = {}
        for source in self._all():
            if field == "lateness":
                found[source.name] = max(found.get(source.name, 0.0), source.lateness)
            else:
                found[source.name] = found.get(source.name, 0) + getattr(source.vitals, field)
        return [Observation(value, {SCOPE: name}) for name, value in found.items()]

    def observe_handlers(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        """Observe an instrument by handler. Handlers with the same name and type are added up."""
        self._read(field)
        found: dict[tuple[str, str, str], int] = {}
        for source in self._all():
            for handler in source.vitals.handlers:
                key = (source.name, type_name(handler.event_type), handler.handler)
                found[key] = found.get(key, 0) + getattr(handler, field)
        return [
            Observation(value, {SCOPE: scope, EVENT: event, HANDLER: name})
            for (scope, event, name), value in found.items()
        ]

    def _all(self) -> list[BusReading]:
        with self._lock:
            return list(self._sources.values())

    def _read(self, field: str) -> None:
        """Read the buses for an instrument. A reading serves each instrument once."""
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
            except RuntimeError:  # the loop was closed before the scope ended
                self._retire(scope_id)
            else:
                waiting.append(done)
        deadline = monotonic() + WAIT_SECONDS
        for done in waiting:
            done.wait(max(0.0, deadline - monotonic()))

    @staticmethod
    def _read_one(source: BusReading, done: Event) -> None:
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

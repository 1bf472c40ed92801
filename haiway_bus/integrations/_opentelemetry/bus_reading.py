"""Reading a bus for OpenTelemetry, and adding up the numbers of several readings and of several buses."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Mapping
from threading import get_ident
from typing import Any, Final

from haiway_bus import EventStats
from haiway_bus._bus import Bus
from haiway_bus._bus.stats import Observer
from haiway_bus._scope.context import current
from haiway_bus._scope.vitals import Pulse, Vitals, vitals_of
from haiway_bus.integrations._opentelemetry.attributes import type_name

__all__ = ("NOTHING", "BusReading", "added", "ended")

MOST_FORGOTTEN: Final = 256
NOTHING: Final = EventStats(0, 0, 0, 0, 0, 0)


def added(one: EventStats, other: EventStats) -> EventStats:
    """Return the sum of the counts, and the larger of the lags, ages and peaks."""
    return EventStats(
        subscriptions=one.subscriptions + other.subscriptions,
        sent=one.sent + other.sent,
        delivered=one.delivered + other.delivered,
        dropped=one.dropped + other.dropped,
        pending=one.pending + other.pending,
        lag=max(one.lag, other.lag),
        age=max(one.age, other.age),
        peak=max(one.peak, other.peak),
        at_limit=one.at_limit + other.at_limit,
    )


def ended(stats: EventStats) -> EventStats:
    """Return the counts alone: they are what is left when the subscriptions of a type are gone."""
    return NOTHING._replace(sent=stats.sent, delivered=stats.delivered, dropped=stats.dropped)


def with_passed(
    stats: EventStats, event_type: type[Any], passed: list[Mapping[type[Any], EventStats]]
) -> EventStats:
    """Return the numbers with the peaks of the readings just before: each reading resets the peaks."""
    for read in passed:
        before = read.get(event_type, NOTHING)
        stats = stats._replace(
            peak=max(stats.peak, before.peak), at_limit=max(stats.at_limit, before.at_limit)
        )
    return stats


def events_of(bus: Bus, observer: Observer) -> Mapping[type[Any], EventStats]:
    """Return the numbers of a bus. (A function of its own, so that a test can let something happen meanwhile.)"""
    return bus.events(observer)


class BusReading:
    """A bus: how to read it, and what was read.

    Attributes:
        counted: What was counted of forgotten types, and what was read last. It is replaced as a whole, because an
            exporter's thread may read it while the loop's thread writes it.
        forgotten: Types that the bus has forgotten, to be added to the first part of `counted`.

    Invariant: the two parts of `counted` together never decrease, as OpenTelemetry requires of counters.
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
        """Note a type that the bus forgets (guarantee 8.3).

        The garbage collector may call this in the middle of any other method here.
        """
        self.forgotten.append((type_name(event_type), stats))
        crowded = len(self.forgotten) >= MOST_FORGOTTEN
        if crowded and not self.reading and get_ident() == self.thread:
            self.read(asked=False)  # without an exporter nobody else would empty the list

    def read(self, asked: bool = True) -> None:
        """Read the bus. Call this in the loop's thread only.

        Args:
            asked: Whether an exporter has asked. Then peaks and lateness are those since an exporter asked last.
        """
        self.reading = True
        observer = self.observer if asked else self.pulse.observer
        passed: list[Mapping[type[Any], EventStats]] = []
        try:
            # The garbage collector may end a subscription at any line here. A type that is forgotten before the bus is
            # read is not in the reading. A type that is forgotten afterwards is in it, and stays in the list for next
            # time. So both are counted once. If a type is forgotten during the reading, read again.
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
        """Return both parts of `counted` together."""
        before, last = self.counted
        found = dict(before)
        for name, stats in last.items():
            found[name] = added(found.get(name, NOTHING), stats)
        return found

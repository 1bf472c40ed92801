"""What the numbers of several buses, and of several readings of one, are together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from haiway_bus import EventStats

__all__ = ("NOTHING", "added", "ended", "with_passed")

NOTHING: Final = EventStats(0, 0, 0, 0, 0, 0)


def added(one: EventStats, other: EventStats) -> EventStats:
    """Both together; the slowest of both is the slowest."""
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
    """What is left of a type's numbers when its subscriptions are gone: only what has been counted."""
    return NOTHING._replace(sent=stats.sent, delivered=stats.delivered, dropped=stats.dropped)


def with_passed(
    stats: EventStats, event_type: type[Any], passed: list[Mapping[type[Any], EventStats]]
) -> EventStats:
    """The numbers, with the peaks that readings just before have told instead."""
    for read in passed:
        before = read.get(event_type, NOTHING)
        stats = stats._replace(
            peak=max(stats.peak, before.peak), at_limit=max(stats.at_limit, before.at_limit)
        )
    return stats

"""Statistics of a channel (guarantee 8.3). A look at them has a cost; a send has none. A cold path: both twins use it.

    Channel.looks -> Looks        after the first look

Most numbers are kept anyway. Two need earlier looks: the age of waiting events, and the peaks since the last look. So
each look notes the time, and how many events had been sent by then.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

__all__ = ("EventStats", "Observer", "look", "stats_of", "subscriptions_of")

# The maximal number of moments. With 64 of them, even an age of a year is known to about a quarter.
MOMENTS: Final = 64


class EventStats(NamedTuple):
    """The statistics of an event type on a bus, since the type has had subscriptions without a break.

    Attributes:
        subscriptions: The number of subscriptions now.
        sent: The number of events sent.
        delivered: How many times a reader has taken an event.
        dropped: How many times a subscription has lost an event to its limit.
        pending: The number of waiting events, over all subscriptions.
        lag: The number of waiting events in the slowest subscription.
        age: Seconds that the oldest waiting event has waited, at least. A send reads no clock, so the age counts from
            the first look that found the event sent. It is too low by the time between two looks at most.
        peak: The highest lag known since the last look: the lag at any look of any observer, and the limit of each
            subscription that lost events.
        at_limit: The number of subscriptions known to have been at their limit since the last look: at a look, or
            because they lost events.
        slowest: The name of the slowest subscription, or None.
    """

    subscriptions: int
    sent: int
    delivered: int
    dropped: int
    pending: int
    lag: int
    age: float = 0.0
    peak: int = 0
    at_limit: int = 0
    slowest: str | None = None


class Observer:
    """A caller that looks repeatedly. Each look tells it what happened since its last look."""

    __slots__ = ("__weakref__",)


# Every caller of `ctx.events()`.
ANYBODY: Final = Observer()


class Moments:
    """Moments of past looks: the time, and the number of events that had been sent by then.

    Invariant: the numbers grow with the times.
    """

    __slots__ = ("found",)

    def __init__(self, found: list[tuple[float, int]]) -> None:
        self.found: list[tuple[float, int]] = found

    def add(self, now: float, number: int) -> None:
        if not self.found or self.found[-1][1] < number:
            self.found.append((now, number))
            if len(self.found) > MOMENTS:
                self.thin(now)

    def thin(self, now: float) -> None:
        """Drop the moment that is needed the least, so that each age keeps about the same relative error."""
        times = [time for time, _ in self.found]
        gone = min(
            range(1, len(times) - 1),
            key=lambda at: (times[at + 1] - times[at - 1]) / (now - times[at - 1] or 1.0),
        )
        del self.found[gone]

    def age(self, now: float, position: int) -> float:
        """Seconds that the event at this position has waited, at least."""
        return next((now - time for time, number in list(self.found) if number > position), 0.0)

    def forget(self, position: int) -> None:
        """Drop moments that no waiting event needs: those before this position."""
        self.found = [one for one in self.found if one[1] > position]


class Seen:
    """What looks have found since the last look of an observer."""

    __slots__ = ("full", "peak")

    def __init__(self) -> None:
        self.peak: int = 0
        # The keys of the subscriptions that were at their limits.
        self.full: set[int] = set()


class Looks:
    """The notes of the looks at a channel.

    Invariants: `moments` count all sent events. A subscription that has missed events counts without them, so it has
    its own moments in `own`, by its key. `lost` holds the drops of each subscription with a limit, at the last look.
    `first` holds what was found since the first look of any observer: an observer's first look returns that.
    """

    __slots__ = ("first", "lost", "moments", "own", "seen")

    def __init__(self) -> None:
        self.moments: Moments = Moments([])
        self.own: dict[int, Moments] = {}
        self.lost: dict[int, int] = {}
        self.first: Seen = Seen()
        self.seen: WeakKeyDictionary[Observer, Seen] = WeakKeyDictionary()

    def at(self, channel: Any, subscriptions: list[Any], now: float) -> tuple[float, int, set[int]]:
        """The age of the oldest waiting event, the highest lag, and the keys of subscriptions at their limits."""
        sent: int = channel.sent
        oldest = sent
        age = 0.0
        peak = 0
        full: set[int] = set()
        lost: dict[int, int] = {}
        own: dict[int, Moments] = {}
        for one in subscriptions:
            position, pending = one._position, one._pending
            bound = one._bound
            if bound is not None:
                lost[one._key] = dropped = bound.lost()
                if pending >= bound.limit or dropped > self.lost.get(one._key, 0):
                    full.add(one._key)
                    peak = max(peak, bound.limit)
                if position + pending < sent:
                    # Before its first loss it counted like all others.
                    moments = self.own.get(one._key) or Moments(list(self.moments.found))
                    moments.forget(position)
                    moments.add(now, position + pending)
                    age = max(age, moments.age(now, position))
                    own[one._key] = moments
                    continue
            if pending:
                oldest = min(oldest, position)
                peak = max(peak, pending)
        self.lost, self.own = lost, own
        self.moments.forget(oldest)
        self.moments.add(now, sent)
        return max(age, self.moments.age(now, oldest)), peak, full

    def since(self, observer: Observer, peak: int, full: set[int]) -> Seen:
        """What the observer has not heard yet, this look included."""
        self.first.full &= self.lost.keys()
        mine = self.seen.get(observer)
        if mine is None:
            mine = Seen()
            mine.peak, mine.full = self.first.peak, set(self.first.full)
        for one in (self.first, mine, *list(self.seen.values())):
            one.peak = max(one.peak, peak)
            one.full |= full
        self.seen[observer] = Seen()
        return mine


def subscriptions_of(channel: Any) -> list[Any]:
    """The living subscriptions of a channel, from a copy of its table: the collector may run and end some."""
    return [found for member in list(channel.members.values()) if (found := member()) is not None]


def stats_of(channel: Any) -> EventStats:
    """The statistics now. This does not count as a look."""
    return _counted(channel, subscriptions_of(channel))


def look(channel: Any, observer: Observer | None = None) -> EventStats:
    """The statistics now, and the peaks since the last look of the observer."""
    looks = channel.looks
    if looks is None:
        looks = channel.looks = Looks()
    subscriptions = subscriptions_of(channel)
    stats = _counted(channel, subscriptions)
    age, peak, full = looks.at(channel, subscriptions, monotonic())
    seen = looks.since(ANYBODY if observer is None else observer, max(peak, stats.lag), full)
    return stats._replace(age=age, peak=seen.peak, at_limit=len(seen.full & looks.lost.keys()))


def _counted(channel: Any, subscriptions: list[Any]) -> EventStats:
    if not subscriptions:
        return EventStats(0, channel.sent, channel.delivered, channel.dropped, 0, 0)
    waiting = [one._pending for one in subscriptions]
    lag = max(waiting)
    return EventStats(
        subscriptions=len(subscriptions),
        sent=channel.sent,
        delivered=channel.delivered + sum([one._delivered for one in subscriptions]),
        dropped=channel.dropped + sum([one.lost() for one in list(channel.bounded.values())]),
        pending=sum(waiting),
        lag=lag,
        slowest=subscriptions[waiting.index(lag)]._name if lag else None,
    )

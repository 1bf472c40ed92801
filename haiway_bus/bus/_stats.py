"""What a channel tells of itself (contract 8.3). Counted from what is kept anyway: asking costs, sending does not."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ("EventStats", "stats_of")


class EventStats(NamedTuple):
    """The events of one type, since somebody has been subscribed to it without a break.

    subscriptions: how many there are now.
    sent: how many events.
    delivered: how many times a reader took one.
    dropped: how many times a subscription with a limit lost one.
    pending: how many wait, over all subscriptions.
    lag: how many wait in the slowest subscription.
    """

    subscriptions: int
    sent: int
    delivered: int
    dropped: int
    pending: int
    lag: int


def stats_of(channel: Any) -> EventStats:
    subscriptions = channel.subscriptions()
    waiting = [one.pending for one in subscriptions]
    return EventStats(
        subscriptions=len(subscriptions),
        sent=channel.sent,
        delivered=channel.delivered + sum(one.delivered() for one in subscriptions),
        dropped=channel.dropped + sum(one.dropped for one in subscriptions),
        pending=sum(waiting),
        lag=max(waiting, default=0),
    )

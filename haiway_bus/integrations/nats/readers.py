"""The local readers of one type: the subscriptions on the scope's bus, those of the bridge's own outboxes set apart.

An outbox passes over what its own bridge received; but while its
stream is full it does not come back, and room comes only by acknowledging: so nothing that is received waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from haiway_bus import Subscription, ctx
from haiway_bus.integrations.nats.received import forget
from haiway_bus.integrations.nats.work import Work

__all__ = ("Readers",)

# How long it is waited whether a reader that ended was the first of a scope that is breaking off.
DOUBT_SECONDS: Final = 0.1


class Readers:
    """Who is there to take an event, and whether they have.

    Arguments:
        event_type: the class of the events.
        own: the subscriptions of the bridge's outboxes for this class.
        work: knows whether the scope is breaking off.
    """

    def __init__(self, event_type: type[Any], own: Sequence[Subscription[Any]], work: Work) -> None:
        self._event_type = event_type
        self._own = own
        self._work = work
        # Events that an outbox has not looked at, with its position when it has: until then it must be known that
        # they were received.
        self._unseen: list[tuple[Subscription[Any], int, list[object]]] = []

    @property
    def breaking_off(self) -> bool:
        """Whether the scope has failed or was cancelled: its readers end, whatever they were at."""
        return self._work.broken_off

    def count(self) -> int:
        """How many subscriptions there are."""
        stats = ctx.events().get(self._event_type)
        own = sum(not one.closed for one in self._own)
        return 0 if stats is None else stats.subscriptions - own

    def dropped(self) -> int:
        """How many events they have lost to their limits."""
        stats = ctx.events().get(self._event_type)
        return 0 if stats is None else stats.dropped - sum(own.dropped for own in self._own)

    async def caught_up(self, seconds: float) -> None:
        """Return when each has taken all that was sent and come back for more, or ended.

        Raises TimeoutError after so many seconds. An outbox of our own counts as well while it is more than half
        full: what comes in must not push out what it has to publish.
        """
        passed_by = [own for own in self._own if own.limit is None or own.pending * 2 <= own.limit]
        await ctx.flush(self._event_type, timeout=seconds, without=passed_by)

    async def have_taken(self, before: int) -> bool:
        """Whether all of them, `before` in number then, did what they took, as far as can be known.

        A subscription that ended counts as having taken all; but not when its scope is being broken off. When none
        is left nobody knows what they took.
        """
        # A worker that failed has ended by now; its scope hears of it in one of the next turns of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if 0 < self.count() < before and not self.breaking_off:
            await asyncio.sleep(DOUBT_SECONDS)
        return self.count() > 0 and not self.breaking_off

    def done_with(self, events: list[object]) -> None:
        """Forget where these events came from: now, or when our own outbox has passed over them."""
        self._unseen += [(own, own._position + own.pending, events) for own in self._own]
        left = [(own, goal, of) for own, goal, of in self._unseen if not _is_past(own, goal)]
        kept = {id(event) for _, _, of in left for event in of}
        for given in (events, *(of for _, _, of in self._unseen)):
            for event in given:
                if id(event) not in kept:
                    forget(event)
        self._unseen = left

    def close(self) -> None:
        """Forget where events came from that an outbox has not looked at: the outboxes have ended."""
        for _, _, events in self._unseen:
            for event in events:
                forget(event)
        self._unseen = []


def _is_past(own: Subscription[Any], goal: int) -> bool:
    return own.closed or own._position >= goal

"""The local readers of a type: the subscriptions on the scope's bus, without those of the bridge's own outboxes.

An outbox ignores what its own bridge received. While the stream on the server is full, the outbox cannot publish and
does not come back for more. Acknowledging is what makes room there, so an acknowledgement must not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from haiway_bus import Subscription, ctx
from haiway_bus.integrations._nats.bridge_tasks import BridgeTasks
from haiway_bus.integrations._nats.messages import forget

__all__ = ("Readers",)

# When a reader has ended, how long to wait and see whether its scope is failing.
DOUBT_SECONDS: Final = 0.1


class Readers:
    """Tells how many readers there are, and whether they have handled what was sent.

    Args:
        event_type: The class of the events.
        own: The subscriptions of the bridge's outboxes for this class.
        tasks: The tasks of the bridge, which know whether the scope is failing.
    """

    def __init__(
        self, event_type: type[Any], own: Sequence[Subscription[Any]], tasks: BridgeTasks
    ) -> None:
        self._event_type = event_type
        self._own = own
        self._tasks = tasks
        # Events that an outbox has not yet looked at, with its position when it has. Until then the outbox must be
        # able to see that they were received.
        self._unseen: list[tuple[Subscription[Any], int, list[object]]] = []

    @property
    def breaking_off(self) -> bool:
        """Whether the scope has failed or was cancelled, so that its readers end in the middle of their work."""
        return self._tasks.broken_off

    def count(self) -> int:
        """Return how many subscriptions there are."""
        stats = ctx.events().get(self._event_type)
        own = sum(not subscription.closed for subscription in self._own)
        return 0 if stats is None else stats.subscriptions - own

    def dropped(self) -> int:
        """Return how many events they have dropped because of their limits."""
        stats = ctx.events().get(self._event_type)
        return 0 if stats is None else stats.dropped - sum(own.dropped for own in self._own)

    async def caught_up(self, seconds: float) -> None:
        """Wait until each reader has taken all that was sent and come back for more, or has ended.

        Wait for an outbox of the bridge too while it is more than half full: incoming events must not push out what it
        has to publish.

        Raises:
            TimeoutError: A reader is not there after so many seconds.
        """
        passed_by = [own for own in self._own if own.limit is None or own.pending * 2 <= own.limit]
        await ctx.flush(self._event_type, timeout=seconds, without=passed_by)

    async def have_taken(self, before: int) -> bool:
        """Return whether the readers have handled all they took, as far as the bridge can know.

        A subscription that ended counts as having handled everything, unless its scope is failing. When none is left,
        nobody knows, and the answer is no.

        Args:
            before: How many readers there were when the events were sent.
        """
        # A worker that failed has ended by now. Its scope hears of it in the next turns of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if 0 < self.count() < before and not self.breaking_off:
            await asyncio.sleep(DOUBT_SECONDS)
        return self.count() > 0 and not self.breaking_off

    def done_with(self, events: list[object]) -> None:
        """Forget where these events came from, as soon as the bridge's own outboxes have looked at them."""
        self._unseen += [(own, own._position + own.pending, events) for own in self._own]
        left = [(own, goal, of) for own, goal, of in self._unseen if not _is_past(own, goal)]
        kept = {id(event) for _, _, of in left for event in of}
        for given in (events, *(of for _, _, of in self._unseen)):
            for event in given:
                if id(event) not in kept:
                    forget(event)
        self._unseen = left

    def close(self) -> None:
        """Forget where all events came from: the outboxes have ended."""
        for _, _, events in self._unseen:
            for event in events:
                forget(event)
        self._unseen = []


def _is_past(own: Subscription[Any], goal: int) -> bool:
    return own.closed or own._position >= goal

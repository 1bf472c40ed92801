"""What a bridge tells of itself: while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from haiway_bus import State

__all__ = ("DrainReport", "NatsStats")


class NatsStats(NamedTuple):
    """The numbers of one bridge since it was entered, over all its types unless by name.

    connected: whether there is a connection now. connections: how many there have been.
    outbox: by type name, how many events wait to be published or acknowledged, and the most that can wait.
    published: events the server has acknowledged. resent: how many times one was sent again. duplicates: how many of
        those the server already had. refused: events that cannot be published. lost: events that overflowed the outbox.
    received: messages taken from the server. redelivered: those of them that had been delivered before.
    acknowledged: messages acknowledged to the server. returned: those given back to it. unacknowledged: by type name,
        those that are here and not acknowledged yet.
    dropped: events that local subscriptions with a limit dropped. echoes: messages of one's own passed over.
    dead: dead letters. stalls: how many times pulling was begun anew because the server had fallen silent or said so.
    """

    connected: bool
    connections: int
    outbox: Mapping[str, tuple[int, int]]
    published: int
    resent: int
    duplicates: int
    refused: int
    lost: int
    received: int
    redelivered: int
    acknowledged: int
    returned: int
    unacknowledged: Mapping[str, int]
    dropped: int
    echoes: int
    dead: int
    stalls: int


class DrainReport(NamedTuple):
    """What the end of a bridge left undone, and what it could not do before.

    complete: whether the server has all that was sent, and nothing went back to it. seconds: how long draining took.
    unpublished: by type name, the events that were sent and that the server has not acknowledged; it may have some of
        them all the same, when only the acknowledgement is missing.
    returned: by type name, how many messages had arrived, or were on the bus and not taken by every local
        subscription, and went back to the server unacknowledged: they will be delivered again.
    lost: by type name, how many events overflowed the outbox since the bridge was entered.
    refused: by type name, how many could not be published; each was told in a NatsEventRefused.
    """

    complete: bool
    seconds: float
    unpublished: Mapping[str, tuple[State, ...]]
    returned: Mapping[str, int]
    lost: Mapping[str, int]
    refused: Mapping[str, int]

    def __str__(self) -> str:
        if self.complete:
            return f"drained in {self.seconds:.2f} s, nothing is left"
        unpublished = ", ".join(f"{len(left)} {name}" for name, left in self.unpublished.items())
        return (
            f"drained in {self.seconds:.2f} s; not published: {unpublished or 'none'};"
            f" given back to the server, which delivers them again: {_numbers(self.returned)};"
            f" lost before, the outbox being full: {_numbers(self.lost)}; refused: {_numbers(self.refused)}"
        )


def _numbers(by_name: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in by_name.items()) or "none"

"""The numbers of a bridge: what its parts have counted, for `stats()`, for the report and for observability."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from haiway_bus import State, ctx
from haiway_bus.integrations._nats.connection import Connection
from haiway_bus.integrations._nats.dead_letters import DeadLetters
from haiway_bus.integrations._nats.lane import Lane
from haiway_bus.integrations._nats.outbox import Outbox
from haiway_bus.integrations._nats.publisher import Publisher

__all__ = ("DrainReport", "NatsStats", "observe", "report_of", "totals_of")

OBSERVE_SECONDS: Final = 5.0
NEARLY_FULL: Final = 0.8


class NatsStats(NamedTuple):
    """The numbers of a bridge since it was entered, over all its types unless they are by type name.

    Attributes:
        connected: Whether there is a connection now.
        connections: How many connections there have been.
        outbox: By type name, how many events wait to be published or acknowledged, and the most that can wait.
        published: Events that the server has acknowledged.
        resent: How many times an event was sent again.
        duplicates: How many of those the server already had.
        refused: Events that cannot be published.
        lost: Events that were lost because the outbox was full.
        received: Messages that came from the server.
        redelivered: How many of those had been delivered before.
        acknowledged: Messages that the bridge acknowledged.
        returned: Messages that it gave back to the server.
        unacknowledged: By type name, messages that are here and not acknowledged yet.
        dropped: Events that local subscriptions with a limit dropped.
        echoes: Messages that this bridge had published itself, and ignored.
        dead: Dead letters.
        stalls: How many times the bridge had to pull again, because the server fell silent or ended the request.
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
    """What a bridge left undone at its end, and what it could not do before.

    Attributes:
        complete: Whether the server has every event that was sent, and no message went back to it.
        seconds: How long draining took.
        unpublished: By type name, the events that the server has not acknowledged. It may have some of them all the
            same, when only the acknowledgement is missing.
        returned: By type name, how many messages went back to the server unacknowledged. They had arrived, or were on
            the bus and not yet handled by every local subscription. The server delivers them again.
        lost: By type name, how many events were lost because the outbox was full.
        refused: By type name, how many events could not be published. A NatsEventRefused told of each.
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
            f" lost before, because the outbox was full: {_numbers(self.lost)}; refused: {_numbers(self.refused)}"
        )


def _numbers(by_name: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in by_name.items()) or "none"


async def observe(outboxes: Sequence[Outbox], lanes: Sequence[Lane]) -> None:
    """Every OBSERVE_SECONDS, until cancelled, record two gauges and log what was lost.

    The gauges are the events in each outbox and the unacknowledged messages of each lane. An outbox logs its losses
    itself when the server acknowledges; here they are logged while there is no server.
    """
    while True:
        await asyncio.sleep(OBSERVE_SECONDS)
        for outbox in outboxes:
            name, waiting = outbox.wire.name, outbox.waiting
            outbox.tell_lost()
            ctx.record(metric="nats.outbox", value=waiting, kind="gauge", attributes={"type": name})
            if waiting > outbox.limit * NEARLY_FULL:
                ctx.log_warning(
                    "the outbox of %s holds %s of at most %s events", name, waiting, outbox.limit
                )
        for lane in lanes:
            ctx.record(
                metric="nats.unacknowledged",
                value=lane.waiting,
                kind="gauge",
                attributes={"type": lane.wire.name},
            )


def totals_of(
    connection: Connection,
    publisher: Publisher,
    dead: DeadLetters,
    outboxes: Sequence[Outbox],
    lanes: Sequence[Lane],
) -> NatsStats:
    """Return the present numbers."""
    return NatsStats(
        connected=connection.client is not None,
        connections=connection.connects,
        outbox={outbox.wire.name: (outbox.waiting, outbox.limit) for outbox in outboxes},
        published=sum(outbox.published for outbox in outboxes),
        resent=publisher.resent,
        duplicates=publisher.duplicates,
        refused=sum(outbox.refusals for outbox in outboxes),
        lost=sum(outbox.lost for outbox in outboxes),
        received=sum(lane.received for lane in lanes),
        redelivered=sum(lane.redelivered for lane in lanes),
        acknowledged=sum(lane.acknowledged for lane in lanes),
        returned=sum(lane.returned for lane in lanes),
        unacknowledged={lane.wire.name: lane.waiting for lane in lanes},
        dropped=sum(lane.dropped for lane in lanes),
        echoes=sum(lane.echoes for lane in lanes),
        dead=dead.count,
        stalls=sum(lane.stalls for lane in lanes),
    )


def report_of(seconds: float, outboxes: Sequence[Outbox], lanes: Sequence[Lane]) -> DrainReport:
    """Return what is left when everything has ended. This empties the outboxes into the report."""
    unpublished = {outbox.wire.name: tuple(outbox.left()) for outbox in outboxes}
    unpublished = {name: left for name, left in unpublished.items() if left}
    returned = {lane.wire.name: lane.returned_at_end for lane in lanes if lane.returned_at_end}
    lost = {outbox.wire.name: outbox.lost for outbox in outboxes if outbox.lost}
    refused = {outbox.wire.name: outbox.refusals for outbox in outboxes if outbox.refusals}
    complete = not (unpublished or returned or lost or refused)
    return DrainReport(complete, seconds, unpublished, returned, lost, refused)

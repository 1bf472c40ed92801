"""Adding up what the parts of a bridge have counted, and telling the scope's observability of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from haiway_bus import ctx
from haiway_bus.integrations._nats.connection import Connection
from haiway_bus.integrations._nats.dead_letters import DeadLetters
from haiway_bus.integrations._nats.lane import Lane
from haiway_bus.integrations._nats.outbox import Outbox
from haiway_bus.integrations._nats.publisher import Publisher
from haiway_bus.integrations._nats.report import DrainReport, NatsStats

__all__ = ("observe", "report_of", "stats_of")

OBSERVE_SECONDS: Final = 5.0
NEARLY_FULL: Final = 0.8


async def observe(outboxes: Sequence[Outbox], lanes: Sequence[Lane]) -> None:
    """Until cancelled, every OBSERVE_SECONDS: how full the outboxes are and how much is unacknowledged, as gauges, and
    what was lost. An outbox comes to that itself when the server has what it took before, and not while that is away.
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


def stats_of(
    connection: Connection,
    publisher: Publisher,
    dead: DeadLetters,
    outboxes: Sequence[Outbox],
    lanes: Sequence[Lane],
) -> NatsStats:
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
    """What is left when all has ended; the outboxes are emptied into it."""
    unpublished = {outbox.wire.name: tuple(outbox.left()) for outbox in outboxes}
    unpublished = {name: left for name, left in unpublished.items() if left}
    returned = {lane.wire.name: lane.returned_at_end for lane in lanes if lane.returned_at_end}
    lost = {outbox.wire.name: outbox.lost for outbox in outboxes if outbox.lost}
    refused = {outbox.wire.name: outbox.refusals for outbox in outboxes if outbox.refusals}
    complete = not (unpublished or returned or lost or refused)
    return DrainReport(complete, seconds, unpublished, returned, lost, refused)

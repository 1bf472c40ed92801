"""The sending side, for a type: a subscription with a limit, whose reader publishes and waits for acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

from haiway_bus import State, Subscription, SubscriptionOverflow, ctx
from haiway_bus.integrations._nats.bridge_errors import NatsEventRefused
from haiway_bus.integrations._nats.messages import (
    WireType,
    headers_of,
    payload_of,
    received,
    received_by,
)
from haiway_bus.integrations._nats.publisher import Letter, Publisher
from haiway_bus.integrations._nats.server_streams import ServerStreams

__all__ = ("Outbox",)


class Outbox:
    """Publishes the events of a type that are sent on the scope's bus, in the order sent.

    It takes up to `in_flight` events and comes back for more when all of them are acknowledged. So `ctx.flush(T)`
    returns when the server has all that was sent before. `on_the_way` holds the events that it has taken and not
    settled.
    """

    def __init__(
        self,
        wire: WireType,
        publisher: Publisher,
        streams: ServerStreams,
        *,
        origin: str,
        ids: count[int],
        limit: int,
        in_flight: int,
        traceparent: Callable[[], str],
        refused: Callable[[NatsEventRefused], None],
    ) -> None:
        self.wire = wire
        self.published: int = 0
        self.refusals: int = 0
        self.passed_over: int = 0
        self.on_the_way: list[State] = []
        self.subscription: Subscription[State] = ctx.subscribe(
            wire.event, limit=limit, overflow="raise"
        )
        self.limit = limit
        self._publisher = publisher
        self._subject = streams.subject(wire.name)
        self._origin = origin
        self._ids = ids
        self._in_flight = in_flight
        self._traceparent = traceparent
        self._refused = refused
        self._settled = asyncio.Event()
        self._ended = False
        self._told_lost = 0

    @property
    def waiting(self) -> int:
        """How many events wait to be published or acknowledged."""
        return self.subscription.pending + len(self.on_the_way)

    @property
    def lost(self) -> int:
        """How many events were lost because it was full, also those that its reader has not noticed yet."""
        return self.subscription.dropped

    def tell_lost(self) -> None:
        """Log what was lost since the last call."""
        lost = self.lost - self._told_lost
        if lost:
            self._told_lost = self.lost
            ctx.log_error(
                "%s events of %s were lost: the outbox was full, with %s events. Send slower (await ctx.flush), or give"
                " the bridge a larger outbox",
                lost,
                self.wire.name,
                self.limit,
            )

    async def run(self) -> None:
        """Publish until the subscription ends."""
        try:
            while not self.subscription.closed:
                await self._publish_all()
        finally:
            self._ended = True
            self._settled.set()

    async def drained(self, seconds: float) -> None:
        """Wait until no event waits, until `run` has ended, or for this many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.waiting and not self._ended:
                    await self._settled.wait()
                    self._settled.clear()

    def left(self) -> list[State]:
        """Take out what was not published. `run` must have ended."""
        events, self.on_the_way = list(self.on_the_way), []
        while True:
            try:
                events.append(self.subscription.receive_nowait())
            except SubscriptionOverflow:
                continue
            except asyncio.QueueEmpty:
                self.tell_lost()
                return [event for event in events if received_by(event) != self._origin]

    def letter(self, event: State) -> Letter | None:
        """Return the message of an event; None for an event that this bridge received.

        Raises:
            StateError: JSON cannot hold a value of the event.
        """
        hops = self._origin
        came = received(event)
        if came is None:
            message_id = f"{self._origin}-{next(self._ids)}"
            origin, traceparent = self._origin, self._traceparent()
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
        else:
            bridge = received_by(event)
            if bridge == self._origin or self._origin in came.hops:
                return None
            message_id, origin, traceparent = came.message_id, came.origin, came.traceparent
            time = "" if came.time is None else came.time.isoformat(timespec="milliseconds")
            hops = ",".join((*came.hops, bridge, self._origin))
        headers = headers_of(self.wire, message_id, origin, hops, time, traceparent)
        return Letter(self.wire.event, self._subject, payload_of(event), headers)

    async def _publish_all(self) -> None:
        """Publish until the subscription ends or has lost an event."""
        try:
            async for batch in self.subscription.batches(self._in_flight):
                self.on_the_way = batch
                self._settled.clear()
                await self._publish(batch)
                self.on_the_way = []
                self._settled.set()
        except SubscriptionOverflow:
            self.tell_lost()

    async def _publish(self, batch: list[State]) -> None:
        letters: list[Letter] = []
        events: list[State] = []
        for event in batch:
            try:
                letter = self.letter(event)
            except Exception as error:
                # JSON cannot hold the event, or `traceparent` raised. That refuses this event and not the others.
                self._refuse(event, error)
                continue
            if letter is None:
                self.passed_over += 1
                continue
            letters.append(letter)
            events.append(event)
        await self._publisher.deliver(letters)
        for event, letter in zip(events, letters, strict=True):
            if letter.refused is None:
                self.published += 1
            else:
                self._refuse(event, letter.refused)

    def _refuse(self, event: State, error: Exception) -> None:
        self.refusals += 1
        ctx.log_error("an event of %s was not published: %s", self.wire.name, error)
        self._refused(NatsEventRefused(event, error))

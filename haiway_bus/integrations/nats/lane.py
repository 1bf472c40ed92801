"""The way in, for one type: pulled from the server, sent on the bus, acknowledged when the local readers have it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations.nats.connection import LOST, Connection, backoff
from haiway_bus.integrations.nats.dead import DeadLetters
from haiway_bus.integrations.nats.errors import Undecodable
from haiway_bus.integrations.nats.pull import Broken, Pull, numbers
from haiway_bus.integrations.nats.received import Received, forget, remember
from haiway_bus.integrations.nats.streams import Streams
from haiway_bus.integrations.nats.wire import WireType, about, decode

__all__ = ("Lane", "LaneSettings")

MOST_HOPS: Final = 16
LOOK_SECONDS: Final = 0.05
SEND_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the lanes of one bridge have in common; see NatsBridge for what each means."""

    origin: str
    group: str
    durable: bool
    from_start: bool
    capacity: int
    ack_wait: float
    max_ack_pending: int
    max_deliveries: int
    heartbeat: float


class Lane:
    """Takes the events of one type for one group, for as long as somebody here reads them.

    Nothing is pulled while the type has no subscription in the scope: an event that is sent then is gone, and would
    be acknowledged. `in_hand` are the messages that were sent on the bus and are not acknowledged.
    While it is `closing` it must not be cancelled: nats-py's reading ends without a word when the answer to a flush
    comes that was cancelled.
    """

    def __init__(
        self,
        wire: WireType,
        settings: LaneSettings,
        connection: Connection,
        streams: Streams,
        dead: DeadLetters,
        *,
        own_subscriptions: int,
    ) -> None:
        self.wire = wire
        self.received: int = 0
        self.acknowledged: int = 0
        self.redelivered: int = 0
        self.echoes: int = 0
        self.returned: int = 0
        self.returned_at_end: int = 0
        self.dropped: int = 0
        self.stalls: int = 0
        self.in_hand: list[Msg] = []
        self.pull: Pull | None = None
        self.closing: bool = False
        self._settings = settings
        self._connection = connection
        self._streams = streams
        self._dead = dead
        self._own_subscriptions = own_subscriptions
        self._stopping = False
        self._silent = 0

    @property
    def waiting(self) -> int:
        """How many messages are here and not acknowledged."""
        return len(self.in_hand) + (0 if self.pull is None else len(self.pull.arrived))

    def stop(self) -> None:
        """Pull nothing more: what is on the bus is waited for, what has only arrived goes back to the server."""
        self._stopping = True
        if self.pull is not None:
            self.pull.wake()

    async def run(self) -> None:
        """Until stopped."""
        failures = 0
        while not self._stopping:
            if not self._readers():
                await asyncio.sleep(LOOK_SECONDS)
                continue
            client = await self._connection.ready()
            reason: object
            try:
                await self._serve(client)
                failures = 0
                continue
            except Broken as broken:
                reason = broken
                self.stalls += 1
                self._judge(client, broken)
            except LOST as error:
                reason = self._connection.redacted(error) or type(error).__name__
                self._streams.forget()
            ctx.log_info("%s are pulled anew from NATS: %s", self.wire.name, reason)
            await asyncio.sleep(backoff(failures, 0.05, 2.0))
            failures += 1

    def _judge(self, client: Client, broken: Broken) -> None:
        """Silence on a second pull as well: it is not the request that was lost, it is the connection."""
        heard = self.pull is not None and self.pull.heard
        self._silent = self._silent + 1 if broken.silent and not heard else 0
        if self._silent >= 2:
            self._silent = 0
            self._connection.doubt(client, f"{self.wire.name}: {broken}")

    async def _serve(self, client: Client) -> None:
        """Pull over this connection until there is nobody to pull for. Raises Broken or what a lost connection does."""
        settings = self._settings
        async with asyncio.timeout(SEND_SECONDS * 2):
            await self._streams.ensure(client)
            consumer = await self._streams.consumer(
                client,
                settings.group,
                self.wire.name,
                durable=settings.durable,
                from_start=settings.from_start,
                ack_wait=settings.ack_wait,
                max_ack_pending=settings.max_ack_pending,
            )
        subject = f"{self._streams.api}.CONSUMER.MSG.NEXT.{self._streams.stream}.{consumer}"
        pull = self.pull = Pull(client, subject, settings.heartbeat)
        try:
            await pull.open()
            while not self._stopping and self._readers():
                if client is not self._connection.client:
                    return
                free = settings.capacity - len(pull.arrived)
                async with asyncio.timeout(SEND_SECONDS):
                    await pull.top_up(free, settings.capacity)
                self.in_hand = await pull.take(max(settings.capacity // 2, 1))
                if self.in_hand and not await self._hand_over(self.in_hand):
                    return
        finally:
            self.closing = True
            # In this order: what is given back while a request stands is delivered to that at once, here.
            if not await pull.close():
                self._connection.drop(client, "no answer to a flush")
            left = [*self.in_hand, *pull.arrived]
            pull.arrived.clear()
            await self._give_back(left)
            self.in_hand = []
            self.closing = False

    async def _hand_over(self, batch: list[Msg]) -> bool:
        """Send what came on the bus; acknowledge it, and return True, when the local readers have taken it."""
        if not self._readers():
            return False
        messages: list[Msg] = []
        events: list[object] = []
        try:
            for message in batch:
                event = await self._event_of(message)
                if event is not None:
                    messages.append(message)
                    events.append(event)
            self.in_hand = messages
            if events and not await self._on_the_bus(events):
                return False
        finally:
            for event in events:
                forget(event)
        await self._acknowledge(messages)
        self.in_hand = []
        return True

    async def _event_of(self, message: Msg) -> object | None:
        """The message's event, noted as received; None when the message was done with another way."""
        sequence, delivered = numbers(message.reply)
        headers = message.headers or {}
        known = about(headers, sequence, delivered)
        self.received += 1
        self.redelivered += delivered > 1
        if self._settings.origin in known.hops:
            self.echoes += 1
            await self._acknowledge([message])
            return None
        try:
            self._check(known)
            event = decode(self.wire, headers, message.data)
        except Undecodable as reason:
            group = self._settings.group
            if await self._dead.bury(self.wire, group, message, known, str(reason)):
                await self._acknowledge([message])
            return None
        remember(event, known, self._settings.origin)
        return event

    def _check(self, known: Received) -> None:
        if known.delivered > self._settings.max_deliveries:
            raise Undecodable(
                f"delivered {known.delivered} times to this group and never acknowledged: more than"
                f" {self._settings.max_deliveries} is taken for an event that ends whoever handles it"
            )
        if len(known.hops) > MOST_HOPS:
            raise Undecodable(
                f"it went over {len(known.hops)} bridges: more than {MOST_HOPS} are taken for a ring"
            )

    async def _on_the_bus(self, events: Sequence[object]) -> bool:
        """Send them, and return when every local subscription has taken them: whether there still is one."""
        dropped = self._dropped()
        for event in events:
            ctx.send(event)
        while True:
            try:
                await ctx.flush(self.wire.event, timeout=min(self._settings.ack_wait / 3, 0.5))
                break
            except TimeoutError:
                if self._stopping:
                    return False
                await self._still_at_it()
        lost = self._dropped() - dropped
        if lost > 0:
            self.dropped += lost
            ctx.log_warning(
                "a local subscription with a limit dropped %s of %s received events of %s: give the bridge a capacity"
                " of at most twice that limit, or the subscription a larger one",
                lost,
                len(events),
                self.wire.name,
            )
        # Subscriptions that ended count as having taken all. When none is left, they ended with the scope or its
        # failure, and nobody knows what they took.
        return self._readers() > 0

    async def _still_at_it(self) -> None:
        """Have the server wait: the local readers are slow, and not gone."""
        arrived = [] if self.pull is None else list(self.pull.arrived)
        with suppress(*LOST):
            async with asyncio.timeout(SEND_SECONDS):
                for message in (*self.in_hand, *arrived):
                    await message.in_progress()

    async def _acknowledge(self, messages: Sequence[Msg]) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            for message in messages:
                await message.ack()
                self.acknowledged += 1

    async def _give_back(self, messages: Sequence[Msg]) -> None:
        """Have the server deliver them again now, and not only when the time for their acknowledgement is over."""
        left = [message for message in messages if not message.is_acked]
        self.returned += len(left)
        if self._stopping:
            self.returned_at_end += len(left)
        with suppress(*LOST):
            async with asyncio.timeout(SEND_SECONDS):
                for message in left:
                    await message.nak()

    def _readers(self) -> int:
        """How many subscriptions of the type there are, that of the bridge's own outbox not counted."""
        stats = ctx.events().get(self.wire.event)
        return 0 if stats is None else stats.subscriptions - self._own_subscriptions

    def _dropped(self) -> int:
        stats = ctx.events().get(self.wire.event)
        return 0 if stats is None else stats.dropped

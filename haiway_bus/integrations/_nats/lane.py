"""The way in, for one type: pulled from the server, sent on the bus, acknowledged when the local readers have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations._nats.bridge_errors import Undecodable, reason_of
from haiway_bus.integrations._nats.connection import LOST, Connection, backoff
from haiway_bus.integrations._nats.dead_letters import DeadLetters
from haiway_bus.integrations._nats.deliveries import Tries
from haiway_bus.integrations._nats.messages import WireType, about, decode
from haiway_bus.integrations._nats.progress import Progress
from haiway_bus.integrations._nats.pull import Broken, Pull, numbers, pending
from haiway_bus.integrations._nats.readers import Readers
from haiway_bus.integrations._nats.received import remember
from haiway_bus.integrations._nats.server_streams import Streams
from haiway_bus.integrations._nats.settings import LaneSettings

__all__ = ("Lane",)

MOST_HOPS: Final = 16
LOOK_SECONDS: Final = 0.05
SEND_SECONDS: Final = 5.0
GATHER_SECONDS: Final = 0.3
WARN_SECONDS: Final = 10.0


class Lane:
    """Takes the events of one type for one group, for as long as somebody here reads them.

    Nothing is pulled while the type has no subscription in the scope: an event that is sent then is gone, and would
    be acknowledged. `in_hand` are the messages that were taken from the pull and are not acknowledged, `handed` those
    of them that were sent on the bus. `width` is how many are asked for: one at first, and few while some come that
    were tried before, so that a process which dies of one takes few others along.
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
        readers: Readers,
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
        self.handed: list[Msg] = []
        self.width: int = 1
        self.pull: Pull | None = None
        self.closing: bool = False
        self._settings = settings
        self._connection = connection
        self._streams = streams
        self._dead = dead
        self.readers = readers
        self._tries = Tries(settings.max_deliveries)
        self._progress = Progress()
        self._stopping = False
        self._silent = 0
        self._most = settings.capacity
        self._warned_at = -WARN_SECONDS
        # When the server was last told to wait for all that is here, or had to wait for nothing.
        self._renewed = 0.0

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
            if not self.readers.count() or self.readers.breaking_off:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            client = await self._connection.ready()
            reason: object
            log = ctx.log_info
            try:
                await self._serve(client)
                failures = 0
                continue
            except Broken as broken:
                reason = broken
                self.stalls += 1
                self._judge(client, broken)
                log = self._log_of(broken)
            except LOST as error:
                reason = self._connection.redacted(error) or type(error).__name__
                self._streams.forget()
            log("%s are pulled anew from NATS: %s", self.wire.name, reason)
            await asyncio.sleep(backoff(failures, 0.05, 2.0))
            failures += 1

    def _judge(self, client: Client, broken: Broken) -> None:
        """Silence on a second pull as well: it is not the request that was lost, it is the connection."""
        heard = self.pull is not None and self.pull.heard
        self._silent = self._silent + 1 if broken.silent and not heard else 0
        if self._silent >= 2:
            self._silent = 0
            self._connection.doubt(client, f"{self.wire.name}: {broken}")

    def _log_of(self, broken: Broken) -> Callable[..., None]:
        """How loudly to tell of it: a refusal is for somebody to see to, and comes again and again."""
        if not broken.refused:
            return ctx.log_info
        if "batch" in str(broken).lower():
            self._most = max(self.width // 2, 1)  # whoever made the consumer wants smaller requests
        now = asyncio.get_running_loop().time()
        if now - self._warned_at < WARN_SECONDS:
            return ctx.log_debug
        self._warned_at = now
        return ctx.log_warning

    async def _serve(self, client: Client) -> None:
        """Pull over this connection until there is nobody to pull for. Raises Broken or what a lost connection does."""
        settings = self._settings
        async with asyncio.timeout(SEND_SECONDS * 2):
            await self._streams.ensure(client)
            after = self._progress.after
            consumer, last = await self._streams.consumer(client, settings, self.wire.name, after)
            self._progress.begin(last)
        subject = f"{self._streams.api}.CONSUMER.MSG.NEXT.{self._streams.stream}.{consumer}"
        pull = self.pull = Pull(client, subject, settings.heartbeat)
        self.width = 1
        try:
            await pull.open()
            while not self._stopping and self.readers.count():
                if client is not self._connection.client:
                    return
                async with asyncio.timeout(SEND_SECONDS):
                    await pull.top_up(self.width - len(pull.arrived), self.width)
                if not pull.arrived:
                    self._renewed = asyncio.get_running_loop().time()
                batch = self.in_hand = await pull.take(max(settings.capacity // 2, 1))
                if batch:
                    narrow, self.width = self.width, self._tries.width(batch, self._most)
                    if narrow < self.width == self._most:
                        # What has to be delivered again comes first: there is nothing of the kind.
                        await self._gather(pull)
                for part in self._tries.parts(self.in_hand):
                    if not await self._hand_over(part):
                        return
                    if asyncio.get_running_loop().time() - self._renewed > settings.ack_wait / 3:
                        await self._still_at_it()
        finally:
            self.closing = True
            # In this order: what is given back while a request stands is delivered to that at once, here.
            if not await pull.close():
                self._connection.drop(client, "no answer to a flush")
            left = [*self.in_hand, *pull.arrived]
            pull.arrived.clear()
            await self._give_back(left)
            self.in_hand = []
            self.handed = []
            self.closing = False

    async def _gather(self, pull: Pull) -> None:
        """Ask for as many as there is room for, and have what comes at once go over with the one that is here."""
        room = min(max(self.width // 2, 1) - len(self.in_hand), pending(self.in_hand[-1].reply))
        async with asyncio.timeout(SEND_SECONDS):
            await pull.top_up(self.width - len(self.in_hand), self.width)
        self.in_hand += await pull.gather(room, GATHER_SECONDS)

    async def _hand_over(self, batch: Sequence[Msg]) -> bool:
        """Send what came on the bus; acknowledge it, and return True, when the local readers have taken it."""
        if not self.readers.count() or self.readers.breaking_off:
            return False
        messages: list[Msg] = []
        events: list[object] = []
        try:
            for message in batch:
                event = await self._event_of(message)
                if event is not None:
                    messages.append(message)
                    events.append(event)
            self.in_hand = [message for message in self.in_hand if not message.is_acked]
            self.handed = messages
            if events and not await self._on_the_bus(events):
                return False
        finally:
            self.readers.done_with(events)
        await self._acknowledge(messages)
        self.in_hand = [message for message in self.in_hand if not message.is_acked]
        self.handed = []
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
            self._tries.check(message)
            if len(known.hops) > MOST_HOPS:
                raise Undecodable(
                    f"it went over {len(known.hops)} bridges: more than {MOST_HOPS} are taken for a ring"
                )
            event = decode(self.wire, headers, message.data)
        except Exception as error:
            # Also what the class's own checks raise, or a nesting too deep: no message may end the scope.
            reason = reason_of(error)
            if await self._dead.bury(self.wire, self._settings.group, message, known, reason):
                await self._acknowledge([message])
            return None
        remember(event, known, self._settings.origin)
        return event

    async def _on_the_bus(self, events: Sequence[object]) -> bool:
        """Send them, and return when every local subscription has taken them: whether there still is one."""
        before, dropped = self.readers.count(), self.readers.dropped()
        for event in events:
            ctx.send(event)
        while True:
            try:
                await self.readers.caught_up(min(self._settings.ack_wait / 3, 0.5))
                break
            except TimeoutError:
                if self._stopping or self.readers.breaking_off:
                    return False
                await self._still_at_it()
        lost = self.readers.dropped() - dropped
        if lost > 0:
            self.dropped += lost
            ctx.log_warning(
                "a local subscription with a limit dropped %s of %s received events of %s: give the bridge a capacity"
                " of at most twice that limit, or the subscription a larger one",
                lost,
                len(events),
                self.wire.name,
            )
        return await self.readers.have_taken(before)

    async def _still_at_it(self) -> None:
        """Have the server wait: the local readers are slow, and not gone."""
        self._renewed = asyncio.get_running_loop().time()
        arrived = [] if self.pull is None else list(self.pull.arrived)
        with suppress(*LOST):
            async with asyncio.timeout(SEND_SECONDS):
                for message in (*self.in_hand, *arrived):
                    await message.in_progress()

    async def _acknowledge(self, messages: Sequence[Msg]) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            for message in messages:
                await message.ack()
                self._tries.forget(message)
                self._progress.acknowledged(numbers(message.reply)[0])
                self.acknowledged += 1

    async def _give_back(self, messages: Sequence[Msg]) -> None:
        """Have the server deliver them again now, and not only when the time for their acknowledgement is over."""
        left = [message for message in messages if not message.is_acked]
        self.returned += len(left)
        if self._stopping:
            self.returned_at_end += len(left)
        handed = set(map(id, self.handed))
        for message in left:
            if id(message) not in handed:
                self._tries.spare(message)
            # Of a durable one others of the group may take it, and the server knows.
            if not self._settings.durable:
                self._progress.given_back(numbers(message.reply)[0])
        with suppress(*LOST):
            async with asyncio.timeout(SEND_SECONDS):
                for message in left:
                    await message.nak()

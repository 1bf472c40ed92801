"""The receiving side, for a type: pull messages, send their events on the bus, acknowledge when they are handled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations._nats.connection import Connection
from haiway_bus.integrations._nats.dead_letters import DeadLetters
from haiway_bus.integrations._nats.decoding import Undecodable, decode, reason_of
from haiway_bus.integrations._nats.deliveries import StreamPosition, Tries
from haiway_bus.integrations._nats.messages import WireType, about, remember
from haiway_bus.integrations._nats.options import LaneOptions
from haiway_bus.integrations._nats.pull import Broken, Pull, numbers, pending
from haiway_bus.integrations._nats.readers import Readers
from haiway_bus.integrations._nats.server_errors import LOST, backoff
from haiway_bus.integrations._nats.server_streams import ServerStreams

__all__ = ("Lane",)

MOST_HOPS: Final = 16
LOOK_SECONDS: Final = 0.05
SEND_SECONDS: Final = 5.0
GATHER_SECONDS: Final = 0.3
WARN_SECONDS: Final = 10.0


class Lane:
    """Takes the events of a type for a group, as long as the scope has a reader for them.

    It pulls nothing while the scope has no subscription of the type: an event would be acknowledged, and lost.

    Attributes:
        in_hand: The messages that were taken from the pull and are not acknowledged.
        handed: Those of them that were sent on the bus.
        width: How many messages to ask for. It is 1 at first, and low while messages come that were tried before: a
            message that ends the process should take few others along.
        closing: It must not be cancelled now: nats-py stops reading when the answer to a cancelled flush comes.
    """

    def __init__(
        self,
        wire: WireType,
        options: LaneOptions,
        connection: Connection,
        streams: ServerStreams,
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
        self._options = options
        self._connection = connection
        self._streams = streams
        self._dead = dead
        self.readers = readers
        self._tries = Tries(options.max_deliveries)
        self._position = StreamPosition()
        self._silent, self._stopping = 0, False
        self._most = options.capacity
        self._warned_at = -WARN_SECONDS
        # When the server was last told to wait for all that is here, or there was nothing to wait for.
        self._renewed = 0.0

    @property
    def waiting(self) -> int:
        """How many messages are here and not acknowledged."""
        return len(self.in_hand) + (0 if self.pull is None else len(self.pull.arrived))

    def stop(self) -> None:
        """Pull nothing more. Wait for what is on the bus; give what has only arrived back to the server."""
        self._stopping = True
        if self.pull is not None:
            self.pull.wake()

    async def run(self) -> None:
        """Receive until stopped."""
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
            log("pulling %s from NATS again: %s", self.wire.name, reason)
            await asyncio.sleep(backoff(failures, 0.05, 2.0))
            failures += 1

    def _judge(self, client: Client, broken: Broken) -> None:
        """Give up the connection when two pulls in a row are silent: then it is not a request that was lost."""
        heard = self.pull is not None and self.pull.heard
        self._silent = self._silent + 1 if broken.silent and not heard else 0
        if self._silent >= 2:
            self._silent = 0
            self._connection.doubt(client, f"{self.wire.name}: {broken}")

    def _log_of(self, broken: Broken) -> Callable[..., None]:
        """Return the log level: warn of a refusal, which somebody must look at, but not at each repetition."""
        if not broken.refused:
            return ctx.log_info
        if "batch" in str(broken).lower():
            self._most = max(
                self.width // 2, 1
            )  # the consumer was made with a limit on the size of requests
        now = asyncio.get_running_loop().time()
        if now - self._warned_at < WARN_SECONDS:
            return ctx.log_debug
        self._warned_at = now
        return ctx.log_warning

    async def _serve(self, client: Client) -> None:
        """Pull over this connection until no reader is left. Raise Broken when the pull brings nothing more."""
        options = self._options
        async with asyncio.timeout(SEND_SECONDS * 2):
            await self._streams.ensure(client)
            after = self._position.after
            consumer, last = await self._streams.consumer(client, options, self.wire.name, after)
            self._position.begin(last)
        subject = f"{self._streams.api}.CONSUMER.MSG.NEXT.{self._streams.stream}.{consumer}"
        pull = self.pull = Pull(client, subject, options.heartbeat)
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
                batch = self.in_hand = await pull.take(max(options.capacity // 2, 1))
                if batch:
                    narrow, self.width = self.width, self._tries.width(batch, self._most)
                    if narrow < self.width == self._most:
                        # The server delivers again first, so there is nothing to deliver again: take many from now on.
                        await self._gather(pull)
                for part in self._tries.parts(self.in_hand):
                    if not await self._hand_over(part):
                        return
                    if asyncio.get_running_loop().time() - self._renewed > options.ack_wait / 3:
                        await self._still_at_it()
        finally:
            self.closing = True
            # Close first: a message that is given back during a request comes back to that request at once.
            if not await pull.close():
                self._connection.drop(client, "no answer to a flush")
            left = [*self.in_hand, *pull.arrived]
            pull.arrived.clear()
            await self._give_back(left)
            self.in_hand = []
            self.handed = []
            self.closing = False

    async def _gather(self, pull: Pull) -> None:
        """Ask for as many as there is room for, and hand over what comes at once together with what is here."""
        room = min(max(self.width // 2, 1) - len(self.in_hand), pending(self.in_hand[-1].reply))
        async with asyncio.timeout(SEND_SECONDS):
            await pull.top_up(self.width - len(self.in_hand), self.width)
        self.in_hand += await pull.gather(room, GATHER_SECONDS)

    async def _hand_over(self, batch: Sequence[Msg]) -> bool:
        """Send the events; acknowledge the messages when the readers have handled them. Return whether they have."""
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
        """Return the message's event, noted as received; None if the message makes none and is done."""
        sequence, delivered = numbers(message.reply)
        headers = message.headers or {}
        source = about(headers, sequence, delivered)
        self.received += 1
        self.redelivered += delivered > 1
        if self._options.origin in source.hops:
            self.echoes += 1
            await self._acknowledge([message])
            return None
        try:
            self._tries.check(message)
            if len(source.hops) > MOST_HOPS:
                raise Undecodable(
                    f"it passed {len(source.hops)} bridges: more than {MOST_HOPS} mean that the bridges form a ring"
                )
            event = decode(self.wire, headers, message.data)
        except Exception as error:
            # Any error, also of the class's own checks or of a nesting too deep: no message may end the scope.
            reason = reason_of(error)
            if await self._dead.bury(self.wire, self._options.group, message, source, reason):
                await self._acknowledge([message])
            return None
        remember(event, source, self._options.origin)
        return event

    async def _on_the_bus(self, events: Sequence[object]) -> bool:
        """Send the events and wait for every local subscription. Return whether the readers have handled them."""
        before, dropped = self.readers.count(), self.readers.dropped()
        for event in events:
            ctx.send(event)
        while True:
            try:
                await self.readers.caught_up(min(self._options.ack_wait / 3, 0.5))
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
                " of at most twice that limit, or the subscription a larger limit",
                lost,
                len(events),
                self.wire.name,
            )
        return await self.readers.have_taken(before)

    async def _still_at_it(self) -> None:
        """Tell the server to wait: the local readers are slow, not gone."""
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
                self._position.acknowledged(numbers(message.reply)[0])
                self.acknowledged += 1

    async def _give_back(self, messages: Sequence[Msg]) -> None:
        """Ask the server to deliver these messages again now, before the time for their acknowledgement is over."""
        left = [message for message in messages if not message.is_acked]
        self.returned += len(left)
        if self._stopping:
            self.returned_at_end += len(left)
        handed = set(map(id, self.handed))
        for message in left:
            if id(message) not in handed:
                self._tries.spare(message)
            # Another process of a durable group may take it, and the server remembers it.
            if not self._options.durable:
                self._position.given_back(numbers(message.reply)[0])
        with suppress(*LOST):
            async with asyncio.timeout(SEND_SECONDS):
                for message in left:
                    await message.nak()

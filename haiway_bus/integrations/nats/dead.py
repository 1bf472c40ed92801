"""Dead letters: what cannot be taken as an event is kept on the server, with the reason, and stops nothing."""

from __future__ import annotations

from typing import Final

from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations.nats.publisher import Letter, Publisher
from haiway_bus.integrations.nats.received import Received
from haiway_bus.integrations.nats.streams import Streams
from haiway_bus.integrations.nats.wire import CARRIED, MESSAGE_ID, WireType

__all__ = ("DeadLetters",)

REASON: Final = "Haiway-Dead-Reason"
GROUP: Final = "Haiway-Dead-Group"
ORIGINAL: Final = "Haiway-Dead-Message-Id"
SEQUENCE: Final = "Haiway-Dead-Sequence"
TRUNCATED: Final = "Haiway-Dead-Truncated"
MOST: Final = 1000


class DeadLetters:
    """Publishes the dead letters of a bridge and counts them."""

    def __init__(self, publisher: Publisher, streams: Streams) -> None:
        self.count: int = 0
        self._publisher = publisher
        self._streams = streams

    async def bury(
        self, wire: WireType, group: str, message: Msg, known: Received, reason: str
    ) -> None:
        """Return when the server has the dead letter, so that the message itself may be acknowledged."""
        self.count += 1
        reason = " ".join(reason.split())[:MOST]
        ctx.log_error(
            "the message %s on %s is no event here and becomes a dead letter: %s",
            known.message_id[:MOST],
            message.subject,
            reason,
        )
        letter = self._letter(wire, group, message, known, reason, message.data)
        await self._publisher.deliver([letter])
        if letter.refused is not None:
            # The headers made it too large: what remains says where the original stands in the stream.
            letter = self._letter(wire, group, message, known, reason, b"")
            letter.headers[TRUNCATED] = str(len(message.data))
            await self._publisher.deliver([letter])

    def _letter(
        self, wire: WireType, group: str, message: Msg, known: Received, reason: str, body: bytes
    ) -> Letter:
        # Only the headers of the wire format are taken over, by name: those of the server's own ("Nats-...") are
        # orders to it, and of any other the sender may have made a name that no client sends, or 64 KiB.
        given = message.headers or {}
        headers = {name: given[name][:MOST] for name in CARRIED if name in given}
        headers |= {
            # The same message buried again, after a lost acknowledgement, is one dead letter.
            MESSAGE_ID: f"dead-{group}-{known.sequence}-{wire.name}",
            REASON: reason,
            GROUP: group,
            ORIGINAL: known.message_id[:MOST],
            SEQUENCE: str(known.sequence),
        }
        return Letter(wire.event, self._streams.dead_subject(wire.name), body, headers)

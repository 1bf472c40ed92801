"""Dead letters: what cannot be taken as an event is kept on the server, with the reason, and stops nothing."""

from __future__ import annotations

from typing import Final

from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations._nats.messages import CARRIED, MESSAGE_ID, WireType
from haiway_bus.integrations._nats.publisher import Letter, Publisher
from haiway_bus.integrations._nats.received import Received
from haiway_bus.integrations._nats.server_streams import Streams

__all__ = ("DeadLetters",)

REASON: Final = "Haiway-Dead-Reason"
GROUP: Final = "Haiway-Dead-Group"
ORIGINAL: Final = "Haiway-Dead-Message-Id"
SEQUENCE: Final = "Haiway-Dead-Sequence"
TRUNCATED: Final = "Haiway-Dead-Truncated"
MOST: Final = 1000
# Of the reason, in a dead letter that is to be as small as one can be.
LEAST: Final = 100


class DeadLetters:
    """Publishes the dead letters of a bridge and counts them."""

    def __init__(self, publisher: Publisher, streams: Streams) -> None:
        self.count: int = 0
        self._publisher = publisher
        self._streams = streams

    async def bury(
        self, wire: WireType, group: str, message: Msg, known: Received, reason: str
    ) -> bool:
        """Return when the server has the dead letter, or has refused it for good: whether it has it, and the message
        itself may be acknowledged.
        """
        reason = " ".join(reason.split())[:MOST]
        ctx.log_error(
            "the message %s on %s is no event here and becomes a dead letter: %s",
            known.message_id[:MOST],
            message.subject,
            reason,
        )
        # Only the headers of the wire format are taken over, by name: those of the server's own ("Nats-...") are
        # orders to it, and of any other the sender may have made a name that no client sends, or 64 KiB.
        given = message.headers or {}
        carried = {name: given[name][:MOST] for name in CARRIED if name in given}
        # The same message buried again, after a lost acknowledgement, is one dead letter.
        own = {
            MESSAGE_ID: f"dead-{group}-{known.sequence}-{wire.name}",
            REASON: reason,
            GROUP: group,
            SEQUENCE: str(known.sequence),
        }
        whole = carried | own | {ORIGINAL: known.message_id}
        # Each smaller than the one before. The last says why, and where the original stands in the stream.
        cut = {TRUNCATED: str(len(message.data))}
        forms = (
            (whole, message.data),
            (whole | cut, b""),
            (own | cut | {REASON: reason[:LEAST]}, b""),
        )
        refused: Exception | None = None
        for headers, body in forms:
            letter = Letter(wire.event, self._streams.dead_subject(wire.name), body, headers)
            await self._publisher.deliver([letter])
            refused = letter.refused
            if refused is None:
                self.count += 1
                return True
        ctx.log_error(
            "the dead letter of the message %s in the stream is refused by the server, however small: %s. The message"
            " is not acknowledged, and comes again",
            known.sequence,
            refused,
        )
        return False

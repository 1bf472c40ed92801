"""Dead letters: a message that makes no event is kept on the server, with the reason, and the stream goes on."""

from __future__ import annotations

from typing import Final

from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations._nats.messages import CARRIED, MESSAGE_ID, Received, WireType
from haiway_bus.integrations._nats.publisher import Letter, Publisher
from haiway_bus.integrations._nats.server_streams import ServerStreams

__all__ = ("DeadLetters",)

REASON: Final = "Haiway-Dead-Reason"
GROUP: Final = "Haiway-Dead-Group"
ORIGINAL: Final = "Haiway-Dead-Message-Id"
SEQUENCE: Final = "Haiway-Dead-Sequence"
TRUNCATED: Final = "Haiway-Dead-Truncated"
LONGEST_HEADER: Final = 1000
# How much of the reason the smallest dead letter has.
SHORTEST_REASON: Final = 100


class DeadLetters:
    """Publishes the dead letters of a bridge and counts them."""

    def __init__(self, publisher: Publisher, streams: ServerStreams) -> None:
        self.count: int = 0
        self._publisher = publisher
        self._streams = streams

    async def bury(
        self, wire: WireType, group: str, message: Msg, known: Received, reason: str
    ) -> bool:
        """Publish the dead letter of a message, smaller if the server refuses the whole.

        Returns:
            True when the server has the dead letter, so that the message itself may be acknowledged. False when the
            server has refused it for good.
        """
        reason = " ".join(reason.split())[:LONGEST_HEADER]
        ctx.log_error(
            "the message %s on %s is no event here and becomes a dead letter: %s",
            known.message_id[:LONGEST_HEADER],
            message.subject,
            reason,
        )
        # Copy only the headers of the message format. Headers of the server ("Nats-...") are orders to it, and any
        # other header may have a name that no client sends, or be 64 KiB long.
        given = message.headers or {}
        carried = {name: given[name][:LONGEST_HEADER] for name in CARRIED if name in given}
        # When an acknowledgement is lost, the message comes again. Its second dead letter has the same id, so the
        # server stores a single one.
        own = {
            MESSAGE_ID: f"dead-{group}-{known.sequence}-{wire.name}",
            REASON: reason,
            GROUP: group,
            SEQUENCE: str(known.sequence),
        }
        whole = carried | own | {ORIGINAL: known.message_id}
        # Three forms, each smaller than the form before. The last still has the reason and the original's place in
        # the stream.
        cut = {TRUNCATED: str(len(message.data))}
        forms = (
            (whole, message.data),
            (whole | cut, b""),
            (own | cut | {REASON: reason[:SHORTEST_REASON]}, b""),
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

"""What the bridge raises of its own, each class with the one reason for it, and the event that tells of a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from haiway_bus.printable import name_of_type, text_of

__all__ = (
    "BridgeFailed",
    "NatsBridgeError",
    "NatsConnectionRefused",
    "NatsEventRefused",
    "NatsPayloadTooLarge",
    "Undecodable",
    "reason_of",
)


class NatsBridgeError(RuntimeError):
    """Raised when the bridge cannot do its work: no server in time, a stream that does not fit, a task that ended."""


class NatsConnectionRefused(NatsBridgeError):  # noqa: N818 - says what happened
    """Raised when a server answered and will not have us: credentials, TLS. Trying again changes nothing."""


class NatsPayloadTooLarge(NatsBridgeError):  # noqa: N818 - says what happened
    """Raised for an event whose message is larger than the server takes.

    `event_type` is its class, `size` the bytes of its message with headers, `limit` the most the server takes.
    """

    def __init__(self, event_type: type[object], size: int, limit: int) -> None:
        super().__init__(event_type, size, limit)
        self.event_type = event_type
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"an event of {name_of_type(self.event_type)} makes a message of {self.size} bytes, the server takes at"
            f" most {self.limit}: send less in it (a reference to where the data lies), or raise max_payload there"
        )


class Undecodable(Exception):  # noqa: N818 - a signal within the package
    """Raised inside the package for a message that makes no event; its text is the reason in the dead letter."""


def reason_of(error: Exception) -> str:
    """What a dead letter says of an error, in characters that a header can carry."""
    # It may be an exception of the user's own, raised by a predicate or an upcaster.
    text = text_of(error)
    if not isinstance(error, Undecodable):
        text = f"{name_of_type(type(error))}: {text}"
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class NatsEventRefused:
    """Sent on the scope's bus when an event of its own cannot be published and will not be tried again.

    event: the event as it was sent. error: why; NatsPayloadTooLarge for one that is too large.
    """

    event: object
    error: Exception


@dataclass(frozen=True, slots=True, eq=False)
class BridgeFailed:
    """Sent on the scope's bus so that the scope fails with the error: see NatsBridge._watch."""

    bridge: object
    error: BaseException

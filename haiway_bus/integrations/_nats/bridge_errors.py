"""What users see of a bridge's trouble: its exceptions, and the event that tells them about a refused event."""

from __future__ import annotations

from dataclasses import dataclass

from haiway_bus._common.printable import name_of_type

__all__ = ("NatsBridgeError", "NatsConnectionRefused", "NatsEventRefused", "NatsPayloadTooLarge")


class NatsBridgeError(RuntimeError):
    """Raised when the bridge cannot work: no server in time, a stream that does not fit, a task that ended."""


class NatsConnectionRefused(NatsBridgeError):  # noqa: N818 - says what happened
    """Raised when a server answers and refuses the connection: credentials, TLS. Trying again changes nothing."""


class NatsPayloadTooLarge(NatsBridgeError):  # noqa: N818 - says what happened
    """Raised for an event whose message is larger than the server accepts.

    Attributes:
        event_type: The class of the event.
        size: The bytes of its message, headers included.
        limit: The most bytes that the server accepts.
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


@dataclass(frozen=True, slots=True)
class NatsEventRefused:
    """Sent on the scope's bus when an event cannot be published and will not be tried again.

    Attributes:
        event: The event as it was sent.
        error: The reason, NatsPayloadTooLarge for an event that is too large.
    """

    event: object
    error: Exception

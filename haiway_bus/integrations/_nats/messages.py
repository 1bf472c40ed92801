"""The message format: an event is a NATS message with a JSON body and headers.

Here is what goes into a message, and what its headers tell about an event that arrived. `decoding` makes the event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from haiway_bus import State
from haiway_bus._common.arguments import is_class
from haiway_bus._common.printable import described, name_of_type

__all__ = (
    "CARRIED",
    "HOPS",
    "MESSAGE_ID",
    "TYPE",
    "VERSION",
    "Received",
    "Upcaster",
    "WireType",
    "about",
    "forget",
    "headers_of",
    "payload_of",
    "received",
    "received_by",
    "remember",
    "wire_type",
)

# The server's own name for the header: it drops a second message with the same id.
MESSAGE_ID: Final = "Nats-Msg-Id"
TYPE: Final = "Haiway-Type"
VERSION: Final = "Haiway-Version"
ORIGIN: Final = "Haiway-Origin"
HOPS: Final = "Haiway-Hops"
TIME: Final = "Haiway-Time"
TRACEPARENT: Final = "traceparent"
CARRIED: Final[tuple[str, ...]] = (TYPE, VERSION, ORIGIN, HOPS, TIME, TRACEPARENT)
"""The headers that describe the event. They stay with it wherever it is passed on."""

# Limits for headers from other programs. A bridge writes shorter headers. Whatever is passed on must fit, together with
# its hops, into the 64 KiB of headers that a server accepts.
LONGEST: Final = 256
HOPS_READ: Final = 64

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the plain data of one version into the data of the next version."""

# The name is part of a subject, of a consumer's name and of a header.
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class WireType:
    """How the events of a class travel.

    Attributes:
        event: The class, a State.
        name: The name on the wire, the same in every process. By default it is the name of the class.
        version: The version of the class's fields, from 1 up.
        upcasters: By version, a function that turns the plain data of that version into the data of the next. A version
            without an upcaster is read as it is: unknown fields are ignored, missing fields get their defaults.

    Raises:
        TypeError: The class is no State.
        ValueError: The name or the version is not allowed.
    """

    event: type[State]
    name: str = ""
    version: int = 1
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given: Any = self.event
        if not (is_class(given) and issubclass(given, State)):
            raise TypeError(
                f"the bridge carries classes of State, not {described(given)}: derive it from State"
            )
        if not self.name:
            object.__setattr__(self, "name", name_of_type(self.event, qualified=False))
        if not (issubclass(type(self.name), str) and NAME.fullmatch(self.name)):
            raise ValueError(
                "a type's name on the wire is letters, digits, '_' and '-', at most 100, not"
                f" {described(self.name)}: give another, WireType(event, name=...)"
            )
        if not issubclass(type(self.version), int) or not 1 <= self.version < 10**9:
            raise ValueError(
                f"a type's version is a number from 1 up, not {described(self.version)}"
            )


def wire_type(given: type[State] | WireType) -> WireType:
    """Return a WireType as it is, and for a class its WireType."""
    return given if isinstance(given, WireType) else WireType(given)


def payload_of(event: State) -> bytes:
    """Return the body of the event's message.

    Raises:
        StateError: JSON in UTF-8 cannot hold a value of the event.
    """
    return event.to_json_bytes()


def headers_of(
    wire: WireType, message_id: str, origin: str, hops: str, time: str, traceparent: str
) -> dict[str, str]:
    """Return the headers of a message with an event of this type."""
    return {
        MESSAGE_ID: message_id,
        TYPE: wire.name,
        VERSION: str(wire.version),
        ORIGIN: origin,
        HOPS: hops,
        TIME: time,
        TRACEPARENT: traceparent,
    }


class Received(NamedTuple):
    """Where an event came from.

    Attributes:
        message_id: The publisher's id for the event. It is the same at every delivery.
        origin: The id of the bridge that published it first.
        hops: The ids of the bridges that it passed, the first publisher first.
        time: When it was published first, by the publisher's clock; None if the message does not say.
        traceparent: The W3C trace context of the publisher's scope; empty if the message has none.
        sequence: Its number in the stream. Two deliveries with the same number are a redelivery.
        delivered: How many times the server has delivered it to this group, this delivery included.
    """

    message_id: str
    origin: str
    hops: tuple[str, ...]
    time: datetime | None
    traceparent: str
    sequence: int
    delivered: int


def about(headers: Mapping[str, str], sequence: int, delivered: int) -> Received:
    """Return what the headers say about a message, cut to a length that can be passed on.

    A message without an id gets an id from its sequence. An id that is too long becomes its digest, not its beginning,
    so that two ids never become the same.
    """
    message_id = headers.get(MESSAGE_ID) or f"sequence-{sequence}"
    if len(message_id) > LONGEST:
        message_id = f"sha256-{sha256(message_id.encode(errors='replace')).hexdigest()}"
    traceparent = headers.get(TRACEPARENT, "")
    hops = [hop for hop in headers.get(HOPS, "").split(",") if hop]
    return Received(
        message_id=message_id,
        origin=headers.get(ORIGIN, "")[:LONGEST],
        hops=tuple(hop[:LONGEST] for hop in hops[:HOPS_READ]),
        time=_time(headers.get(TIME, "")),
        # Half a trace context would name another span, or none: take all of it or nothing.
        traceparent=traceparent if len(traceparent) <= LONGEST else "",
        sequence=sequence,
        delivered=delivered,
    )


# Where the events came from that are being handed over, by identity: an event is the user's own object and cannot
# carry it. The table holds each event, so no other object can get its id meanwhile. All bridges of the process share
# the table: a bridge that publishes what another bridge received finds the hops and the message id here.
_in_hand: Final[dict[int, tuple[object, Received, str]]] = {}


def received(event: object, /) -> Received | None:
    """Return where this event came from; None for an event that was made in this process.

    Ask in the handler, or in the body of the loop, while you have the event: the answer is forgotten afterwards.
    """
    found = _in_hand.get(id(event))
    return None if found is None else found[1]


def received_by(event: object) -> str:
    """Return the id of the bridge that received this event; empty for an event that was made here."""
    found = _in_hand.get(id(event))
    return "" if found is None else found[2]


def remember(event: object, origin: Received, bridge: str) -> None:
    """Note where the event came from, and which bridge received it."""
    _in_hand[id(event)] = (event, origin, bridge)


def forget(event: object) -> None:
    """Forget where the event came from."""
    _in_hand.pop(id(event), None)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)

"""What is known about an event that came over the wire, for as long as its hand-over lasts.

An event is the user's own object and cannot carry it. The table is keyed by identity and holds the event itself
beside, so that no other object can have the same id meanwhile. It is shared by all bridges of the process: one that
publishes what another one received finds the hops there, and the message id to keep.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

__all__ = ("Received", "forget", "received", "received_by", "remember")


class Received(NamedTuple):
    """Where an event came from.

    message_id: the publisher's id for it; the same however often it is delivered.
    origin: the id of the bridge that published it first.
    hops: the ids of the bridges it went through on its way, the one that published it first before the others.
    time: when it was published first, as the publisher's clock had it; None if it did not say.
    traceparent: the W3C trace context of the publisher's scope; empty if it gave none.
    sequence: its number in the stream: two deliveries with one number are a redelivery.
    delivered: how many times the server has delivered it to this group, this time included.
    """

    message_id: str
    origin: str
    hops: tuple[str, ...]
    time: datetime | None
    traceparent: str
    sequence: int
    delivered: int


_in_hand: Final[dict[int, tuple[object, Received, str]]] = {}


def received(event: object, /) -> Received | None:
    """Where this event came from, asked by its reader before it comes back for more; None for one made here."""
    found = _in_hand.get(id(event))
    return None if found is None else found[1]


def received_by(event: object) -> str:
    """The id of the bridge that received this event; empty for one made here."""
    found = _in_hand.get(id(event))
    return "" if found is None else found[2]


def remember(event: object, about: Received, bridge: str) -> None:
    _in_hand[id(event)] = (event, about, bridge)


def forget(event: object) -> None:
    _in_hand.pop(id(event), None)

"""The wire format: one event as a NATS message, JSON with headers, and back.

What a message claims to be is looked up among the types that were registered, and never imported or evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NoReturn

from haiway_bus import State, StateError
from haiway_bus.arguments import is_class
from haiway_bus.integrations._nats.bridge_errors import Undecodable
from haiway_bus.integrations._nats.decoding import prune
from haiway_bus.integrations._nats.received import Received
from haiway_bus.printable import described, name_of_type

__all__ = (
    "CARRIED",
    "HOPS",
    "MESSAGE_ID",
    "TYPE",
    "Upcaster",
    "WireType",
    "about",
    "decode",
    "wire_type",
)

MESSAGE_ID: Final = (
    "Nats-Msg-Id"  # the server's own name for it: it drops a second message with the same id
)
TYPE: Final = "Haiway-Type"
VERSION: Final = "Haiway-Version"
ORIGIN: Final = "Haiway-Origin"
HOPS: Final = "Haiway-Hops"
TIME: Final = "Haiway-Time"
TRACEPARENT: Final = "traceparent"
CARRIED: Final[tuple[str, ...]] = (TYPE, VERSION, ORIGIN, HOPS, TIME, TRACEPARENT)
"""The headers that say something of the event, and go with it wherever it is passed on."""

# What is taken of another's headers. All that a bridge of ours writes is shorter; and what is passed on has to fit,
# with its hops, into the 64 KiB that a server takes as headers.
LONGEST: Final = 256
HOPS_READ: Final = 64

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the plain data of one version into that of the next."""

# It is a token of a subject, a part of a consumer's name and a header.
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class WireType:
    """How the events of one class travel.

    Arguments:
        event: the class, a State.
        name: what it is called on the wire, the same in every process; the class's name unless given.
        version: the version of the class's fields, from 1 up.
        upcasters: by version, what makes the plain data of that version into that of the next. Where none is given
            for a version, its data is taken as it is: unknown fields are passed over, missing ones have defaults.

    Raises TypeError for what is no class of State, ValueError for a name or a version that cannot be.
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
                f" {described(self.name)}: give one, WireType(event, name=...)"
            )
        if not issubclass(type(self.version), int) or not 1 <= self.version < 10**9:
            raise ValueError(
                f"a type's version is a number from 1 up, not {described(self.version)}"
            )

    def payload(self, event: State) -> bytes:
        """The message's body. Raises StateError for a value that JSON, in UTF-8, cannot carry."""
        what = name_of_type(type(event))
        try:
            return event.to_json().encode()
        except UnicodeEncodeError as error:
            # json.loads makes such a text of a "\\ud800", so it can come from any request.
            raise StateError(
                f"an event of {what} has a text with half a surrogate pair, {error.object[error.start]!r}, which UTF-8"
                " cannot carry: replace it, text.encode(errors='replace').decode()"
            ) from None
        except RecursionError:
            raise StateError(
                f"an event of {what} is nested too deep for JSON: send a list of its parts"
            ) from None

    def headers(
        self, message_id: str, origin: str, hops: str, time: str, traceparent: str
    ) -> dict[str, str]:
        """The message's headers."""
        return {
            MESSAGE_ID: message_id,
            TYPE: self.name,
            VERSION: str(self.version),
            ORIGIN: origin,
            HOPS: hops,
            TIME: time,
            TRACEPARENT: traceparent,
        }


def wire_type(given: type[State] | WireType) -> WireType:
    """The WireType as it is, or the one of a class."""
    return given if isinstance(given, WireType) else WireType(given)


def about(headers: Mapping[str, str], sequence: int, delivered: int) -> Received:
    """What the headers say of a message, no longer than it can be passed on. A message id is made of its sequence if
    it has none, and of its own digest if it is too long: two ids never become one.
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
        # A piece of one would be the context of another span, or of none.
        traceparent=traceparent if len(traceparent) <= LONGEST else "",
        sequence=sequence,
        delivered=delivered,
    )


def decode(wire: WireType, headers: Mapping[str, str], body: bytes) -> State:
    """The event that a message carries. Raises Undecodable, with the reason."""
    name = headers.get(TYPE)
    if name != wire.name:
        raise Undecodable(
            f"the header {TYPE} is {name!r}, on this subject {wire.name!r} is expected"
        )
    text = headers.get(VERSION, "1")
    if not (text.isascii() and text.isdigit()):
        raise Undecodable(f"the header {VERSION} is {text!r}, which is no number")
    # The usual case: the version is ours, and so are the fields.
    version = int(text[:9])
    if version == wire.version:
        try:
            return wire.event.from_json(body)
        except StateError as wrong:
            first: StateError = wrong
    else:
        first = StateError("")
    plain = _upcast(wire, version, _plain(body))
    try:
        return wire.event.from_mapping(prune(wire.event, plain))
    except StateError as wrong:
        raise Undecodable(str(wrong)) from (first if version == wire.version else None)


def _upcast(wire: WireType, version: int, plain: dict[str, Any]) -> dict[str, Any]:
    while version < wire.version:
        upcaster = wire.upcasters.get(version)
        if upcaster is not None:
            try:
                made: object = upcaster(plain)
            except Exception as error:
                raise Undecodable(
                    f"the upcaster of {wire.name} from version {version} raised {described(error)}"
                ) from error
            if not isinstance(made, dict):
                raise Undecodable(
                    f"the upcaster of {wire.name} from version {version} gave"
                    f" {name_of_type(type(made), qualified=False)}, not a dict"
                )
            plain = made
        version += 1
    return plain


def _plain(body: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as wrong:
        raise Undecodable(f"not JSON: {wrong}") from None
    if not isinstance(plain, dict):
        raise Undecodable(
            f"a JSON object is expected, given {name_of_type(type(plain), qualified=False)}"
        )
    return plain


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)

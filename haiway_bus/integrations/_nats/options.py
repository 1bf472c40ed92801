"""The options of a bridge: each is checked when the bridge is made, and the error says which values are allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from haiway_bus import State
from haiway_bus._common.arguments import is_number, is_seconds
from haiway_bus._common.printable import described
from haiway_bus.integrations._nats.messages import WireType, wire_type

__all__ = ("LaneOptions", "check_counts", "check_names", "check_seconds", "wire_types")

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class LaneOptions:
    """The options that all lanes of a bridge share. NatsBridge explains each of them."""

    origin: str
    group: str
    durable: bool
    capacity: int
    ack_wait: float
    max_ack_pending: int
    max_deliveries: int
    heartbeat: float


def check_counts(**counts: Any) -> None:
    """Raise ValueError unless each value is a whole number from 1 up."""
    for what, number in counts.items():
        if not issubclass(type(number), int) or type(number) is bool or number < 1:
            raise ValueError(f"{what}= is a number of messages from 1 up, not {described(number)}")


def check_seconds(*, least: float | None = None, **times: float) -> None:
    """Raise ValueError unless each value is a time above 0, or, where `least` is given, a time from `least` up."""
    for what, seconds in times.items():
        number = is_number(seconds) and is_seconds(seconds)
        if not number or (seconds <= 0 if least is None else seconds < least):
            which = "above 0" if least is None else f"from {least:g} up"
            raise ValueError(f"{what}= is a time in seconds {which}, not {described(seconds)}")


def check_names(*, durable: str | None, stream: str, subject_prefix: str) -> None:
    """Raise ValueError for a name that the server does not accept: dots, blanks and '*' have a meaning there."""
    for what, name in (("durable", durable), ("stream", stream)):
        if name is not None and not (issubclass(type(name), str) and NAME.fullmatch(name)):
            raise ValueError(
                f"{what}= is letters, digits, '_' and '-', at most 100, not {described(name)}"
            )
    if not (issubclass(type(subject_prefix), str) and PREFIX.fullmatch(subject_prefix)):
        raise ValueError(
            "subject_prefix= is letters, digits, '_' and '-', with dots between, not"
            f" {described(subject_prefix)}"
        )


def wire_types(what: str, given: Iterable[type[State] | WireType]) -> dict[str, WireType]:
    """Return the types by their name on the wire.

    Raises:
        TypeError: a type is no class of State.
        ValueError: two types have the same name.
        StateError: a type has a union whose members JSON cannot tell apart.
    """
    found: dict[str, WireType] = {}
    for each in given:
        wire = wire_type(each)
        wire.event.__state__.ready()
        if wire.name in found:
            raise ValueError(
                f"{what}= has two types named {wire.name!r}: give one of them another name,"
                " WireType(event, name=...)"
            )
        found[wire.name] = wire
    return found

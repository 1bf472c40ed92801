"""What a bridge can be given: each argument is checked when the bridge is made, and the error says what it may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from haiway_bus import State
from haiway_bus.integrations.nats.wire import WireType, wire_type

__all__ = ("check_counts", "check_names", "check_seconds", "wires")

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def check_counts(**counts: object) -> None:
    """Raise ValueError for one that is no number from 1 up."""
    for what, number in counts.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{what}= is a number of messages from 1 up, not {number!r}")


def check_seconds(**times: float) -> None:
    """Raise ValueError for one that is no time above 0."""
    for what, seconds in times.items():
        if not seconds > 0:
            raise ValueError(f"{what}= is a time in seconds above 0, not {seconds!r}")


def check_names(*, durable: str | None, stream: str, subject_prefix: str) -> None:
    """Raise ValueError for a name that is none on the server, where dots, blanks and '*' have a meaning."""
    for what, name in (("durable", durable), ("stream", stream)):
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"{what}= is letters, digits, '_' and '-', at most 100, not {name!r}")
    if not PREFIX.fullmatch(subject_prefix):
        raise ValueError(
            f"subject_prefix= is letters, digits, '_' and '-', with dots between, not {subject_prefix!r}"
        )


def wires(what: str, given: Iterable[type[State] | WireType]) -> dict[str, WireType]:
    """The types by name. Raises what WireType does, and ValueError for two with one name."""
    wires: dict[str, WireType] = {}
    for one in given:
        wire = wire_type(one)
        if wire.name in wires:
            raise ValueError(
                f"{what}= has two types named {wire.name!r}: give one of them another, WireType(event, name=...)"
            )
        wires[wire.name] = wire
    return wires

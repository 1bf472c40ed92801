"""What a bridge can be given: each argument is checked when the bridge is made, and the error says what it may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from haiway_bus import State
from haiway_bus.arguments import is_number, is_seconds
from haiway_bus.integrations._nats.messages import WireType, wire_type
from haiway_bus.printable import described

__all__ = ("check_counts", "check_names", "check_seconds", "wires")

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def check_counts(**counts: Any) -> None:
    """Raise ValueError for one that is no number from 1 up."""
    for what, number in counts.items():
        if not issubclass(type(number), int) or type(number) is bool or number < 1:
            raise ValueError(f"{what}= is a number of messages from 1 up, not {described(number)}")


def check_seconds(*, least: float | None = None, **times: float) -> None:
    """Raise ValueError for one that is no time above 0, or from `least` on."""
    for what, seconds in times.items():
        number = is_number(seconds) and is_seconds(seconds)
        if not number or (seconds <= 0 if least is None else seconds < least):
            which = "above 0" if least is None else f"from {least:g} on"
            raise ValueError(f"{what}= is a time in seconds {which}, not {described(seconds)}")


def check_names(*, durable: str | None, stream: str, subject_prefix: str) -> None:
    """Raise ValueError for a name that is none on the server, where dots, blanks and '*' have a meaning."""
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

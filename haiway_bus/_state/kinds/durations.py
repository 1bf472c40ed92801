"""From a timedelta to an ISO 8601 duration and back: `P1DT2H3M4.000005S`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ("duration_from_text", "duration_to_text")

_DURATION = (
    r"(?P<sign>[+-]?)P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?"
    r"(?:(?P<seconds>\d+)(?:[.,](?P<fraction>\d{1,6}))?S)?)?"
)


def duration_to_text(value: timedelta) -> str:
    """Write the duration in days, hours, minutes and seconds, exact to the microsecond."""
    # In whole numbers, for the longest negative timedelta has no positive counterpart.
    total = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    seconds, microseconds = divmod(abs(total), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{'-' if total < 0 else ''}P{days}D"
    if hours or minutes or seconds or microseconds:
        text += f"T{hours}H{minutes}M{seconds}"
        text += f".{microseconds:06}S" if microseconds else "S"
    return text


def duration_from_text(text: str) -> timedelta:
    """Read a duration.

    Raises:
        ValueError: the text is no duration, or has years or months, which have no fixed length.
    """
    found = re.fullmatch(_DURATION, text, re.ASCII)
    if found is None or text.endswith(("P", "T")):
        raise ValueError(f"not an ISO 8601 duration of fixed length: {text!r}")
    parts = {
        name: int(found[name] or 0) for name in ("weeks", "days", "hours", "minutes", "seconds")
    }
    microseconds = int((found["fraction"] or "").ljust(6, "0"))
    length = sys.modules["datetime"].timedelta
    if found["sign"] == "-":
        parts = {name: -number for name, number in parts.items()}
        microseconds = -microseconds
    value: timedelta = length(**parts, microseconds=microseconds)
    return value

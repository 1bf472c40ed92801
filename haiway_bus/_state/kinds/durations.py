"""From a timedelta to an ISO 8601 duration and back: `P1DT2H3M4.000005S`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ("DURATION", "duration_from_text", "duration_to_text", "in_microseconds")

# Any number of up to eight digits is within a timedelta's range. Nine digits of days stand alone, or before the hours,
# minutes and seconds of less than a day, as `duration_to_text` writes them.
N: Final = "[0-9]{1,8}"
SECONDS: Final = rf"{N}(?:[.,][0-9]+)?S"
TIME: Final = rf"T(?:{N}H(?:{N}M)?(?:{SECONDS})?|{N}M(?:{SECONDS})?|{SECONDS})"
CLOCK: Final = r"T(?:1?[0-9]|2[0-3])H[1-5]?[0-9]M[1-5]?[0-9](?:\.[0-9]+)?S"
NOT_MOST: Final = "|".join(f"9{{{nines}}}[0-8][0-9]{{{8 - nines}}}" for nines in range(9))
DURATION: Final = (
    rf"[+-]?P(?:{N}[WD]|(?:{N}D)?{TIME}|[0-9]{{9}}D|(?:{NOT_MOST})D{CLOCK})|\+?P9{{9}}D{CLOCK}"
)
"""The durations of fixed length that a timedelta can hold: no years or months."""

UNITS: Final = {"W": 604_800, "D": 86_400, "H": 3_600, "M": 60, "S": 1}


def in_microseconds(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def duration_to_text(value: timedelta) -> str:
    """Write the duration in days, hours, minutes and seconds, exact to the microsecond."""
    # In whole numbers, for the longest negative timedelta has no positive counterpart.
    total = in_microseconds(value)
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
    """Read a text that matches DURATION, its fraction down to the microsecond, as a datetime's is read."""
    seconds = microseconds = 0
    for whole, fraction, unit in re.findall(r"([0-9]+)(?:[.,]([0-9]+))?([A-Z])", text):
        seconds += int(whole) * UNITS[unit]
        microseconds += int(fraction[:6].ljust(6, "0"))
    sign = -1 if text[0] == "-" else 1
    length = sys.modules["datetime"].timedelta
    value: timedelta = length(seconds=sign * seconds, microseconds=sign * microseconds)
    return value

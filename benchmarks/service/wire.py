"""What goes over the wire, as the services write it and as the driver reads it.

The driver is not to be the bottleneck. So it reads the first and the last tick of a message, and counts those between.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

__all__ = ("NewsOfTicks", "frame_of", "masked", "news_of", "text_of")

PADDING: Final = "x" * 40


def text_of(number: int) -> str:
    """A tick as JSON, with its number and when it was made, by a clock that all processes of a machine share."""
    return f'{{"n":{number},"at":{time.monotonic():.6f},"symbol":"ABC","price":{number % 1000}.25,"note":"{PADDING}"}}'


def frame_of(text: str) -> bytes:
    """It as a server-sent event."""
    return b"data: %b\n\n" % text.encode()


class NewsOfTicks(NamedTuple):
    """How many ticks came, the numbers of the first and the last of them, and when these were made."""

    count: int
    first: int
    last: int
    first_at: float
    last_at: float


def news_of(data: bytes, start: int, end: int) -> NewsOfTicks:
    """What the bytes between say, which begin with the first tick."""
    last = data.rindex(b'{"n":', start, end)
    first_number, first_at = _head(data, start)
    last_number, last_at = _head(data, last)
    return NewsOfTicks(
        data.count(b'{"n":', start, end), first_number, last_number, first_at, last_at
    )


def _head(data: bytes, start: int) -> tuple[int, float]:
    comma = data.index(b",", start)
    end = data.index(b",", comma + 1)
    return int(data[start + 5 : comma]), float(data[comma + 6 : end])


def masked(text: str) -> bytes:
    """A websocket frame from a client, of a short text. The mask is zero, which leaves it as it is."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text.encode()

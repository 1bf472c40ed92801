"""Permissions that a server says the user of a connection does not have."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from haiway_bus import ctx

__all__ = ("Denials", "is_denial")

# nats-py makes all of such an error's text small.
DENIED: Final = "permissions violation"
# How long a denial explains that nothing is heard, each attempt bringing another, and until it is logged again.
SECONDS: Final = 60.0
MOST: Final = 20
# What differs between acknowledgements of one consumer; inboxes differ in letters, and are why there is a MOST.
NUMBERS: Final = re.compile(r"\.\d+")


def is_denial(error: Exception) -> bool:
    """Whether this is the server's word that a subject is not open to the user."""
    return DENIED in str(error).lower()


class Denials:
    """Logs denials, each once in SECONDS and at most MOST, and knows the last one of the present connection."""

    __slots__ = ("_at", "_last", "_told")

    def __init__(self) -> None:
        self._last: str = ""
        self._at: float = 0.0
        self._told: dict[str, float] = {}

    def forget(self) -> None:
        """Another connection begins, and it may be to a server that allows more."""
        self._last = ""

    def recent(self) -> str:
        """The text of the last one, while it explains that there is no answer; else empty."""
        return self._last if asyncio.get_running_loop().time() - self._at < SECONDS else ""

    def add(self, text: str, server: str) -> None:
        """Note one, and log it unless the same was."""
        now = asyncio.get_running_loop().time()
        self._last, self._at = text, now
        self._told = {one: at for one, at in self._told.items() if now - at < SECONDS}
        what = NUMBERS.sub("", text)
        if what not in self._told and len(self._told) < MOST:
            self._told[what] = now
            ctx.log_warning(
                "NATS at %s: %s. What needs it waits and is tried again: have the server's configuration allow it"
                " to this user",
                server,
                text,
            )

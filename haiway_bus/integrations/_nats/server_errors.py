"""What the errors of a connection mean, and how long to wait before the next try."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from typing import Final

from nats.errors import AuthorizationError
from nats.errors import Error as NatsError

from haiway_bus import ctx

__all__ = ("LOST", "Denials", "backoff", "is_denial", "is_refusal")

LOST: Final = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)
"""What calls of a client raise when its connection, or the server behind it, is in trouble."""

# nats-py turns the text of such an error into lower case.
DENIED: Final = "permissions violation"
# For so long a denial explains that there is no answer, as each attempt brings another; and is not logged again.
DENIAL_SECONDS: Final = 60.0
MOST_DENIALS: Final = 20
# Acknowledgements of a consumer differ in numbers only. Inboxes differ in letters, hence MOST_DENIALS.
NUMBERS: Final = re.compile(r"\.\d+")


def backoff(attempt: int, first: float, most: float) -> float:
    """Return how many seconds to wait after this many failures. The time doubles, and has jitter, so that a thousand
    processes that lost a server do not come back in the same moment."""
    return float(min(most, first * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1.0))  # noqa: S311


def is_refusal(error: BaseException) -> bool:
    """Return whether the server answered and refuses the connection."""
    return isinstance(error, AuthorizationError | ssl.SSLError) or (
        isinstance(error, NatsError) and "authorization" in str(error).lower()
    )


def is_denial(error: Exception) -> bool:
    """Return whether the server says that the user may not use a subject."""
    return DENIED in str(error).lower()


class Denials:
    """The permissions that the user of a connection does not have, as the server told them.

    Each denial is logged once in DENIAL_SECONDS, and at most MOST_DENIALS of them in that time.
    """

    __slots__ = ("_at", "_last", "_told")

    def __init__(self) -> None:
        self._last: str = ""
        self._at: float = 0.0
        self._told: dict[str, float] = {}

    def forget(self) -> None:
        """Forget the last denial: a new connection begins, maybe to a server that allows more."""
        self._last = ""

    def recent(self) -> str:
        """Return the last denial while it explains that there is no answer; else an empty text."""
        age = asyncio.get_running_loop().time() - self._at
        return self._last if age < DENIAL_SECONDS else ""

    def add(self, text: str, server: str) -> None:
        """Note a denial, and log it unless the same was logged a short time ago."""
        now = asyncio.get_running_loop().time()
        self._last, self._at = text, now
        self._told = {what: at for what, at in self._told.items() if now - at < DENIAL_SECONDS}
        what = NUMBERS.sub("", text)
        if what not in self._told and len(self._told) < MOST_DENIALS:
            self._told[what] = now
            ctx.log_warning(
                "NATS at %s: %s. The bridge waits and tries again: change the server's configuration to allow it to"
                " this user",
                server,
                text,
            )

"""The events that end a bus while its scope is open: its loop is closed, or a fork copies the bus into a child process.

Both twins use it. A send does not check for either. Instead the bus gives up its table when it happens. So the hot
paths find no channel, and the cold path that they then take raises the error (guarantees 6.2, 6.3).
"""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet, ref

from haiway_bus._bus.refusals import FORKED, LOOP_CLOSED

__all__ = ("OpenBuses", "inherited", "open_buses")

# Seconds, more than a process lives. uvloop counts in milliseconds, so inf would not do.
_FOR_EVER: Final = 1e9


class OpenBuses:
    """The buses of one loop whose scopes are open."""

    __slots__ = ("__weakref__", "buses", "sign")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.buses: WeakSet[Any] = WeakSet()
        lost = lost_when_closed(loop)
        self.sign: ref[Any] | None = None if lost is None else ref(lost, self.loop_closes)

    def loop_closes(self, _: object) -> None:
        self.abandon(LOOP_CLOSED)

    def abandon(self, reason: str) -> list[Any]:
        found = list(self.buses)
        for bus in found:
            bus.abandon(reason)
        return found


class _Timer:
    """A callback that is never called."""

    __slots__ = ("__weakref__",)

    def __call__(self) -> None:
        pass


def lost_when_closed(loop: AbstractEventLoop) -> Any:
    """An object that the loop releases when it is closed, as asyncio has no hook for that. None if none is known."""
    # asyncio's own loops release the socket by which other threads wake them.
    found = getattr(loop, "_ssock", None)
    if found is None and type(loop).__module__.partition(".")[0] in ("uvloop", "winloop"):
        # These loops have no such attribute, but they drop their timers.
        found = _Timer()
        loop.call_later(_FOR_EVER, found)
    return found


_by_loop: Final[WeakKeyDictionary[AbstractEventLoop, OpenBuses]] = WeakKeyDictionary()
# The buses that a forked process has inherited. They are kept alive, so that nothing of them is finalized here: that
# could close a loop that shares files with the parent, or run the clean-up code of the parent's tasks.
inherited: Final[list[Any]] = []


def open_buses(loop: AbstractEventLoop) -> OpenBuses:
    """The open buses of this loop. A bus belongs there while its scope is open."""
    found = _by_loop.get(loop)
    if found is None:
        found = _by_loop[loop] = OpenBuses(loop)
    return found


def _in_child() -> None:
    for one in list(_by_loop.values()):
        inherited.extend(one.abandon(FORKED))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

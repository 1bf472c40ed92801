"""What a monitor tells, as one line of JSON, and what `top` makes of two of them: rates."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any, Final

from haiway_bus.bus import Bus, backend
from haiway_bus.bus._stats import EventStats
from haiway_bus.printable import full_name_of_type, printable

__all__ = ("Row", "Snapshot", "rows")

VERSION: Final = 3
NOTHING: Final = EventStats(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A bus at one moment: `at`, in seconds of the service's own clock, which began at `since` for the scope."""

    pid: int
    program: str
    scope: str
    backend: str
    since: float
    at: float
    events: dict[str, EventStats]
    waiting: list[str]

    @classmethod
    def of(cls, scope: str, bus: Bus, since: float, waiting: list[str]) -> Snapshot:
        """Read the bus, in its loop's thread. `waiting` are lines about scopes that wait at their end."""
        events: dict[str, EventStats] = {}
        for event_type, stats in bus.events().items():
            name = full_name_of_type(event_type)
            while name in events:  # classes that were made in one place, by a function or in a loop
                name += "'"
            events[name] = stats
        return cls(os.getpid(), program(), scope, backend, since, monotonic(), events, waiting)

    def to_line(self) -> bytes:
        """One line of JSON."""
        told: dict[str, Any] = {"version": VERSION}
        told |= {name: getattr(self, name) for name in self.__slots__}
        told["events"] = {name: stats._asdict() for name, stats in self.events.items()}
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Snapshot:
        """Raises ValueError for what no monitor of this version has written."""
        try:
            told = json.loads(line)
            if told.pop("version") != VERSION:
                raise ValueError("another version")
            told["events"] = {name: EventStats(**stats) for name, stats in told["events"].items()}
            made = cls(**told)
            counts = chain.from_iterable(one[:-1] for one in made.events.values())
            numbers = [made.pid, made.since, made.at, *counts]
            if not all(type(one) in (int, float) for one in numbers):
                raise TypeError("what should be a number is none")
            names = [one.slowest for one in made.events.values() if one.slowest is not None]
            texts = [made.program, made.scope, made.backend, *made.waiting, *names]
            if type(made.waiting) is not list or not all(type(one) is str for one in texts):
                raise TypeError("what should be a text is none")
            return made
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"a monitor of haiway_bus answers in its format {VERSION}, and this is not it "
                f"({printable(str(error))}): "
                "run the `top` of the version that the service runs"
            ) from error


@dataclass(frozen=True, slots=True)
class Row:
    """One type of event: its name, how many were sent and delivered a second (None: not known yet), and its numbers."""

    event: str
    sent_rate: float | None
    delivered_rate: float | None
    stats: EventStats


def rows(now: Snapshot, before: Snapshot | None) -> list[Row]:
    """The types, the busiest first; their names without the module where that leaves no doubt."""
    short = [name.rpartition("<locals>.")[2].rpartition(".")[2] for name in now.events]
    found: list[Row] = []
    for (name, stats), brief in zip(now.events.items(), short, strict=True):
        sent = delivered = None
        if before is not None and now.at > before.at:
            seconds = now.at - before.at
            old = before.events.get(name)
            if old is None or stats.sent < old.sent or stats.delivered < old.delivered:
                old = NOTHING  # counting began anew since
            sent = (stats.sent - old.sent) / seconds
            delivered = (stats.delivered - old.delivered) / seconds
        found.append(Row(brief if short.count(brief) == 1 else name, sent, delivered, stats))
    return sorted(found, key=lambda row: (-(row.sent_rate or 0), -row.stats.pending, row.event))


def program() -> str:
    """What the process runs, without its path and its arguments, which may hold secrets."""
    path, name = os.path.split(sys.argv[0] if sys.argv else "")
    return os.path.basename(path) if name == "__main__.py" else name or "python"

"""What a monitor tells, as one line of JSON, and what `top` makes of two of them: rates."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import monotonic
from typing import Any, Final, NamedTuple

from haiway_bus._bus import Bus, backend
from haiway_bus._bus.stats import EventStats, Observer
from haiway_bus._scope.vitals import vitals_of
from haiway_bus._values.printable import full_name_of_type, printable

__all__ = ("Handler", "Row", "Snapshot", "rows", "short_names")

VERSION: Final = 3
NOTHING: Final = EventStats(0, 0, 0, 0, 0, 0)


class Handler(NamedTuple):
    """A handler of `ctx.on`: its name and the type of its events, its workers, and how many events it failed at."""

    handler: str
    event: str
    workers: int
    busy: int
    failed: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A bus at one moment: `at`, in seconds of the service's own clock, which began at `since` for the scope.

    `late` is how many seconds late the loop has come to a timer at most, since the last snapshot.
    """

    pid: int
    program: str
    scope: str
    backend: str
    since: float
    at: float
    events: dict[str, EventStats]
    waiting: list[str]
    scopes: int = 0
    from_threads: int = 0
    late: float = 0.0
    handlers: list[Handler] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        scope: str,
        bus: Bus,
        since: float,
        waiting: list[str],
        observer: Observer | None = None,
        late: float = 0.0,
    ) -> Snapshot:
        """Read the bus, in its loop's thread, for one who looks again and again.

        `waiting` are lines about scopes that wait at their end.
        """
        events: dict[str, EventStats] = {}
        for event_type, stats in bus.events(observer).items():
            name = full_name_of_type(event_type)
            while name in events:  # classes that were made in one place, by a function or in a loop
                name += "'"
            events[name] = stats
        scopes, from_threads, handlers = vitals_of(bus)
        return cls(
            os.getpid(),
            program(),
            scope,
            backend,
            since,
            monotonic(),
            events,
            waiting,
            scopes,
            from_threads,
            late,
            [Handler(one.handler, full_name_of_type(one.event_type), *one[2:]) for one in handlers],
        )

    def to_line(self) -> bytes:
        """One line of JSON."""
        told: dict[str, Any] = {"version": VERSION}
        told |= {name: getattr(self, name) for name in self.__slots__}
        told["events"] = {name: stats._asdict() for name, stats in self.events.items()}
        told["handlers"] = [one._asdict() for one in self.handlers]
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Snapshot:
        """Raises ValueError for what no monitor of this version has written."""
        try:
            told = json.loads(line)
            if told.pop("version") != VERSION:
                raise ValueError("another version")
            told["events"] = {name: EventStats(**stats) for name, stats in told["events"].items()}
            told["handlers"] = [Handler(**one) for one in told["handlers"]]
            made = cls(**told)
            counts = chain.from_iterable(one[:-1] for one in made.events.values())
            counts = chain(counts, *(one[2:] for one in made.handlers))
            numbers = [made.pid, made.since, made.at, made.scopes, made.from_threads, made.late]
            numbers += counts
            if not all(type(one) in (int, float) for one in numbers):
                raise TypeError("what should be a number is none")
            names = [one.slowest for one in made.events.values() if one.slowest is not None]
            names += chain.from_iterable(one[:2] for one in made.handlers)
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
    """One type of event: its name, how many were sent and delivered a second (None: not known yet), its numbers, and
    how many were dropped a second."""

    event: str
    sent_rate: float | None
    delivered_rate: float | None
    stats: EventStats
    dropped_rate: float | None = None


def short_names(names: Sequence[str]) -> list[str]:
    """Without the modules, where that leaves no doubt."""
    short = [name.rpartition("<locals>.")[2].rpartition(".")[2] for name in names]
    return [
        brief if short.count(brief) == 1 else name for name, brief in zip(names, short, strict=True)
    ]


def rows(now: Snapshot, before: Snapshot | None) -> list[Row]:
    """The types, the busiest first; their names without the module where that leaves no doubt."""
    found: list[Row] = []
    for (name, stats), brief in zip(now.events.items(), short_names(list(now.events)), strict=True):
        sent = delivered = dropped = None
        if before is not None and now.at > before.at:
            seconds = now.at - before.at
            old = before.events.get(name)
            if old is None or any(one < two for one, two in zip(stats[1:4], old[1:4], strict=True)):
                old = NOTHING  # counting began anew since
            sent = (stats.sent - old.sent) / seconds
            delivered = (stats.delivered - old.delivered) / seconds
            dropped = (stats.dropped - old.dropped) / seconds
        found.append(Row(brief, sent, delivered, stats, dropped))
    return sorted(found, key=lambda row: (-(row.sent_rate or 0), -row.stats.pending, row.event))


def program() -> str:
    """What the process runs, without its path and its arguments, which may hold secrets."""
    path, name = os.path.split(sys.argv[0] if sys.argv else "")
    return os.path.basename(path) if name == "__main__.py" else name or "python"

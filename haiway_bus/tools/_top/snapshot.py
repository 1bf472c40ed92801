"""What a monitor tells, as a line of JSON, and the rows that `top` makes of two snapshots."""

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
from haiway_bus._common.printable import full_name_of_type, printable
from haiway_bus._scope.vitals import vitals_of

__all__ = ("HandlerRow", "Row", "Snapshot", "rows", "short_names")

VERSION: Final = 3
NOTHING: Final = EventStats(0, 0, 0, 0, 0, 0)


class HandlerRow(NamedTuple):
    """A handler of `ctx.on`: its name, the type of its events, its workers, and how many events it failed to handle."""

    handler: str
    event: str
    workers: int
    busy: int
    failed: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A bus at a moment.

    Attributes:
        since: When the scope was opened, in seconds of the service's own clock.
        at: The moment, by the same clock.
        waiting: Lines about scopes that wait at their end.
        late: The longest delay of a timer of the loop since the last snapshot, in seconds.
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
    handlers: list[HandlerRow] = field(default_factory=list)

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
        """Read the bus. Call this in the thread of its loop.

        Args:
            scope: The name of the scope.
            bus: The bus.
            since: When the scope was opened.
            waiting: Lines about scopes that wait at their end.
            observer: The viewer's own, which keeps peaks from one look to the next.
            late: The longest delay of a timer since the last look, in seconds.
        """
        events: dict[str, EventStats] = {}
        for event_type, stats in bus.events(observer).items():
            name = full_name_of_type(event_type)
            while name in events:  # classes with the same name, made by a function or in a loop
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
            [
                HandlerRow(row.handler, full_name_of_type(row.event_type), *row[2:])
                for row in handlers
            ],
        )

    def to_line(self) -> bytes:
        """Return the snapshot as a line of JSON."""
        told: dict[str, Any] = {"version": VERSION}
        told |= {name: getattr(self, name) for name in self.__slots__}
        told["events"] = {name: stats._asdict() for name, stats in self.events.items()}
        told["handlers"] = [handler._asdict() for handler in self.handlers]
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Snapshot:
        """Return the snapshot that a monitor has written.

        Raises:
            ValueError: The line is not from a monitor of this version.
        """
        try:
            told = json.loads(line)
            if told.pop("version") != VERSION:
                raise ValueError("another version")
            told["events"] = {name: EventStats(**stats) for name, stats in told["events"].items()}
            told["handlers"] = [HandlerRow(**handler) for handler in told["handlers"]]
            made = cls(**told)
            counts = chain.from_iterable(stats[:-1] for stats in made.events.values())
            counts = chain(counts, *(handler[2:] for handler in made.handlers))
            numbers = [made.pid, made.since, made.at, made.scopes, made.from_threads, made.late]
            numbers += counts
            if not all(type(number) in (int, float) for number in numbers):
                raise TypeError("what should be a number is not")
            names = [stats.slowest for stats in made.events.values() if stats.slowest is not None]
            names += chain.from_iterable(handler[:2] for handler in made.handlers)
            texts = [made.program, made.scope, made.backend, *made.waiting, *names]
            if type(made.waiting) is not list or not all(type(text) is str for text in texts):
                raise TypeError("what should be a text is not")
            return made
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"a monitor of haiway_bus answers in its format {VERSION}, and this is not it "
                f"({printable(str(error))}): "
                "run the `top` of the version that the service runs"
            ) from error


@dataclass(frozen=True, slots=True)
class Row:
    """An event type in the table.

    Attributes:
        event: Its name.
        sent_rate: Events sent a second; None while it is not known. So with the other rates.
        stats: Its numbers.
    """

    event: str
    sent_rate: float | None
    delivered_rate: float | None
    stats: EventStats
    dropped_rate: float | None = None


def short_names(names: Sequence[str]) -> list[str]:
    """Return the names without their modules, unless two would be the same."""
    short = [name.rpartition("<locals>.")[2].rpartition(".")[2] for name in names]
    return [
        brief if short.count(brief) == 1 else name for name, brief in zip(names, short, strict=True)
    ]


def rows(now: Snapshot, before: Snapshot | None) -> list[Row]:
    """Return the rows of the table, the busiest type first.

    Args:
        now: The present snapshot.
        before: The snapshot before, for the rates.
    """
    found: list[Row] = []
    for (name, stats), brief in zip(now.events.items(), short_names(list(now.events)), strict=True):
        sent = delivered = dropped = None
        if before is not None and now.at > before.at:
            seconds = now.at - before.at
            old = before.events.get(name)
            if old is None or any(
                new < last for new, last in zip(stats[1:4], old[1:4], strict=True)
            ):
                old = NOTHING  # counting has begun again
            sent = (stats.sent - old.sent) / seconds
            delivered = (stats.delivered - old.delivered) / seconds
            dropped = (stats.dropped - old.dropped) / seconds
        found.append(Row(brief, sent, delivered, stats, dropped))
    return sorted(found, key=lambda row: (-(row.sent_rate or 0), -row.stats.pending, row.event))


def program() -> str:
    """Return the name of the program, without its path and its arguments, which may hold secrets."""
    path, name = os.path.split(sys.argv[0] if sys.argv else "")
    return os.path.basename(path) if name == "__main__.py" else name or "python"

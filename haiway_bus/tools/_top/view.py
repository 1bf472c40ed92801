"""How a snapshot looks: a headline and a table, in plain text.

What a service tells is the service's, and the terminal is the viewer's: no name in it is more than text there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from haiway_bus._values.printable import printable
from haiway_bus.tools._top.snapshot import Row, Snapshot

__all__ = ("HEADER", "cells", "headline", "plain_lines", "plain_table")

HEADER: Final = (
    *("event", "sent/s", "read/s", "readers", "pending", "slowest", "dropped"),
    *("lost/s", "oldest", "peak", "full"),
)
# How many seconds late a loop is told to be: below that it is as punctual as any.
LATE: Final = 0.01
# How many handlers are named.
NAMED: Final = 5


def headline(snapshot: Snapshot, silent_for: float = 0.0) -> str:
    """Which scope it is, how it is doing, and whether it answers; below, the handlers, if there are any."""
    parts = [
        printable(snapshot.scope),
        f"{printable(snapshot.program)} (pid {snapshot.pid})",
        printable(snapshot.backend),
        f"open for {duration(snapshot.at - snapshot.since)}",
    ]
    if snapshot.scopes > 1:
        parts.append(f"{snapshot.scopes:,} scopes")
    if snapshot.late >= LATE:
        parts.append(f"loop {snapshot.late * 1000:,.0f} ms late")
    if snapshot.from_threads:
        parts.append(f"{snapshot.from_threads:,} events from threads wait")
    if silent_for:
        parts.append(f"NO ANSWER for {silent_for:.0f} s: its loop is busy")
    return " | ".join(parts) + handlers(snapshot)


def handlers(snapshot: Snapshot) -> str:
    """A line about the handlers that have the most workers at work, and those that failed."""
    found = sorted(snapshot.handlers, key=lambda one: (-one.failed, -one.busy, one.handler))
    if not found:
        return ""
    shown = [
        f"{printable(one.handler)} {one.busy}/{one.workers}"
        + (f", {one.failed:,} failed" if one.failed else "")
        for one in found[:NAMED]
    ]
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"\nworkers busy: {'; '.join(shown)}{more}"


def cells(row: Row) -> tuple[str, ...]:
    """The row, as the HEADER names its cells."""
    stats = row.stats
    return (
        printable(row.event),
        rate(row.sent_rate),
        rate(row.delivered_rate),
        f"{stats.subscriptions:,}",
        f"{stats.pending:,}",
        f"{stats.lag:,}",
        f"{stats.dropped:,}",
        rate(row.dropped_rate),
        f"{stats.age:,.0f}s",
        f"{stats.peak:,}",
        f"{stats.at_limit:,}",
    )


def slowest(rows: Sequence[Row]) -> list[str]:
    """Lines that name the slowest subscriptions, where they have names."""
    return [
        f"the slowest of {row.event}: {row.stats.slowest}"
        for row in rows
        if row.stats.slowest is not None and row.stats.subscriptions > 1
    ]


def plain_table(rows: Sequence[Row]) -> str:
    """Columns that stand under their names, the first one to the left."""
    if not rows:
        return "nobody is subscribed to anything\n"
    table = [HEADER, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for line in table:
        name, *numbers = line
        right = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), *right)))
    return "\n".join(lines) + "\n"


def plain_lines(lines: Sequence[str]) -> str:
    """What stands below the table: whom scopes wait for at their end."""
    return "".join(f"{printable(line)}\n" for line in lines)


def rate(value: float | None) -> str:
    """Events a second, with a digit after the point while that says something."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """In the largest units that leave two of them."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"

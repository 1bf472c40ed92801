"""How a snapshot looks: a headline and a table, in plain text.

The names come from the service and are shown on the viewer's terminal. So control characters in them are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from haiway_bus._common.printable import printable
from haiway_bus.tools._top.snapshot import Row, Snapshot

__all__ = ("HEADER", "cells", "headline", "plain_lines", "plain_table")

HEADER: Final = (
    *("event", "sent/s", "read/s", "readers", "pending", "slowest", "dropped"),
    *("lost/s", "oldest", "peak", "full"),
)
# From so many seconds on a loop counts as late.
LATE: Final = 0.01
# How many handlers to name.
NAMED: Final = 5


def headline(snapshot: Snapshot, silent_for: float = 0.0) -> str:
    """Return the headline: which scope it is, how it is doing, whether it answers. Below it, its handlers.

    Args:
        snapshot: The last snapshot.
        silent_for: For how many seconds the service has not answered.
    """
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
    """Return a line about the handlers that failed, and those with the most busy workers."""
    found = sorted(snapshot.handlers, key=lambda row: (-row.failed, -row.busy, row.handler))
    if not found:
        return ""
    shown = [
        f"{printable(row.handler)} {row.busy}/{row.workers}"
        + (f", {row.failed:,} failed" if row.failed else "")
        for row in found[:NAMED]
    ]
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"\nworkers busy: {'; '.join(shown)}{more}"


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row, in the order of HEADER."""
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
    """Return lines that name the slowest subscription of each type, if it has a name."""
    return [
        f"the slowest of {row.event}: {row.stats.slowest}"
        for row in rows
        if row.stats.slowest is not None and row.stats.subscriptions > 1
    ]


def plain_table(rows: Sequence[Row]) -> str:
    """Return the table: names are aligned to the left, numbers to the right."""
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
    """Return the lines below the table: the tasks that scopes wait for at their end."""
    return "".join(f"{printable(line)}\n" for line in lines)


def rate(value: float | None) -> str:
    """Return a rate as text, below 10 with a digit after the point."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time as text, in at most two units."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"

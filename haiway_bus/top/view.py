"""How a snapshot looks: a headline and a table, in plain text.

What a service tells is the service's, and the terminal is the viewer's: no name in it is more than text there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from haiway_bus.printable import printable
from haiway_bus.top.snapshot import Row, Snapshot

__all__ = ("HEADER", "cells", "headline", "plain_lines", "plain_table")

HEADER: Final = ("event", "sent/s", "read/s", "readers", "pending", "slowest", "dropped")


def headline(snapshot: Snapshot, silent_for: float = 0.0) -> str:
    """Which scope it is, and whether it answers."""
    parts = [
        printable(snapshot.scope),
        f"{printable(snapshot.program)} (pid {snapshot.pid})",
        printable(snapshot.backend),
        f"open for {duration(snapshot.at - snapshot.since)}",
    ]
    if silent_for:
        parts.append(f"NO ANSWER for {silent_for:.0f} s: its loop is busy")
    return " | ".join(parts)


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
    )


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

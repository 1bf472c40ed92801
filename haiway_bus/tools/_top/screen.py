"""Where tables are shown: a terminal that is redrawn for each table, or a stream that is written to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from haiway_bus.tools._top.snapshot import Row, Snapshot
from haiway_bus.tools._top.view import plain_lines, plain_table

try:
    from haiway_bus.tools._top import rich_screen
except (
    ImportError
):  # rich is an extra, haiway-bus[cli]; without it, or with a version too old, show plain text
    RICH = False
else:
    RICH = True

__all__ = ("Screen", "json_line", "open_screen")

CLEAR = "\x1b[H\x1b[J"


class Screen(Protocol):
    """Shows a table, in place of the table before if it can."""

    def show(self, headline: str, rows: Sequence[Row], waiting: Sequence[str] = ()) -> None:
        """Show a table, and below it the tasks that scopes wait for."""


class PlainScreen:
    """Plain text: at the top of the terminal, or on a stream below the table before."""

    def __init__(self, stream: TextIO, redraw: bool) -> None:
        self._stream = stream
        self._redraw = redraw
        self._shown = False

    def show(self, headline: str, rows: Sequence[Row], waiting: Sequence[str] = ()) -> None:
        """Write a table, and below it the tasks that scopes wait for."""
        begin = CLEAR if self._redraw else "\n" if self._shown else ""
        self._stream.write(f"{begin}{headline}\n{plain_table(rows)}{plain_lines(waiting)}")
        self._stream.flush()
        self._shown = True


@contextmanager
def open_screen(stream: TextIO, once: bool) -> Iterator[Screen]:
    """Open a screen that suits the stream. A table that is shown once, or not on a terminal, is plain text."""
    redraw = stream.isatty() and not once
    if redraw and RICH:
        with rich_screen.rich_screen(stream) as screen:
            yield screen
    else:
        yield PlainScreen(stream, redraw)


def json_line(now: Snapshot, rows: Sequence[Row]) -> str:
    """Return the table for programs: a line of JSON, with rates in events a second."""
    events = [
        {
            "event": row.event,
            "sent_rate": row.sent_rate,
            "delivered_rate": row.delivered_rate,
            "dropped_rate": row.dropped_rate,
            **row.stats._asdict(),
        }
        for row in rows
    ]
    line = {
        "scope": now.scope,
        "pid": now.pid,
        "scopes": now.scopes,
        "from_threads": now.from_threads,
        "late": now.late,
        "events": events,
        "handlers": [handler._asdict() for handler in now.handlers],
        "waiting": now.waiting,
    }
    return json.dumps(line) + "\n"

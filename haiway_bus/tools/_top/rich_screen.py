"""The part of `top` that needs rich. Import it only where a missing rich is handled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from haiway_bus.tools._top.snapshot import Row
from haiway_bus.tools._top.view import HEADER, cells, plain_lines

__all__ = ("RichScreen", "rich_screen")

FOOTER = (
    "Ctrl-C to leave | slowest: waiting events in the slowest subscription; peak: the most since the last look;"
    " full: subscriptions at their limit since then; oldest: how long the oldest event has waited, at least"
)


class RichScreen:
    """The whole terminal, redrawn for each table."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, headline: str, rows: Sequence[Row], waiting: Sequence[str] = ()) -> None:
        """Show a table in place of the table before."""
        parts: list[Text | Table] = [Text(headline, style="bold")]
        if rows:
            parts.append(table(rows))
        else:
            parts.append(Text("nobody is subscribed to anything", style="dim"))
        if waiting:
            parts.append(Text(plain_lines(waiting), style="yellow"))
        parts.append(Text(FOOTER, style="dim"))
        self._live.update(Group(*parts), refresh=True)


@contextmanager
def rich_screen(stream: TextIO) -> Iterator[RichScreen]:
    """Use the whole terminal during the block, and restore it afterwards."""
    with Live(console=Console(file=stream), screen=True, auto_refresh=False) as live:
        yield RichScreen(live)


def table(rows: Sequence[Row]) -> Table:
    """Return the table. Dropped events are red, waiting events yellow."""
    lines = [cells(row) for row in rows]
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(HEADER):
        if position:
            # Rich narrows every column of a table that is too wide. Only the names may be cut.
            width = max(len(name), *(len(line[position]) for line in lines))
            made.add_column(name, justify="right", no_wrap=True, min_width=width)
        else:
            made.add_column(name, overflow="ellipsis")
    for row, line in zip(rows, lines, strict=True):
        texts = [Text(cell) for cell in line]
        texts[0].stylize("bold")
        if row.stats.pending:
            texts[4].stylize("yellow")
            texts[5].stylize("yellow")
        if row.stats.dropped:
            texts[6].stylize("red")
        if row.dropped_rate:
            texts[7].stylize("red")
        if row.stats.at_limit:
            texts[10].stylize("red")
        made.add_row(*texts)
    return made

"""All that needs rich: import this only where a missing rich is provided for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ("RichProgress", "bar", "print_table")


class RichProgress:
    """A bar for each way."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._way = TaskID(0)

    def begin(self, label: str, total: int) -> None:
        """Add a bar below those before."""
        self._way = self._shown.add_task(label, total=total)

    def advance(self) -> None:
        """Move the latest bar on."""
        self._shown.advance(self._way)


@contextmanager
def bar(stream: TextIO) -> Iterator[RichProgress]:
    """Bars on `stream` for the length of the block; however it ends, the terminal is tidied up."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # The job prints nothing while bars are shown, so the standard streams need no redirection.
    with Progress(
        *columns, console=Console(file=stream), redirect_stdout=False, redirect_stderr=False
    ) as shown:
        yield RichProgress(shown)


def print_table(
    stream: TextIO, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print a table whose first column is text and whose others are numbers."""
    table = Table()
    for position, name in enumerate(header):
        table.add_column(name, justify="right" if position else "left", overflow="fold")
    for row in rows:
        # As Text, because a name in square brackets would be taken for markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=stream)
    # Above the table and not as its title, which would be folded to the table's width.
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)

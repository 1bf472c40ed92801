"""The part of the main job's output that needs rich. Import it only where a missing rich is handled."""

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
    """A bar for each phase."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._phase = TaskID(0)

    def begin(self, label: str, total: int) -> None:
        """Add a bar below the others."""
        self._phase = self._shown.add_task(label, total=total)

    def advance(self) -> None:
        """Advance the latest bar."""
        self._shown.advance(self._phase)


@contextmanager
def bar(stream: TextIO) -> Iterator[RichProgress]:
    """Show bars on `stream` during the block, and restore the terminal however it ends."""
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
    """Print a table. The first column is text, the others are numbers."""
    table = Table()
    for position, name in enumerate(header):
        table.add_column(name, justify="right" if position else "left", overflow="fold")
    for row in rows:
        # As Text: rich would take a name in square brackets for markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=stream)
    # Above the table: rich would fold a title to the width of the table.
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)

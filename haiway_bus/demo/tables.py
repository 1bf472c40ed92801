"""Tables and lines on a stream: plain text, or with rich on a terminal if it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

try:
    from haiway_bus.demo import rich_output
except ImportError:  # as in `progress`: without the extra, plain text
    RICH = False
else:
    RICH = True

__all__ = ("print_lines", "print_table")


def print_table(
    stream: TextIO, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print a table and an empty line. The first column is text, the others are numbers."""
    if RICH and stream.isatty():
        printable = [[_printable(cell, stream) for cell in row] for row in rows]
        rich_output.print_table(stream, _printable(title, stream), header, printable)
    else:
        print_lines(stream, [title, *_aligned([header, *rows])])
    print_lines(stream, [""])


def print_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Print the lines as they are."""
    stream.writelines(_printable(line, stream) + "\n" for line in lines)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join(["", first.ljust(widths[0]), *numbers]).rstrip()


def _printable(text: str, stream: TextIO) -> str:
    """Return `text` with escapes for what the stream's encoding lacks: names may have any character."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)

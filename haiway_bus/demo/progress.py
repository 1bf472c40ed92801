"""A progress display on a terminal: a line of plain text, or a bar if rich is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol, TextIO

try:
    from haiway_bus.demo import rich_output
except (
    ImportError
):  # rich is an extra, haiway-bus[cli]; without it, or with a version too old, show plain text
    RICH = False
else:
    RICH = True

__all__ = ("PlainProgress", "Progress", "SilentProgress", "open_progress")

SECONDS_BETWEEN_UPDATES = 0.1


class Progress(Protocol):
    """Shows the progress of a phase, and then of the next. Each has a known number of steps."""

    def begin(self, label: str, total: int) -> None:
        """Begin a phase of `total` steps."""

    def advance(self) -> None:
        """Note that a step is done."""


class SilentProgress:
    """Shows nothing."""

    def begin(self, label: str, total: int) -> None:
        """Show nothing."""

    def advance(self) -> None:
        """Show nothing."""


class PlainProgress:
    """A line for each phase, which is written over and over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._label = ""
        self._total = 0
        self._done = 0
        self._next_update = 0.0

    def begin(self, label: str, total: int) -> None:
        """Begin a line, below the line of the phase before."""
        self.close()
        self._label, self._total, self._done, self._next_update = label, total, 0, 0.0

    def advance(self) -> None:
        """Count a step. Write at most ten times a second, because terminals are slow, and at the last step."""
        self._done += 1
        now = monotonic()
        if now >= self._next_update or self._done == self._total:
            self._next_update = now + SECONDS_BETWEEN_UPDATES
            self._stream.write(f"\r{self._label}: {self._done} of {self._total} files")
            self._stream.flush()

    def close(self) -> None:
        """End the line if there is one."""
        if self._done:
            self._stream.write("\n")
            self._stream.flush()
            self._done = 0


@contextmanager
def open_progress(stream: TextIO, quiet: bool = False) -> Iterator[Progress]:
    """Open a progress display on `stream`. It is silent if `quiet` is set or `stream` is no terminal."""
    if quiet or not stream.isatty():
        yield SilentProgress()
    elif RICH:
        with rich_output.bar(stream) as shown:
            yield shown
    else:
        plain = PlainProgress(stream)
        try:
            yield plain
        finally:
            plain.close()

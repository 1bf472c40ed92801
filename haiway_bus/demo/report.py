"""The result of the job, as text for a person or as JSON for a program."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from haiway_bus import backend
from haiway_bus.demo.job import JobResult
from haiway_bus.demo.settings import Job
from haiway_bus.demo.tables import print_lines, print_table

__all__ = ("Report",)

SHOWN = 10
"""How many entries of a long list the text shows. JSON has all of them."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the job found, and how the recount differs."""

    job: Job
    result: JobResult
    recount_seconds: float
    differences: Sequence[str]

    @property
    def events_per_second(self) -> float:
        """Events per second of the whole bus phase. Most of its time goes into examining files."""
        return self.result.index.counts.events / self.result.bus_seconds

    @property
    def events_per_second_of_bus(self) -> float:
        """Events per second of the rest of that time, in which stages make, send and receive events."""
        result = self.result
        return result.index.counts.events / (result.bus_seconds - result.source_seconds)

    def write_json(self, stream: TextIO) -> None:
        """Write a JSON object."""
        result = self.result
        content: dict[str, Any] = {
            "root": str(self.job.root),
            "backend": backend,
            "python": platform.python_version(),
            "workers": self.job.workers,
            "counts": asdict(result.index.counts),
            "largest": [size._asdict() for size in result.index.largest],
            "failures": [
                {"path": path, "reason": reason}
                for path, reason in sorted(result.index.failures.items())
            ],
            "lookup": {
                "name": result.name,
                "places": [location._asdict() for location in result.locations],
            },
            "events": result.index.counts.events,
            "events_per_second": round(self.events_per_second, 1),
            "events_per_second_of_bus": round(self.events_per_second_of_bus, 1),
            "seconds": {
                "bus": round(result.bus_seconds, 4),
                "source": round(result.source_seconds, 4),
                "recount": round(self.recount_seconds, 4),
            },
            "agrees": not self.differences,
            "differences": list(self.differences),
        }
        json.dump(content, stream, indent=2)
        stream.write("\n")

    def write_text(self, stream: TextIO) -> None:
        """Write tables, then the failures, the lookup and the verdict."""
        counts = [[name, value] for name, value in self._summary()]
        print_table(stream, f"Index of {self.job.root}", ("what", "value"), counts)
        ranking = [
            [size.module, f"{size.lines:,}", f"{size.classes:,}", f"{size.functions:,}"]
            for size in self.result.index.largest
        ]
        print_table(
            stream, "The largest modules", ("module", "lines", "classes", "functions"), ranking
        )
        print_lines(stream, [*self._failures(), *self._lookup(), *self._verdict()])

    def _summary(self) -> Iterator[tuple[str, str]]:
        result = self.result
        counts = result.index.counts
        yield "files", f"{counts.files:,}"
        yield "modules", f"{counts.modules:,}"
        yield "files that failed", f"{counts.failed:,}"
        yield "classes", f"{counts.classes:,}"
        yield "functions and methods", f"{counts.functions:,}"
        yield "  of these async", f"{counts.async_functions:,}"
        yield "lines", f"{counts.lines:,}"
        yield "tokens", f"{counts.tokens:,}"
        yield "events", f"{counts.events:,}"
        yield "time of the bus phase", f"{result.bus_seconds:.2f} s"
        yield "  of it examining files", f"{result.source_seconds:.2f} s"
        yield "events per second", f"{self.events_per_second:,.0f}"
        yield "  not examining files", f"{self.events_per_second_of_bus:,.0f}"
        yield "time of the recount", f"{self.recount_seconds:.2f} s"
        yield "workers", f"{self.job.workers}"
        yield "backend", backend
        yield "Python", platform.python_version()

    def _failures(self) -> Iterator[str]:
        failures = sorted(self.result.index.failures.items())
        if failures:
            yield "Files that failed:"
        yield from _shortened([f"{path}: {reason}" for path, reason in failures])

    def _lookup(self) -> Iterator[str]:
        locations = self.result.locations
        if not locations:
            yield f"{self.result.name} is defined nowhere."
            return
        yield f"{self.result.name} is defined in:"
        yield from _shortened(
            [f"{found.module}, line {found.line} ({found.kind})" for found in locations]
        )

    def _verdict(self) -> Iterator[str]:
        if not self.differences:
            yield "Every count and the ranking agree with a direct pass over the same files."
            return
        yield "DIFFERENT from a direct pass over the same files:"
        yield from _shortened(self.differences)


def _shortened(entries: Sequence[str]) -> Iterator[str]:
    for entry in entries[:SHOWN]:
        yield f"  {entry}"
    if len(entries) > SHOWN:
        yield f"  and {len(entries) - SHOWN:,} more: --json lists them all"

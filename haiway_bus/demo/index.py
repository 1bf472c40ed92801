"""What is known about all files. The bus and the recount fill the same classes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from haiway_bus.demo.findings import Kind

__all__ = ("RANKED", "Counts", "Index", "Location", "ModuleSize")

RANKED = 10
"""How many of the largest modules to rank."""


class ModuleSize(NamedTuple):
    """A module and its size."""

    module: str
    path: str
    lines: int
    classes: int
    functions: int

    @property
    def rank(self) -> tuple[int, str]:
        """The sort key: the largest first, modules of the same length by path."""
        return (-self.lines, self.path)


class Location(NamedTuple):
    """Where a name is defined."""

    module: str
    line: int
    kind: Kind


@dataclass(slots=True)
class Counts:
    """The sums over all files. Methods count as functions. An async function is in both counts."""

    files: int = 0
    modules: int = 0
    failed: int = 0
    classes: int = 0
    functions: int = 0
    async_functions: int = 0
    lines: int = 0
    tokens: int = 0

    @property
    def events(self) -> int:
        """How many events brought this: one for each file, module, failure and definition."""
        return self.files + self.modules + self.failed + self.classes + self.functions


@dataclass(slots=True)
class Index:
    """The counts, the largest modules in order, the reason for each failed path, the locations by name."""

    counts: Counts = field(default_factory=Counts)
    largest: list[ModuleSize] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    locations: defaultdict[str, list[Location]] = field(default_factory=lambda: defaultdict(list))

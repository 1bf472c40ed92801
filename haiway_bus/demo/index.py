"""What is known about all the files: one shape, be it learned over the bus or by the recount."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from haiway_bus.demo.findings import Kind

__all__ = ("RANKED", "Counts", "Index", "ModuleSize", "Place")

RANKED = 10
"""How many of the largest modules are ranked."""


class ModuleSize(NamedTuple):
    """A module and how large it is."""

    module: str
    path: str
    lines: int
    classes: int
    functions: int

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the largest first, and modules of one length by path, which leaves no tie open."""
        return (-self.lines, self.path)


class Place(NamedTuple):
    """Where a name is defined."""

    module: str
    line: int
    kind: Kind


@dataclass(slots=True)
class Counts:
    """The sums over all files. A method is a function, an async function is in both counts."""

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
        """How many events told this: one for each file, module, failure and definition."""
        return self.files + self.modules + self.failed + self.classes + self.functions


@dataclass(slots=True)
class Index:
    """Counts, the largest modules in order, the reason by failed path, the places by name."""

    counts: Counts = field(default_factory=Counts)
    largest: list[ModuleSize] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    places: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))

"""Round after round over the cells, so that what drifts in the machine drifts for all of them alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import monotonic
from typing import Any

from comparison.cells import Cell
from comparison.process import run_in_child

__all__ = ("Results",)


class Results:
    """What each cell found in each round. Ratios are taken within a round; their median is what counts."""

    def __init__(self, run: Callable[[Any, float], dict[str, Any]] = run_in_child) -> None:
        self.run = run
        self.rounds: list[dict[str, dict[str, Any]]] = []
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.backends: dict[str, str] = {}

    def run_round(
        self, cells: Sequence[Cell], seconds: float, *, until: float | None = None
    ) -> bool:
        """Measure each cell once, in turn from the first and from the last. Whether it was done by `until`."""
        found: dict[str, dict[str, Any]] = {}
        backwards = len(self.rounds) % 2 == 1
        self.rounds.append(found)
        for number, cell in enumerate(reversed(cells) if backwards else cells, 1):
            if cell.name in self.skipped or cell.name in self.failed:
                continue
            if until is not None and monotonic() > until:
                return False
            self._tell(f"round {len(self.rounds)}: {number} of {len(cells)}  {cell.name}")
            result = self.run(cell, seconds)
            if "skipped" in result:
                self.skipped[cell.name] = result["skipped"]
            elif "failed" in result:
                self.failed[cell.name] = result["failed"]
            else:
                found[cell.name] = result
                if "backend" in result:
                    self.backends[cell.contender] = result["backend"]
        self._tell("")
        return True

    def _tell(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def value(self, name: str, which: str = "min") -> float | None:
        """The median over the rounds of what the cell found."""
        values = [found[name][which] for found in self.rounds if name in found]
        return median(values) if values else None

    def ratio(self, name: str, baseline: str) -> float | None:
        """The median over the rounds of the cell's value divided by that of the baseline in the same round."""
        ratios = [
            found[name]["min"] / found[baseline]["min"]
            for found in self.rounds
            if name in found and baseline in found
        ]
        return median(ratios) if ratios else None

    def spread(self, name: str, baseline: str) -> tuple[float, float] | None:
        """The smallest and the largest of those ratios."""
        ratios = [
            found[name]["min"] / found[baseline]["min"]
            for found in self.rounds
            if name in found and baseline in found
        ]
        return (min(ratios), max(ratios)) if ratios else None

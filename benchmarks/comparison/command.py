"""The command: which cells, how many rounds, and what is written where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic
from typing import Any

from comparison.cells import CELLS, Cell
from comparison.chart import write_chart
from comparison.machine import describe
from comparison.report import as_json, as_markdown, targets_table
from comparison.rounds import Results
from comparison.targets import TARGETS, check

__all__ = ("compare", "matching")

# A quick run measures the cells that the targets need, then the others, then the first again while there is time.
QUICK_LASTS = 100.0
QUICK_SECONDS = 0.1
QUICK_ROUNDS = 5
FULL_SECONDS = 0.5
FULL_ROUNDS = 5


def matching(only: str | None, cells: Mapping[str, Any]) -> list[Any]:
    """The cells whose name holds `only`, or matches it. Refuses what matches none."""
    if only is None:
        return list(cells.values())
    pattern = only if any(sign in only for sign in "*?[") else f"*{only}*"
    found = [cell for name, cell in cells.items() if fnmatchcase(name, pattern)]
    if not found:
        raise SystemExit(
            f"--only {only!r} matches none of the {len(cells)} cells; cells are named like {next(iter(cells))!r}"
        )
    return found


def measure(cells: list[Cell], *, quick: bool, rounds: int, seconds: float) -> Results:
    results = Results()
    if not quick:
        for _ in range(rounds):
            results.run_round(cells, seconds)
        return results
    until = monotonic() + QUICK_LASTS
    needed = {name for target in TARGETS for name in target.cells}
    first = [cell for cell in cells if cell.name in needed]
    rest = [cell for cell in cells if cell.name not in needed]
    if not results.run_round(first + rest, seconds, until=until):
        print(f"Not every cell was measured within {QUICK_LASTS:.0f} s; run it without --quick.")
    for _ in range(rounds - 1):
        if not results.run_round(first, seconds, until=until):
            break
    return results


def compare(
    *,
    quick: bool,
    only: str | None,
    out: Path | None,
    check_targets: bool,
    rounds: int | None,
    seconds: float | None,
) -> int:
    """Measure, print the Markdown, write the files. 1 when a cell failed, or with `check_targets` a target."""
    cells: list[Cell] = matching(only, CELLS)
    machine = describe()
    results = measure(
        cells,
        quick=quick,
        rounds=rounds or (QUICK_ROUNDS if quick else FULL_ROUNDS),
        seconds=seconds or (QUICK_SECONDS if quick else FULL_SECONDS),
    )
    findings = check(results)
    text = as_markdown(machine, cells, results, findings)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "comparison.md").write_text(text, encoding="utf-8")
        found = json.dumps(as_json(machine, results, findings), indent=1)
        (out / "comparison.json").write_text(found + "\n", encoding="utf-8")
        write_chart(machine, results, out / "comparison.svg")
    missed = [finding for finding in findings if finding.verdict == "MISS"]
    if check_targets and missed:
        print("\n".join(["Missed:", "", *targets_table(missed)]))
    return 1 if results.failed or (check_targets and missed) else 0

"""The command: which cells, how many rounds, and what is written where."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from comparison.command import matching
from comparison.machine import describe
from comparison.process import run_in_child
from comparison.report import as_json, targets_table
from comparison.rounds import Results
from comparison.targets import Finding

from wire.cells import CELLS
from wire.report import as_markdown
from wire.targets import TARGETS

__all__ = ("compare",)

COMMAND = Path(__file__).resolve().parent.parent / "compare_json.py"


def compare(
    *,
    only: str | None,
    pure: bool,
    out: Path | None,
    check_targets: bool,
    rounds: int,
    seconds: float,
) -> int:
    """Measure, print the Markdown, write the files. 1 when a cell failed, or with `check_targets` a target."""
    cells = [cell for cell in matching(only, CELLS) if pure or not cell.pure]
    machine = describe()
    results = Results(partial(run_in_child, command=COMMAND))
    for _ in range(rounds):
        results.run_round(cells, seconds)
    findings = [Finding(target, target.value(results)) for target in TARGETS]
    text = as_markdown(machine, cells, results, findings)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_name(f"{out.name}.md").write_text(text, encoding="utf-8")
        found = json.dumps(as_json(machine, results, findings), indent=1)
        out.with_name(f"{out.name}.json").write_text(found + "\n", encoding="utf-8")
    missed = [finding for finding in findings if finding.verdict == "MISS"]
    if check_targets and missed:
        print("\n".join(["Missed:", "", *targets_table(missed)]))
    return 1 if results.failed or (check_targets and missed) else 0

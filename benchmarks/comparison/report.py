"""What a run found, as Markdown for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from comparison.cells import Cell
from comparison.rounds import Results
from comparison.targets import Finding

__all__ = ("as_json", "as_markdown", "targets_table")

# For each scenario: what stands in its heading, the unit, and what its ratios are relative to.
HEADINGS = {
    "send": ("A send that nobody hears", "ns per send", "empty call"),
    "burst": ("A burst of 100 events to waiting subscribers", "ns per delivery", "asyncio.Queue"),
    "single": ("One event at a time to waiting subscribers", "ns per delivery", "asyncio.Future"),
    "drain": ("A backlog, read by one subscriber", "ns per event", "asyncio.Queue"),
    "drain batches": ("A backlog, read in batches", "ns per event", "asyncio.Queue"),
}
# A scenario without that baseline of its own is compared with the one of this scenario.
BORROWED = {"drain batches": "drain"}


def amount(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def rows(lines: Iterable[Iterable[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in lines]


def environment(machine: dict[str, Any], results: Results) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    backends = ", ".join(f"{name}: {backend}" for name, backend in sorted(results.backends.items()))
    return [
        f"- {machine['python']}, {machine['compiler']}; event loop: {machine['event loop']}",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"- {machine['date']}, {len(results.rounds)} rounds, one process per cell and round",
        f"- backends: {backends or 'none measured'}",
        f"- {versions}",
    ]


def targets_table(findings: list[Finding]) -> list[str]:
    lines = [("target", "limit", "found", ""), ("---", "---", "---", "---")]
    for target, value, verdict in ((f.target, f.value, f.verdict) for f in findings):
        lines.append(
            (
                target.statement,
                f"{'≥' if target.at_least else '≤'} {target.limit:g}",
                "" if value is None else f"{value:.2f}",
                verdict,
            )
        )
    return rows(lines)


def scenario_table(scenario: str, cells: list[Cell], results: Results) -> list[str]:
    title, unit, baseline = HEADINGS[scenario]
    sizes = sorted({cell.size for cell in cells})
    contenders = list(dict.fromkeys(cell.contender for cell in cells))
    headings = [""]
    for size in sizes:
        of = f" at {size:,}" if len(sizes) > 1 else ""
        headings += [f"{unit}{of}", "median", f"times {baseline}"]
    lines: list[list[str]] = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for contender in contenders:
        line = [contender]
        for size in sizes:
            name = f"{scenario}/{contender}/{size}"
            low, middle = results.value(name), results.value(name, "median")
            if low is None or middle is None:
                line += ["", "", ""]
                continue
            ratio = results.ratio(name, f"{BORROWED.get(scenario, scenario)}/{baseline}/{size}")
            line += [amount(low), amount(middle), "" if ratio is None else f"{ratio:.2f}"]
        if any(line[1:]):
            lines.append(line)
    return [f"## {title}", "", *rows(lines), ""] if len(lines) > 2 else []


def as_markdown(
    machine: dict[str, Any], cells: list[Cell], results: Results, findings: list[Finding]
) -> str:
    text = ["# The comparison", "", *environment(machine, results), ""]
    text += [
        "The first number of each group is the least of a cell's repeats, the second their median, both as the median",
        "over the rounds. The third is the median over the rounds of the ratio of the first to the baseline's.",
        "",
        "## Targets",
        "",
        *targets_table(findings),
        "",
    ]
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        text += scenario_table(
            scenario, [cell for cell in cells if cell.scenario == scenario], results
        )
    for heading, notes in (("Skipped", results.skipped), ("Failed", results.failed)):
        if notes:
            text += [f"## {heading}", ""]
            by_reason: dict[str, list[str]] = {}
            for name, reason in notes.items():
                by_reason.setdefault(reason, []).append(f"`{name}`")
            text += [f"- {reason}: {', '.join(names)}" for reason, names in by_reason.items()]
            text += [""]
    return "\n".join(text)


def as_json(machine: dict[str, Any], results: Results, findings: list[Finding]) -> dict[str, Any]:
    return {
        "machine": machine,
        "backends": results.backends,
        "targets": [
            {
                "statement": finding.target.statement,
                "cells": finding.target.cells,
                "at least" if finding.target.at_least else "at most": finding.target.limit,
                "found": finding.value,
                "verdict": finding.verdict,
            }
            for finding in findings
        ],
        "rounds": results.rounds,
        "skipped": results.skipped,
        "failed": results.failed,
    }

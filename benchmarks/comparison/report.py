"""What a run found, as Markdown for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from comparison.cells import CELLS, Cell
from comparison.rounds import Results
from comparison.targets import Finding

__all__ = ("as_json", "as_markdown", "environment", "notes", "rows", "targets_table")


class Heading(NamedTuple):
    """What stands over a scenario's table; its numbers are divided by `scale`, its ratios are to `baseline`."""

    title: str
    unit: str
    baseline: str
    scale: float = 1.0
    # The baseline is a cell of the same name unless it is one of this scenario, or of this size.
    scenario: str | None = None
    size: int | None = None


HEADINGS = {
    "send": Heading("A send that nobody hears", "ns per send", "empty call"),
    "burst": Heading(
        "A burst of events to waiting subscribers", "ns per delivery", "asyncio.Queue"
    ),
    "single": Heading(
        "One event at a time to waiting subscribers", "ns per delivery", "asyncio.Future"
    ),
    "drain": Heading("A backlog, read by one subscriber", "ns per event", "asyncio.Queue"),
    "drain batches": Heading(
        "A backlog, read in batches", "ns per event", "asyncio.Queue", scenario="drain"
    ),
    "memory": Heading(
        "Memory of an event that waits, payload not included", "bytes per event", "asyncio.Queue"
    ),
    "types": Heading(
        "Bursts to every one of so many types", "ns per delivery", "itself at 10", size=10
    ),
    "idle types": Heading(
        "Bursts to one of so many types", "ns per delivery", "itself at 10", size=10
    ),
    "subscribers": Heading(
        "Bursts to so many subscribers of one type", "ns per delivery", "itself at 100", size=100
    ),
    "subscriptions": Heading(
        "Subscribe, and close another, among so many", "ns per pair", "itself at 100", size=100
    ),
    "beside stuck": Heading(
        "The burst beside a full subscription", "ns per delivery", "without it", scenario="burst"
    ),
    "construct": Heading("Making an instance of three fields", "ns", "dataclass"),
    "updated": Heading("A changed copy", "ns", "dataclass"),
    "equal": Heading("Equality of equal instances", "ns", "dataclass"),
    "hash": Heading("Hash", "ns", "dataclass"),
    "repr": Heading("Repr", "ns", "dataclass"),
    "define": Heading("Defining a class of ten fields", "µs", "dataclass", scale=1e3),
    "make, send, receive": Heading(
        "Make, send and receive in bursts of 100", "ns per event", "asyncio.Queue and dataclass"
    ),
    "import": Heading("Import into a fresh interpreter", "ms", "asyncio", scale=1e6),
}


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


def baseline_of(cell: Cell, heading: Heading) -> str:
    own = heading.size is not None or heading.baseline == "without it"
    contender = cell.contender if own else heading.baseline
    size = cell.size if heading.size is None else heading.size
    return f"{heading.scenario or cell.scenario}/{contender}/{size}"


def scenario_table(scenario: str, cells: list[Cell], results: Results) -> list[str]:
    heading = HEADINGS[scenario]
    sizes = sorted({cell.size for cell in cells})
    headings = [""]
    for size in sizes:
        of = f" at {size:,}" if len(sizes) > 1 else ""
        headings += [f"{heading.unit}{of}", "median", f"times {heading.baseline}"]
    lines: list[list[str]] = [headings, ["---"] + ["---:"] * (len(headings) - 1)]
    for contender in dict.fromkeys(cell.contender for cell in cells):
        line = [contender]
        for size in sizes:
            cell = CELLS.get(f"{scenario}/{contender}/{size}")
            low = results.value(cell.name) if cell else None
            if cell is None or low is None:
                line += ["", "", ""]
                continue
            middle = results.value(cell.name, "median") or low
            ratio = results.ratio(cell.name, baseline_of(cell, heading))
            line += [
                amount(low / heading.scale),
                amount(middle / heading.scale),
                "" if ratio is None else f"{ratio:.2f}",
            ]
        if any(line[1:]):
            lines.append(line)
    return [f"## {heading.title}", "", *rows(lines), ""] if len(lines) > 2 else []


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
    return "\n".join([*text, *notes(results)])


def notes(results: Results) -> list[str]:
    """The cells that have no time, by the reason."""
    text: list[str] = []
    for heading, reasons in (("Skipped", results.skipped), ("Failed", results.failed)):
        if reasons:
            text += [f"## {heading}", ""]
            by_reason: dict[str, list[str]] = {}
            for name, reason in reasons.items():
                by_reason.setdefault(reason, []).append(f"`{name}`")
            text += [f"- {reason}: {', '.join(names)}" for reason, names in by_reason.items()]
            text += [""]
    return text


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

"""What a run found, as Markdown: a table of times and one of ratios for each shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comparison.report import environment, notes, rows, targets_table
from comparison.rounds import Results
from comparison.targets import Finding

from wire.cells import DIRECTIONS, Cell

__all__ = ("as_markdown",)

OTHERS = ("msgspec", "pydantic", "cattrs and orjson", "by hand")
EXPLAINED = [
    "Each number is the least of a cell's repeats, and over the rounds their median. A ratio is taken within a round.",
    "`to_json` gives what the library's own function gives, text or bytes, and `to_json_bytes` bytes in all of them.",
    "All read one text into equal values of the same types, and write equal JSON (but for UTC as `Z` or `+00:00`).",
    "By hand: `json`, and functions over frozen dataclasses with slots. They convert and check nothing.",
]


def table(lines: Sequence[tuple[str, list[str]]]) -> list[str]:
    head = [["", *DIRECTIONS], ["---"] + ["---:"] * len(DIRECTIONS)]
    return rows([*head, *([name, *line] for name, line in lines if any(line))])


def shape_tables(shape: str, contenders: list[str], results: Results) -> list[str]:
    def time(direction: str, contender: str) -> str:
        value = results.value(f"{shape}/{direction}/{contender}")
        return "" if value is None else f"{value / 1e3:,.{0 if value > 1e5 else 2}f}"

    def ratio(direction: str, ours: str, other: str) -> str:
        begin = f"{shape}/{direction}/"
        value = results.ratio(begin + ours, begin + other)
        return "" if value is None else f"{value:.2f}"

    times = [(name, [time(direction, name) for direction in DIRECTIONS]) for name in contenders]
    ratios = [
        (f"{ours} : {other}", [ratio(direction, ours, other) for direction in DIRECTIONS])
        for ours in contenders
        if ours.startswith("haiway_bus")
        for other in OTHERS
    ]
    return [
        *(f"## {shape[:1].upper()}{shape[1:]}", "", "µs:", "", *table(times)),
        *("", "Ratios, below 1 is faster than the other:", "", *table(ratios), ""),
    ]


def as_markdown(
    machine: dict[str, Any], cells: list[Cell], results: Results, findings: list[Finding]
) -> str:
    text = ["# On the wire", "", *environment(machine, results), "", *EXPLAINED, ""]
    measured = [finding for finding in findings if finding.value is not None]
    if measured:
        text += ["## Targets", "", *targets_table(measured), ""]
    for shape in dict.fromkeys(cell.shape for cell in cells):
        contenders = list(dict.fromkeys(cell.contender for cell in cells if cell.shape == shape))
        text += shape_tables(shape, contenders, results)
    return "\n".join([*text, *notes(results)])

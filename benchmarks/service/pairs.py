"""Pairs of runs, one of each service, and the table of what they show."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from service.shape import Shape

__all__ = ("Row", "run_pairs", "table")

COMMAND = Path(__file__).resolve().parent / "run.py"

Run = dict[str, Any]


class Row(NamedTuple):
    """A line of the table: what is read off a run, how it is written, and whether more is better."""

    name: str
    read: Callable[[Run], float]
    form: str
    more: bool = False


ROWS: Final = (
    Row("deliveries a CPU second", lambda run: run["received"] / run["cpu"], ",.0f", True),
    Row("latency of a tick, p50 (ms)", lambda run: run["latencies"]["p50"], ".1f"),
    Row("p99 (ms)", lambda run: run["latencies"]["p99"], ".1f"),
    Row("max (ms)", lambda run: run["latencies"]["max"], ".1f"),
    Row("an answer, p50 (ms)", lambda run: run["answers"]["p50"], ".1f"),
    Row("p99 (ms)", lambda run: run["answers"]["p99"], ".1f"),
    Row("longest pause of the loop (ms)", lambda run: run["pause"] * 1000, ".1f"),
    Row("peak RSS (MB)", lambda run: run["rss"] / RSS_UNIT, ".1f"),
    Row("SIGTERM to exit (s)", lambda run: run["ended_in"], ".2f"),
    Row("ticks that did not arrive then", lambda run: run["lost"], ".0f"),
)
RSS_UNIT: Final = 2**20 if sys.platform == "darwin" else 2**10


def one_run(side: str, shape: Shape, loop: str) -> Run:
    """In fresh processes, one for the driver and one for the service."""
    command = [sys.executable, "-P", str(COMMAND), "--drive", side, "--loop", loop]
    command += ["--shape", json.dumps(asdict(shape))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run of {side!r} failed with exit code {done.returncode}")
    run: Run = json.loads(done.stdout.splitlines()[-1])
    return run


def run_pairs(
    shape: Shape, pairs: int, other: str, loop: str, tell: Callable[[str], object]
) -> list[dict[str, Run]]:
    """The bus and another side. Each pair begins with the other one than the pair before."""
    found = []
    for number in range(pairs):
        order = ("bus", other) if number % 2 == 0 else (other, "bus")
        runs = {side: one_run(side, shape, loop) for side in order}
        pair = {"bus": runs["bus"], "hand": runs[other]}
        for side, run in zip(("bus", other), pair.values(), strict=True):
            tell(
                f"pair {number + 1}, {side:>4}: {run['received']:,} ticks received, {run['dropped']:,}"
                f" dropped, {run['visits']} visits, CPU {run['cpu']:.2f} s (driver {run['driver']:.2f} s)"
                + "".join(f"\n  FAULT: {fault}" for fault in run["faults"])
            )
        found.append(pair)
    return found


def table(found: list[dict[str, Run]]) -> str:
    """As Markdown. A ratio is the bus's value by the other's, in each pair; of everything the median over the pairs."""
    lines = ["| | on the bus | by hand | ratio | of the pairs |", "| --- | --- | --- | --- | --- |"]
    for row in ROWS:
        bus = [row.read(pair["bus"]) for pair in found]
        hand = [row.read(pair["hand"]) for pair in found]
        ratios = [ours / theirs for ours, theirs in zip(bus, hand, strict=True) if theirs]
        better = " (more is better)" if row.more else ""
        shown = f"{median(ratios):.2f}" if ratios else ""
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""
        cells = (f"{median(bus):{row.form}}", f"{median(hand):{row.form}}", shown, spread)
        lines.append(f"| {row.name}{better} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

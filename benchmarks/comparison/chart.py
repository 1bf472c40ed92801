"""The chart that the README shows: time per delivery, next to what a user would pick instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comparison.rounds import Results

__all__ = ("write_chart",)

OURS = "#0b6e4f"
OURS_PURE = "#7fb69c"
OTHERS = "#b8bec6"
INK = "#24292f"
PANELS = (
    ("burst", "A burst of 100 events to 100 subscribers"),
    ("single", "One event at a time to 100 waiting subscribers"),
)


def colour(contender: str) -> str:
    return {"haiway_bus": OURS, "haiway_bus pure": OURS_PURE}.get(contender, OTHERS)


def label(nanoseconds: float) -> str:
    return f"{nanoseconds:,.0f} ns" if nanoseconds < 10_000 else f"{nanoseconds / 1000:,.0f} µs"


def found(results: Results, scenario: str) -> list[tuple[str, float]]:
    """Contenders and their times, the fastest first."""
    names = {
        name
        for measured in results.rounds
        for name in measured
        if name.startswith(f"{scenario}/") and name.endswith("/100")
    }
    times = [(name.split("/")[1], results.value(name)) for name in names]
    return sorted(((who, time) for who, time in times if time), key=lambda pair: pair[1])


def write_chart(machine: dict[str, Any], results: Results, path: Path) -> None:
    """Draw the panels for which there are results; say so where matplotlib is missing."""
    panels = [(title, bars) for scenario, title in PANELS if (bars := found(results, scenario))]
    if not panels:
        return
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("No chart: matplotlib is not installed.")
        return
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "haiway_bus", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    heights = [len(bars) + 1.2 for _, bars in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(8, 0.3 * sum(heights) + 0.7),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    figure.patch.set_facecolor("white")
    for axis, (title, bars) in zip(axes.flat, panels, strict=True):
        names = [who for who, _ in bars]
        times = [time for _, time in bars]
        drawn = axis.barh(names, times, color=[colour(who) for who in names], height=0.72)
        axis.bar_label(drawn, [label(time) for time in times], padding=4, color=INK)
        axis.set_xscale("log")
        axis.set_xlim(min(times) / 2, max(times) * 4)
        axis.invert_yaxis()
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
        axis.xaxis.set_visible(False)
        axis.tick_params(axis="y", length=0, labelcolor=INK)
        axis.spines[:].set_visible(False)
    python = machine["python"].partition(" (")[0]
    figure.supxlabel(
        f"Time per delivery, logarithmic, less is better. {python}, {machine['cpu']}, {machine['date'][:10]}",
        fontsize=9,
        color=INK,
    )
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)

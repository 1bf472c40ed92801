"""How everything is timed: the same clock, the same repeats, and the garbage collector off for all alike.

The clock is that of the process: no cell waits for anything but its turn, and what other processes take from it must
not count. With the wall clock, a repeat of a few milliseconds is now and then left alone on a busy machine, and a
longer one never is, which would make everything that is large look slow.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from statistics import median
from time import get_clock_info, perf_counter, process_time
from typing import TypedDict

__all__ = ("FEWEST_REPEATS", "Sample", "clock", "measure")

# On some systems the process's clock ticks too seldom.
clock = process_time if get_clock_info("process_time").resolution <= 1e-6 else perf_counter

# A repeat shorter than this is at the mercy of a single interruption.
SHORTEST_REPEAT = 0.004
FEWEST_REPEATS = 5


class Sample(TypedDict):
    """What one cell found, in nanoseconds (or bytes) for one unit of its work."""

    min: float
    median: float
    repeats: int


async def measure(
    run: Callable[[int], Awaitable[float]],
    units: int,
    seconds: float,
    *,
    fewest: int = FEWEST_REPEATS,
) -> Sample:
    """The time of one unit: `run(n)` does n times `units` of them and returns the seconds that it took.

    It times itself, so that it can leave its preparations out. The first run is the warm-up; the next find n.
    """
    gc.collect()
    if hasattr(gc, "freeze"):  # not on PyPy
        gc.freeze()
    gc.disable()
    try:
        await run(1)
        loops = 1
        while (took := await run(loops)) < SHORTEST_REPEAT:
            loops = max(2 * loops, min(16 * loops, int(loops * SHORTEST_REPEAT / (took + 1e-9))))
        times: list[float] = []
        while len(times) < fewest or sum(times) < seconds:
            times.append(await run(loops))
    finally:
        gc.enable()
        if hasattr(gc, "unfreeze"):
            gc.unfreeze()
    scale = 1e9 / (loops * units)
    return Sample(min=min(times) * scale, median=median(times) * scale, repeats=len(times))

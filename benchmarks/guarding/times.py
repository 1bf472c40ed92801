"""Weighing by the clock, where there is no valgrind: every path in turn, in one process, again and again."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from comparison.timing import clock

from guarding.paths import PATHS, child_environment

__all__ = ("print_times", "take_times")

REPEATS = 7
# Processes, as one may have been placed badly in memory for as long as it lives.
PROCESSES = 3


def print_times(names: Sequence[str]) -> None:
    """In a child: the time of one unit of each path, in nanoseconds, as JSON."""
    few: dict[str, list[float]] = {name: [] for name in names}
    many: dict[str, list[float]] = {name: [] for name in names}
    gc.disable()
    for _ in range(REPEATS):
        for name in names:
            path = PATHS[name]
            for rounds, times in ((path.few, few), (path.many, many)):
                gc.collect()
                begin = clock()
                asyncio.run(path.work(rounds))
                times[name].append((clock() - begin) * 1e9)
    print(json.dumps({name: PATHS[name].weight(min(few[name]), min(many[name])) for name in names}))


def take_times(command: Path, names: Sequence[str], *, pure: bool) -> dict[str, float]:
    """Nanoseconds of one unit of each path: the median of what some processes found."""
    environment = child_environment(pure=pure)
    found: list[dict[str, float]] = []
    for _ in range(PROCESSES):
        done = subprocess.run(
            [sys.executable, "-P", str(command), "--clock", *names],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"the paths run to their end; they printed:\n{done.stderr[-2000:]}")
        found.append(json.loads(done.stdout))
    return {name: median(times[name] for times in found) for name in names}

"""Weighing by callgrind: instructions, the same on a busy machine and on an idle one.

One process runs few rounds of a path and then many, and so on for each path. Between them it calls a function of the
C library that nothing else calls, and at which callgrind is told to write down what it has counted since.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from guarding.paths import PATHS, child_environment

__all__ = ("count_instructions", "run_counted")

# Of the C library, as a function of the interpreter may have no symbol, or be inlined.
MARK = "sched_get_priority_max"
COUNTED = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def run_counted(names: Sequence[str]) -> None:
    """In a child, under callgrind: few rounds of each path as the warm-up, few and many, with a mark after each."""
    mark = getattr(os, MARK)
    gc.disable()
    for name in names:
        path = PATHS[name]
        for rounds in (path.few, path.few, path.many):
            asyncio.run(path.work(rounds))
            mark(0)


def count_instructions(command: Path, names: Sequence[str], *, pure: bool) -> dict[str, float]:
    """Instructions of one unit of each path."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "counted"
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={out}",
                f"--dump-before={MARK}",
                *(sys.executable, "-P", str(command), "--count", *names),
            ],
            env=child_environment(pure=pure),
            capture_output=True,
            text=True,
            check=False,
        )
        parts = [Path(f"{out}.{number}") for number in range(1, 3 * len(names) + 1)]
        if done.returncode or not all(part.exists() for part in parts):
            raise SystemExit(
                f"callgrind counts {len(parts)} parts, each up to a call of {MARK}; it printed:\n{done.stderr[-2000:]}"
            )
        counts = [int(COUNTED.findall(part.read_text(encoding="utf-8"))[-1]) for part in parts]
    return {
        name: PATHS[name].weight(few, many)
        for name, few, many in zip(names, counts[1::3], counts[2::3], strict=True)
    }

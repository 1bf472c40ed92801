"""One cell in one process: started by the command, run in the child, its result handed back as a line of JSON.

And the options of a command: `--cell` is how it starts the child.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from comparison.cells import Cell
from comparison.streams import Skipped, haiway_bus_module

__all__ = ("options", "run_child", "run_in_child")

COMMAND = Path(__file__).resolve().parent.parent / "compare.py"
TREE = COMMAND.parent.parent
LONGEST = 300.0


def options(description: str | None) -> argparse.ArgumentParser:
    """The options that each comparison has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--only", metavar="PATTERN", help="cells whose name holds this, or matches it with * and ?"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--rounds", type=int, help="how often each cell is measured")
    parser.add_argument("--seconds", type=float, help="how long a cell is timed in a round")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser


def prove_backend(cell: Cell) -> str:
    """The backend that the cell runs on. Refuses any other than the one that its name says, and the source tree."""
    haiway_bus = haiway_bus_module()
    if Path(str(haiway_bus.__file__)).resolve().is_relative_to(TREE / "haiway_bus"):
        raise AssertionError(
            "the comparison is for the installed package, and the one in the source tree was imported:"
            " install it and run `python -P benchmarks/compare.py`"
        )
    expected = "pure" if cell.pure else "compiled"
    if haiway_bus.backend != expected:
        if expected == "compiled" and find_spec("haiway_bus._bus._core_c") is None:
            raise Skipped("the installed package was built without its extension modules")
        raise AssertionError(f"the cell is for the {expected} backend, got {haiway_bus.backend}")
    return str(haiway_bus.backend)


def run_child(cell: Cell, seconds: float) -> None:
    """Measure the cell here and print what it found."""
    # A contender's use of what is deprecated is its own affair.
    warnings.simplefilter("ignore")
    result: dict[str, Any] = {}
    try:
        if cell.of_bus:
            result["backend"] = prove_backend(cell)
        result.update(asyncio.run(cell.run(cell.contender, cell.size, seconds)))
    except Skipped as skipped:
        result["skipped"] = str(skipped)
    print(json.dumps(result))


def run_in_child(cell: Cell, seconds: float, *, command: Path = COMMAND) -> dict[str, Any]:
    """Measure the cell in a fresh interpreter. A failure is a result too: `{"failed": its last line}`."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HAIWAY_BUS_")
    }
    environment["PYTHONHASHSEED"] = "0"
    environment.update(cell.environment)
    if cell.pure:
        environment["HAIWAY_BUS_PURE"] = "1"
    arguments = ["--cell", cell.name, "--seconds", str(seconds)]
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(command), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"a cell ends within {LONGEST:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": lines[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result

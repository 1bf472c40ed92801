"""The comparison: `python -P benchmarks/compare.py [--quick] [--out DIR] [--only PATTERN] [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

# `-P` keeps this folder off the path as well as the checkout, whose `haiway_bus` would hide the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparison.cells import CELLS
from comparison.command import compare
from comparison.process import options, run_child


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough result within two minutes")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write comparison.md, .json and .svg there"
    )
    arguments = parser.parse_args()
    if arguments.cell:
        run_child(CELLS[arguments.cell], arguments.seconds)
        return 0
    return compare(
        quick=arguments.quick,
        only=arguments.only,
        out=arguments.out,
        check_targets=arguments.check,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )


if __name__ == "__main__":
    sys.exit(main())

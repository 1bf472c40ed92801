"""State on the wire, beside msgspec, pydantic, cattrs and code by hand, as ratios within one run.

python -P benchmarks/compare_json.py [--quick] [--out FILE] [--only PATTERN] [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

# `-P` keeps this folder off the path as well as the checkout, whose `haiway_bus` would hide the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparison.process import options, run_child
from wire.cells import CELLS
from wire.command import compare


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, about a minute")
    parser.add_argument("--no-pure", action="store_true", help="leave out the pure backend")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write FILE.md and FILE.json")
    arguments = parser.parse_args()
    if arguments.cell:
        run_child(CELLS[arguments.cell], arguments.seconds)
        return 0
    return compare(
        only=arguments.only,
        pure=not arguments.no_pure,
        out=arguments.out,
        check_targets=arguments.check,
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        seconds=arguments.seconds or (0.05 if arguments.quick else 0.3),
    )


if __name__ == "__main__":
    sys.exit(main())

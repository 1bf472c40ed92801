"""The pair of services: `python -P benchmarks/service/run.py [--quick] [--lean] [--pairs N] [--out FILE]`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# `-P` keeps this folder off the path as well as the checkout, whose `haiway_bus` would hide the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from service.pairs import run_pairs, table
from service.shape import FULL, QUICK, TINY, Shape

SHAPES = {"full": FULL, "quick": QUICK, "tiny": TINY}
NAMES = ("haiway-bus", "uvicorn", "websockets", "httptools", "uvloop")


def versions() -> str:
    found = [f"CPython {platform.python_version()}"]
    for name in NAMES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fourth of the clients, 5 seconds")
    parser.add_argument("--tiny", action="store_true", help="10 clients: whether it runs at all")
    parser.add_argument("--pairs", type=int, default=5, help="how many, 5 unless given")
    parser.add_argument(
        "--lean", action="store_true", help="by hand with a deque, in place of asyncio.Queue"
    )
    parser.add_argument("--loop", default="auto", help="uvicorn's: auto, asyncio or uvloop")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all that was found as JSON")
    parser.add_argument("--serve", metavar="SIDE", help=argparse.SUPPRESS)
    parser.add_argument("--drive", metavar="SIDE", help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve or given.drive:
        shape = Shape(**json.loads(given.shape))
        if given.serve:
            from service.serve import serve

            serve(given.serve, shape, given.loop)
        else:
            from service.driver import drive

            print(json.dumps(drive(given.drive, shape, given.loop)))
        return 0
    if given.pairs < 1:
        parser.error("--pairs is at least 1")
    shape = SHAPES["tiny" if given.tiny else "quick" if given.quick else "full"]
    print(versions(), flush=True)
    print(
        f"{shape.sockets} websockets and {shape.streams} streams, {shape.seconds:.0f} s a run\n",
        flush=True,
    )
    found = run_pairs(
        shape,
        given.pairs,
        "lean" if given.lean else "hand",
        given.loop,
        lambda text: print(text, flush=True),
    )
    print(f"\n{table(found)}")
    if given.out:
        given.out.write_text(json.dumps({"versions": versions(), "pairs": found}, indent=1) + "\n")
    # Counts that are not exact are no result.
    return 1 if any(run["faults"] for pair in found for run in pair.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

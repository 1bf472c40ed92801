"""The guard: `python -P benchmarks/guard.py`. Fails when a hot path weighs much more than it did.

A path is weighed against a baseline that is weighed in the same way: in instructions counted by callgrind where
valgrind is installed, else in time. The ratios do not depend on the machine, and the limits leave them a generous
margin; a path that does its work twice exceeds its limit.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from platform import python_version
from time import monotonic
from typing import NamedTuple

# `-P` keeps this folder off the path as well as the checkout, whose `haiway_bus` would hide the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparison.streams import haiway_bus_module
from guarding.instructions import count_instructions, run_counted
from guarding.times import print_times, take_times


class Limit(NamedTuple):
    """What a path may weigh at most, in weights of its baseline: in instructions, and in time."""

    path: str
    baseline: str
    compiled: tuple[float, float]
    pure: tuple[float, float]


# At about one and a half times what was found on CPython 3.11 to 3.13, and below twice the least of it, so that a path
# which does its work twice is over. Times vary more than instructions, and so they are left more.
LIMITS = [
    Limit("send unheard", "empty call", compiled=(1.5, 1.7), pure=(7.5, 7.5)),
    # From 3.12 on the interpreter takes an event out of a StopIteration, which 3.11 does not need.
    Limit(
        "burst",
        "asyncio.Queue, burst",
        compiled=(0.33, 0.42) if sys.version_info >= (3, 12) else (0.21, 0.28),
        pure=(1.0, 1.3),
    ),
    Limit("single", "asyncio.Future, single", compiled=(0.75, 1.05), pure=(2.3, 2.7)),
    Limit("subscribe and close", "asyncio.Queue()", compiled=(1.05, 1.3), pure=(2.8, 3.5)),
    Limit("make a State", "dataclass", compiled=(0.24, 0.3), pure=(1.1, 1.3)),
    Limit("update a State", "dataclass", compiled=(0.27, 0.35), pure=(0.68, 0.75)),
]


class Weighed(NamedTuple):
    """What was found for one path on one backend."""

    backend: str
    limit: Limit
    ratio: float
    most: float

    def __str__(self) -> str:
        verdict = "ok" if self.ratio <= self.most else "TOO HEAVY"
        if 2 * self.ratio < self.most:
            verdict += (
                f": so light that its double would pass, lower the limit to {1.5 * self.ratio:.2f}"
            )
        return (
            f"{self.backend:9} {self.limit.path:20} {self.ratio:6.2f} times {self.limit.baseline!r},"
            f" at most {self.most:.2f}  {verdict}"
        )


def weigh(*, pure: bool, by_time: bool) -> list[Weighed]:
    names = list(dict.fromkeys(name for limit in LIMITS for name in (limit.baseline, limit.path)))
    take = take_times if by_time else count_instructions
    weights = take(Path(__file__).resolve(), names, pure=pure)
    return [
        Weighed(
            "pure" if pure else "compiled",
            limit,
            weights[limit.path] / weights[limit.baseline],
            (limit.pure if pure else limit.compiled)[by_time],
        )
        for limit in LIMITS
    ]


def guard(*, by_time: bool) -> int:
    """Weigh every path on each backend; 1 when one exceeds its limit."""
    begin = monotonic()
    backends = [True] if haiway_bus_module().backend == "pure" else [False, True]
    if len(backends) == 1:
        print("The installed package is pure: the compiled backend is not weighed.")
    # Instructions can be counted side by side, times cannot.
    with ThreadPoolExecutor(1 if by_time else len(backends)) as pool:
        parts = pool.map(lambda pure: weigh(pure=pure, by_time=by_time), backends)
        found = [weighed for part in parts for weighed in part]
    print("\n".join(str(weighed) for weighed in found))
    heavy = [weighed for weighed in found if weighed.ratio > weighed.most]
    unit = "nanoseconds" if by_time else "instructions"
    print(f"Python {python_version()}, weighed in {unit}, {monotonic() - begin:.0f} s")
    if heavy:
        print(
            "A hot path weighs more than its limit. Find out which change did it and make it lighter; where the weight"
            " is wanted, raise the limit in benchmarks/guard.py in the same commit and say why."
        )
    return 1 if heavy else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--time", action="store_true", help="weigh by the clock also where valgrind is installed"
    )
    parser.add_argument("--count", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--clock", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.count:
        run_counted(arguments.count)
        return 0
    if arguments.clock:
        print_times(arguments.clock)
        return 0
    return guard(by_time=arguments.time or shutil.which("valgrind") is None)


if __name__ == "__main__":
    sys.exit(main())

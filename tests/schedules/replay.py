"""Run one schedule again and tell its steps: python -P tests/schedules/replay.py MODEL BACKEND CHOICES

MODEL is a model's name, BACKEND "compiled" or "pure", CHOICES as a failing schedule printed them ("-" for asyncio's
own order). Exits with 1 if the schedule fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from asyncio import Handle
from pathlib import Path

# Behind everything else, so that the installed package is found before the tree's.
sys.path.append(str(Path(__file__).resolve().parent.parent.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("backend", choices=("compiled", "pure"))
    parser.add_argument("choices", nargs="?", default="-")
    given = parser.parse_args()
    os.environ["HAIWAY_BUS_PURE"] = "1" if given.backend == "pure" else "0"
    import haiway_bus
    from tests.schedules.choosers import Chooser, parse
    from tests.schedules.explore import run_schedule
    from tests.schedules.models import MODELS

    if haiway_bus.backend != given.backend:
        parser.error(f"the installed package is {haiway_bus.backend}")
    if given.model not in MODELS:
        parser.error(f"no model {given.model!r}: {', '.join(MODELS)}")

    def tell(chosen: int, options: int, handle: Handle | None) -> None:
        number = f"choice {len(chooser.options) - 1}: " if options > 1 else ""
        what = "time passes" if handle is None else described(handle)
        print(f"{number}{chosen + 1} of {options}, {what}")

    chooser = Chooser(parse(given.choices))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        problem = run_schedule(MODELS[given.model], haiway_bus, chooser, warned, tell)
    print("fails: " + problem if problem is not None else "holds")
    return int(problem is not None)


def described(handle: Handle) -> str:
    """The task, or the callback, that a handle runs."""
    owner = getattr(handle._callback, "__self__", None)
    name = owner.get_name() if hasattr(owner, "get_name") else repr(owner)
    called = getattr(handle._callback, "__name__", "step")
    return called if owner is None else f"{called} of {name}"


if __name__ == "__main__":
    sys.exit(main())

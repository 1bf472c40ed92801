"""How many schedules a test run may spend, and what it has spent them on."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Final

import pytest

from .explore import Explored

__all__ = ("DEFAULT", "Budget")

# Some seconds of a test run. CI asks for 100,000.
DEFAULT: Final = 10_000


class Budget:
    """The schedules that are left, dealt out evenly to the tests that are left.

    A model with fewer schedules than its share is explored completely, and what it leaves goes to the others.
    Registered as a plugin it tells the sum at the end of the run.
    """

    def __init__(self, config: pytest.Config, tests: int) -> None:
        asked = config.getoption("schedules", default=None)
        self.left = int(asked or os.environ.get("HAIWAY_BUS_SCHEDULES", DEFAULT))
        self.seed = config.getoption("schedule_seed", default=None) or 0
        self.tests = max(tests, 1)
        self.spent: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.complete: Counter[str] = Counter()
        self.started = 0.0

    def share(self) -> int:
        self.started = time.perf_counter()
        share = -(-self.left // self.tests)
        self.tests = max(self.tests - 1, 1)
        return share

    def spend(self, backend: str, explored: Explored) -> None:
        self.left = max(self.left - explored.schedules, 0)
        self.spent[backend] += explored.schedules
        self.complete[backend] += explored.complete
        self.seconds[backend] += time.perf_counter() - self.started

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for backend, schedules in sorted(self.spent.items()):
            seconds = self.seconds[backend]
            terminalreporter.write_line(
                f"schedules, {backend}: {schedules:,} in {seconds:.1f} s ({schedules / seconds:,.0f}/s),"
                f" {self.complete[backend]} models explored completely"
            )
        terminalreporter.write_line(f"schedules: {self.spent.total():,}, seed {self.seed}")

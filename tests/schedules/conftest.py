"""The options of the schedule tests.

pytest reads this file before its command line is parsed only if this folder is on it:

    python -P -m pytest tests/schedules tests/test_schedules.py --schedules=100000

Without it the environment variable HAIWAY_BUS_SCHEDULES says the same to any run.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("schedules")
    group.addoption(
        "--schedules", type=int, help="how many schedules to run, over all models and backends"
    )
    group.addoption(
        "--schedule-seed", type=int, help="what the random schedules are drawn from (0)"
    )

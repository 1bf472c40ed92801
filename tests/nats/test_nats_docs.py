"""The programs of docs/integrations/nats.md, run against a real server in the order of the page."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nats", reason="needs nats-py")
from nats_server import heed_ctrl_c

if sys.platform == "win32":
    pytest.skip("Ctrl-C is SIGINT here", allow_module_level=True)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations" / "nats.md"
RUN = "\nasyncio.run(main())\n"


def blocks(url: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8").replace("nats://127.0.0.1:4222", url)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def program(*parts: str) -> list[str]:
    return [sys.executable, "-P", "-u", "-W", "error", "-c", "".join(parts)]


def test_the_programs_of_the_page_do_what_it_says(server: Any, tmp_path: Path) -> None:
    publisher, consumer, twice, stopping, upcasters = blocks(server.url)
    assert publisher.endswith(RUN)
    assert consumer.endswith(RUN)
    classes = publisher[: publisher.index("async def main")]

    subprocess.run(program(publisher), timeout=30, check=True)
    out = tmp_path / "billed.txt"
    with out.open("w") as stream:
        running = subprocess.Popen(
            program(classes, consumer), stdout=stream, stderr=stream, preexec_fn=heed_ctrl_c
        )
    try:
        wait_for(out, "bill A1: 9.50\n")
        running.send_signal(signal.SIGINT)
        running.wait(20)
    finally:
        running.kill()
        running.wait()

    # A delivery, and its redelivery.
    redelivered = """
from types import SimpleNamespace
received = lambda order: SimpleNamespace(message_id="a:1")
for _ in range(2):
    bill(OrderCreated(order_id="A1", total=9.5))
"""
    done = subprocess.run(
        program(classes, twice, redelivered),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "bill A1: 9.50\n"

    # The consumer handles what was sent meanwhile, and then stops.
    subprocess.run(program(publisher.replace("A1", "A2")), timeout=30, check=True)
    stop_soon = (
        "\nbill = lambda order: (print('bill', order.order_id), stop.set())"
        + RUN
        + "print('ended')\n"
    )
    done = subprocess.run(
        program(classes, stopping, stop_soon),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("bill A2\nended\n", "")

    old = "\nassert orders.upcasters[1]({'id': 'A1', 'sum': 9}) == {'order_id': 'A1', 'total': 9}\n"
    subprocess.run(program(classes, upcasters, old), timeout=30, check=True)


def wait_for(path: Path, text: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while text not in path.read_text():
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.05)

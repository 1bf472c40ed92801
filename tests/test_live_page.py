"""The service that docs/integrations/asgi.md has a newcomer write, served by the command that stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the dependency group servers")
pytest.importorskip("uvicorn", reason="needs the dependency group servers")
if sys.platform == "win32":
    pytest.skip("the commands are for a POSIX shell", allow_module_level=True)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "integrations" / "asgi.md"


@pytest.fixture(params=["compiled", "pure"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of the service, which is started and stopped as the page says."""
    text = PAGE.read_text(encoding="utf-8")
    module = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    command = re.search(r"^\.venv-live/bin/(uvicorn .*live:app)$", text, re.MULTILINE)
    assert module is not None
    assert command is not None
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "live.py").write_text(module[1], encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", *shlex.split(command[1]), "--port", str(port)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HAIWAY_BUS_PURE": "1" if request.param == "pure" else ""},
    )
    try:
        assert process.stderr is not None
        told = next((line for line in process.stderr if "Uvicorn running on" in line), None)
        assert told is not None, f"it ended with {process.wait()}"
        yield port
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert "Application shutdown complete" in errors, errors


def say(port: int, text: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/say", text.encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return int(answer.status)


def test_what_is_said_reaches_every_stream(served: int) -> None:
    streams = [
        urllib.request.urlopen(f"http://127.0.0.1:{served}/events", timeout=20) for _ in range(3)
    ]
    assert say(served, "héllo") == 202
    for stream in streams:
        with stream:
            told = next(line for line in stream if line.startswith(b"data: "))  # after a comment
            assert json.loads(told.removeprefix(b"data: ")) == {"text": "héllo"}


def test_a_browser_shows_what_is_said(served: int, browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"http://127.0.0.1:{served}/")
    wait = WebDriverWait(browser, 30)

    def lines() -> list[str]:
        return [one.text for one in browser.find_elements("css selector", "#said li")]

    # Until the page's stream stands, what others say passes it by.
    wait.until(lambda _: say(served, "from a shell") == 202 and lines())
    browser.find_element("id", "text").send_keys("<b>hello</b>\n")
    wait.until(lambda _: "<b>hello</b>" in lines())

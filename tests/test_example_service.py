"""examples/live_events, served by a real uvicorn: to 200 clients that come and go, and to a browser.

Guarantee 4.1, 4.2, 5.9: every client can account for every event sent while it was there.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.shared import until

pytest.importorskip("starlette", reason="needs the dependency group servers")
pytest.importorskip("uvicorn", reason="needs the dependency group servers")

SERVICE = Path(__file__).resolve().parent.parent / "examples" / "live_events" / "service.py"


@pytest.fixture
def example(hb: Any) -> Iterator[Any]:
    """The module of the service, on the backend of `hb`."""
    spec = importlib.util.spec_from_file_location("live_events_service", SERVICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@asynccontextmanager
async def served(example: Any, service: Any, server: Any = None) -> AsyncIterator[int]:
    """The service on a free port; when the block is left it has been stopped, as by Ctrl+C."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = server or example.make_server(service, 0, "error")
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Told(type(server)):  # type: ignore[misc]
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            ready.set_result(None)

    server.__class__ = Told
    task = asyncio.ensure_future(server.serve([listener]))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    assert ready.done()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        async with asyncio.timeout(20):
            await task
        listener.close()


class Client:
    """A browser's EventSource, on a bare socket. It checks with each message that nothing is unaccounted for."""

    def __init__(self) -> None:
        self.received = 0
        self.dropped = 0
        self.last = 0

    async def connect(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        # HTTP/1.0, so that the body comes without chunk marks and ends with the connection.
        self.writer.write(b"GET /events HTTP/1.0\r\n\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        assert b"text/event-stream" in head
        event, told = await self.message()
        assert event == "hello"
        self.first = self.last = told["last"]

    async def message(self) -> tuple[str, Any]:
        """The next message; raises IncompleteReadError at the end of the stream."""
        fields = dict(
            line.split(": ", 1)
            for line in (await self.reader.readuntil(b"\n\n")).decode().splitlines()
            if line
        )
        return fields.get("event", "message"), json.loads(fields["data"])

    async def take(self) -> int:
        _, told = await self.message()
        assert told["number"] > self.last
        self.received += 1
        self.last, self.dropped = told["number"], told["dropped"]
        assert self.received + self.dropped == self.last - self.first
        return self.last

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.mark.anyio
async def test_200_clients_that_come_and_go_account_for_every_event(hb: Any, example: Any) -> None:
    """received + dropped = sent, at each message of each client, with bursts above their limit."""
    chance = random.Random(7)
    service = example.make_service(example.Settings(limit=20, interval=None))
    journal = service.app.state.journal
    totals = {"received": 0, "dropped": 0, "sessions": 0}
    going = True

    async def comes_and_goes(port: int, rounds: int) -> None:
        for _ in range(rounds):
            client = Client()
            await client.connect(port)
            for _ in range(chance.randint(0, 30)):
                await client.take()
            await client.leave()
            count(client)

    async def stays(port: int) -> None:
        client = Client()
        await client.connect(port)
        while client.last != last or going:
            try:
                await client.take()
            except asyncio.IncompleteReadError:
                break
        # The stream was ended by the server, after the last event.
        assert (client.last, going) == (journal.last, False)
        await client.leave()
        count(client)

    def count(client: Client) -> None:
        totals["received"] += client.received
        totals["dropped"] += client.dropped
        totals["sessions"] += 1

    async def produce() -> None:
        with service.scope.attach():
            while going:
                for _ in range(chance.choice((1, 1, 2, 5, 30))):
                    journal.tell("kitchen", "coffee")
                await asyncio.sleep(0.002)

    def open_streams() -> int:
        stats = hb.ctx.events().get(example.Happened)
        return 0 if stats is None else stats.subscriptions

    last = 0
    async with served(example, service) as port:
        producer = asyncio.ensure_future(produce())
        staying = [asyncio.ensure_future(stays(port)) for _ in range(50)]
        await asyncio.gather(*[comes_and_goes(port, 3) for _ in range(150)])
        going = False
        await producer
        last = journal.last
        with service.scope.attach():
            await until(lambda: open_streams() == 50)
            # One that nobody disturbs, so that each has the end of it: the last event ends no burst.
            last = journal.tell("kitchen", "closing time")
    # The service has stopped within its time, with 50 streams open.
    await asyncio.gather(*staying)
    assert totals["sessions"] == 500
    assert totals["dropped"] > 0
    assert totals["received"] > 50 * 20


@pytest.mark.anyio
async def test_what_is_posted_reaches_every_page_and_what_is_not_a_message_is_refused(
    hb: Any, example: Any
) -> None:
    httpx = pytest.importorskip("httpx", reason="needs the dependency group servers")
    service = example.make_service(example.Settings(interval=None))
    async with served(example, service) as port:
        clients = [Client() for _ in range(3)]
        for client in clients:
            await client.connect(port)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            answer = await http.post("/events", json={"text": " hello "})
            assert (answer.status_code, answer.json()) == (202, {"number": 1})
            for wrong in ({"json": {}}, {"json": []}, {"json": {"text": " "}}, {"content": b"{"}):
                assert (await http.post("/events", **wrong)).status_code == 422
        for client in clients:
            _, told = await client.message()
            assert told == {
                "number": 1, "source": "a visitor", "text": "hello", "pages": 3, "dropped": 0,
            }  # fmt: skip
            await client.leave()


@pytest.mark.anyio
async def test_its_producer_sends_and_does_not_keep_it_from_stopping(example: Any) -> None:
    """Guarantee 5.4."""
    service = example.make_service(example.Settings(interval=0.001))
    async with served(example, service) as port:
        client = Client()
        await client.connect(port)
        while await client.take() < 5:
            pass
    with pytest.raises(asyncio.IncompleteReadError):
        while True:
            await client.take()
    await client.leave()


@pytest.mark.anyio
async def test_uvicorn_as_it_is_ends_the_streams_by_its_time_out(hb: Any, example: Any) -> None:
    """Guarantee 5.5: it cancels them, and says lifespan.shutdown after that. Without a time-out it waits for ever."""
    import uvicorn

    service = example.make_service(example.Settings(interval=None))
    config = uvicorn.Config(
        service, log_level="critical", lifespan="on", timeout_graceful_shutdown=1
    )
    async with served(example, service, uvicorn.Server(config)) as port:
        clients = [Client() for _ in range(5)]
        for client in clients:
            await client.connect(port)
    for client in clients:
        with pytest.raises(asyncio.IncompleteReadError):
            await client.message()
        await client.leave()
    with pytest.raises(RuntimeError, match="is not open"):
        _ = service.scope


def start_process(*more: str, env: dict[str, str] | None = None) -> tuple[Any, int]:
    """The command of the README, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SERVICE), "--port", str(port), *more],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Uvicorn running on" in line:
            return process, port
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a process there")
@pytest.mark.parametrize("pure", ["", "1"])
def test_the_command_of_the_readme_serves_and_stops_at_ctrl_c_with_streams_open(pure: str) -> None:
    process, port = start_process("--interval", "0.01", env={"HAIWAY_BUS_PURE": pure})
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET /events HTTP/1.0\r\n\r\n")
            got = b""
            while b'"number": 3' not in got:
                got += connection.recv(65536)
            process.send_signal(signal.SIGINT)
            while piece := connection.recv(65536):
                got += piece
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert "Application shutdown complete" in errors
    assert "Cancel" not in errors
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a process there")
def test_a_browser_shows_the_events_as_they_come(browser: Any) -> None:
    """Headless Chromium reads the page: what it counts, and what it shows."""
    from selenium.webdriver.support.ui import WebDriverWait

    process, port = start_process("--interval", "0.1")
    try:
        browser.get(f"http://127.0.0.1:{port}/")
        wait = WebDriverWait(browser, 30)

        def text(selector: str) -> str:
            return str(browser.find_element("css selector", selector).text)

        wait.until(lambda _: text("#status") == "live")
        wait.until(lambda _: int(text("#received")) >= 5)
        browser.find_element("id", "text").send_keys("<b>hello</b>, everybody\n")
        wait.until(lambda _: browser.find_elements("css selector", "li.visitor"))
        assert text("li.visitor p") == "<b>hello</b>, everybody"
        numbers = [
            int(one.removeprefix("#"))
            for one in browser.execute_script(
                "return [...document.querySelectorAll('li span')].map(one => one.textContent)"
            )
        ]
        assert numbers == list(range(numbers[0], numbers[-1] - 1, -1))  # newest first, none missing
        assert text("#dropped") == "0"
        assert text("#pages") == "1"
        if kept := os.environ.get("HAIWAY_BUS_SCREENSHOT"):
            browser.save_screenshot(kept)
        process.send_signal(signal.SIGINT)
        wait.until(lambda _: "connection lost" in text("#status"))
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()

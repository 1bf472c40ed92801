"""Guarantee 8.3 from outside the process: a scope's monitor, and `python -m haiway_bus top`, which shows it."""

from __future__ import annotations

import asyncio
import errno
import importlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="asyncio has no Unix sockets there"),
]


@dataclass(frozen=True)
class Order:
    number: int


@dataclass(frozen=True)
class Refund:
    number: int


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for monitors, with a path that is short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="hb"))
    monkeypatch.setenv("HAIWAY_BUS_RUNTIME_DIR", str(made))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def top(hb: Any) -> Any:
    """`Monitor` and the rooms behind it, in the copy of the package that is under test."""
    names = ["cli", "client", "monitor", "snapshot", "socket_folder", "view"]
    rooms = {name: importlib.import_module(f"haiway_bus.tools._top.{name}") for name in names}
    return SimpleNamespace(Monitor=importlib.import_module("haiway_bus.tools.top").Monitor, **rooms)


async def run(top: Any, *arguments: str) -> int:
    """`top` with these arguments, in a thread, so that the service's loop can answer."""
    code: int = await asyncio.to_thread(top.cli.main, arguments)
    return code


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_table_shows_what_goes_over_the_bus(
    hb: Any, top: Any, folder: Path, capsys: pytest.CaptureFixture[str], tcp: bool
) -> None:
    """Guarantee 8.3: per type readers, pending, the slowest, drops, and how many come a second; the busiest first."""
    async with hb.ctx.scope("shop", disposables=(top.Monitor(tcp=tcp),)):
        orders, _slow = hb.ctx.subscribe(Order), hb.ctx.subscribe(Order, limit=2)
        _refunds = hb.ctx.subscribe(Refund)
        for number in range(4):
            hb.ctx.send(Order(number))
        assert await anext(orders) == Order(0)
        shown = asyncio.create_task(run(top, "--once", "--interval", "0.2"))
        await asyncio.sleep(0.1)
        for number in range(1200):
            hb.ctx.send(Order(number))
        assert await shown == 0
    headline, header, *rows = capsys.readouterr().out.splitlines()
    assert headline.startswith("shop | ")
    assert f"(pid {os.getpid()}) | {hb.backend} | open for 0 s" in headline
    assert header.split() == list(top.view.HEADER)
    assert [row.split()[0] for row in rows] == ["Order", "Refund"]
    _, sent_rate, read_rate, readers, pending, slowest, dropped, *more = rows[0].split()
    assert 1000 < int(sent_rate.replace(",", "")) <= 6000
    assert read_rate == "0"
    assert (readers, pending, slowest) == ("2", "1,205", "1,203")
    assert dropped == "1,202"
    lost_rate, oldest, peak, full = more
    assert 1000 < int(lost_rate.replace(",", "")) <= 6000
    assert (oldest, peak, full) == ("0s", "1,203", "1")
    assert rows[1].split()[1:] == ["0", "0", "1", "0", "0", "0", "0", "0s", "0", "0"]


async def test_json_is_for_programs(
    hb: Any, top: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guarantee 8.3."""
    async with hb.ctx.scope("shop", disposables=(top.Monitor(),)):
        _orders = hb.ctx.subscribe(Order)
        hb.ctx.send(Order(1))
        assert (
            await run(top, "--once", "--json", "--interval", "0.01", "--pid", str(os.getpid())) == 0
        )
    told = json.loads(capsys.readouterr().out)
    assert (told["scope"], told["pid"], told["waiting"]) == ("shop", os.getpid(), [])
    assert told["events"][0].pop("age") > 0  # the second look found it where the first did
    assert told["events"] == [
        {
            "event": "Order",
            "sent_rate": 0.0,
            "delivered_rate": 0.0,
            "dropped_rate": 0.0,
            "subscriptions": 1,
            "sent": 1,
            "delivered": 0,
            "dropped": 0,
            "pending": 1,
            "lag": 1,
            "peak": 1,
            "at_limit": 0,
            "slowest": None,
        }
    ]


def test_a_late_loop_and_what_threads_sent_stand_in_the_headline(top: Any) -> None:
    """Guarantee 8.3."""
    look = top.snapshot.Snapshot(1, "p", "shop", "pure", 0, 9, {}, [], 3, 1200, 0.25, [])
    assert top.view.headline(look) == (
        "shop | p (pid 1) | pure | open for 9 s | 3 scopes | loop 250 ms late"
        " | 1,200 events from threads wait"
    )


@pytest.mark.parametrize("as_json", [False, True])
async def test_it_names_the_slowest_and_the_handlers(
    hb: Any, top: Any, folder: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """Guarantee 8.3: names, busy workers, failed events, open scopes."""
    release = asyncio.Event()

    async def bill(order: Order) -> None:
        if order.number == 0:
            raise ValueError("not that one")
        await release.wait()

    async with hb.ctx.scope("shop", disposables=(top.Monitor(),)):
        orders = hb.ctx.subscribe(Order, name="archive\x1b[2J")
        hb.ctx.on(Order, bill, workers=3)
        for number in range(3):
            hb.ctx.send(Order(number))
        async with hb.ctx.scope("nested"):
            json_too = ["--json"] if as_json else []
            assert await run(top, "--once", "--interval", "0.01", *json_too) == 0
        release.set()
        orders.close()
    said = capsys.readouterr().out
    if as_json:
        told = json.loads(said)
        assert told["scopes"] == 2
        assert told["from_threads"] == 0
        assert told["late"] >= 0
        assert told["events"][0]["slowest"] == "archive\x1b[2J"
        assert told["handlers"] == [
            {
                "handler": bill.__qualname__,
                "event": f"{Order.__module__}.Order",
                "workers": 3,
                "busy": 2,
                "failed": 1,
            }
        ]
    else:
        lines = said.splitlines()
        assert " | 2 scopes" in lines[0]
        assert lines[1] == f"workers busy: {bill.__qualname__} 2/3, 1 failed"
        assert lines[-1] == r"the slowest of Order: archive\x1b[2J"


@pytest.mark.parametrize("as_json", [False, True])
async def test_it_shows_for_whom_a_scope_waits_at_its_end(
    hb: Any, top: Any, folder: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """Guarantee 5.11."""
    go = asyncio.Event()

    async def service() -> None:
        async with hb.ctx.scope("shop", disposables=(top.Monitor(),)):
            hb.ctx.spawn(go.wait).set_name("job\x1b[2J")

    running = asyncio.create_task(service())
    while not os.listdir(folder):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert await run(top, "--once", "--interval", "0.01", *(["--json"] if as_json else [])) == 0
    go.set()
    await running
    said = capsys.readouterr().out
    lines = json.loads(said)["waiting"] if as_json else said.splitlines()[-2:]
    assert lines == [
        "the end of the scope 'shop' waits for 0 s now:",
        r"  the task 'job\\x1b[2J' waits for asyncio.Event.wait",
    ]


async def test_it_ends_with_the_scope_and_holds_it_up_no_more_than_nothing(
    hb: Any, top: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guarantee 5.4, 5.10: a viewer that is still connected is told so, and the socket is gone."""
    monitor = top.Monitor()
    async with hb.ctx.scope("shop", disposables=(monitor,)):
        live = asyncio.create_task(run(top, "--interval", "0.01"))
        while "nobody is subscribed" not in capsys.readouterr().out:
            await asyncio.sleep(0.01)
        assert len(os.listdir(folder)) == 1
    assert await asyncio.wait_for(live, 5) == 0
    assert "the scope has ended" in capsys.readouterr().err
    assert os.listdir(folder) == []
    assert monitor.path is None


async def test_only_its_user_can_connect(hb: Any, top: Any, folder: Path) -> None:
    """Socket and port file have the rights 0600. Without the secret the port tells nothing."""
    sock, tcp = top.Monitor(), top.Monitor(tcp=True)
    async with hb.ctx.scope("shop", disposables=(sock, tcp)):
        for monitor in (sock, tcp):
            assert stat.S_IMODE(monitor.path.stat().st_mode) == 0o600
        port = json.loads(tcp.path.read_text())["port"]

        def unasked(line: bytes) -> bytes:
            with closing(socket.create_connection(("127.0.0.1", port), 5)) as connection:
                try:
                    connection.sendall(line)
                    return connection.recv(100)
                except ConnectionResetError:
                    return b""

        for line in (b"\n", b"wrong\n", b"x" * 100_000):
            assert await asyncio.to_thread(unasked, line) == b""


async def test_a_folder_that_others_may_enter_is_refused(hb: Any, top: Any, folder: Path) -> None:
    """Otherwise another user could replace a service's socket."""
    os.chmod(folder, 0o755)
    with pytest.raises(
        top.socket_folder.UnsafeFolderError, match="no other may enter, .* `chmod 700` it"
    ):
        async with hb.ctx.scope("shop", disposables=(top.Monitor(),)):
            pass


async def test_a_monitor_says_what_it_cannot_do(hb: Any, top: Any, folder: Path) -> None:
    """Guarantee 5.2: outside a scope, twice, at a path that is taken or too long."""
    with pytest.raises(hb.ContextMissing, match=r"Monitor\(\) needs a scope"):
        await top.Monitor().__aenter__()
    with pytest.raises(TypeError, match="not both"):
        top.Monitor(socket_path=folder / "s", tcp=True)
    async with hb.ctx.scope(
        "shop", disposables=(monitor := top.Monitor(socket_path=folder / "s"),)
    ):
        with pytest.raises(RuntimeError, match="entered once"):
            await monitor.__aenter__()
        for path in (folder / "s", folder / ("long" * 50)):
            other = top.Monitor(socket_path=path)
            with pytest.raises(OSError, match="give another socket_path"):
                await other.__aenter__()
            await other.__aexit__(None, None, None)
        assert (folder / "s").exists()


@pytest.mark.parametrize("kind", ["socket", "socket_path", "tcp"])
async def test_what_a_killed_service_has_left_keeps_no_service_from_starting(
    hb: Any, top: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In a container, a restarted service has the same process id, and so the same names."""
    monkeypatch.setattr(top.monitor, "_numbers", itertools.count())
    left = folder / f"{os.getpid()}-0{'.port' if kind == 'tcp' else '.sock'}"
    with closing(socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)) as killed:
        if kind == "tcp":
            killed.bind(("127.0.0.1", 0))
            left.write_text(json.dumps({"port": killed.getsockname()[1], "secret": "old"}))
        else:
            killed.bind(str(left))
    options = {"socket": {}, "socket_path": {"socket_path": left}, "tcp": {"tcp": True}}[kind]
    async with hb.ctx.scope("shop", disposables=(monitor := top.Monitor(**options),)):
        assert monitor.path == left
        with await asyncio.to_thread(top.client.Client, left) as client:
            assert (await asyncio.to_thread(client.ask, 5)).scope == "shop"
    assert os.listdir(folder) == []


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_service_that_runs_keeps_its_place(
    hb: Any, top: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, tcp: bool
) -> None:
    """Two containers that share a folder can have the same process id. Also, a plain file is no socket."""
    files = [folder / f"{os.getpid()}-{number}{'.port' if tcp else '.sock'}" for number in range(4)]
    files[1].write_text("{}")
    files[2].symlink_to(folder / "nowhere")
    numbers = [itertools.count(), itertools.count()]
    monitors = []
    async with AsyncExitStack() as stack:
        for counting in numbers:
            monkeypatch.setattr(top.monitor, "_numbers", counting)
            monitors.append(top.Monitor(tcp=tcp))
            await stack.enter_async_context(hb.ctx.scope("shop", disposables=(monitors[-1],)))
        assert [monitor.path for monitor in monitors] == [files[0], files[3]]
        with pytest.raises(OSError, match="give another socket_path"):
            await top.Monitor(socket_path=files[1]).__aenter__()
    assert files[1].read_text() == "{}"


async def test_a_port_whose_file_cannot_be_written_is_closed(
    hb: Any, top: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would close it, because its scope was not entered."""
    told = []

    def full(_: Path, text: str) -> None:
        told.append(json.loads(text)["port"])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(top.monitor, "write_private", full)
    with pytest.raises(OSError, match="No space left"):
        async with hb.ctx.scope("shop", disposables=(top.Monitor(tcp=True),)):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", told[0]), 5)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_monitor_that_is_cancelled_while_it_opens_leaves_nothing(
    hb: Any, top: Any, folder: Path, tcp: bool
) -> None:
    """Guarantee 5.5: as by a time-out of the service's start, at whichever turn of the loop."""

    async def service() -> None:
        async with hb.ctx.scope("shop", disposables=(top.Monitor(tcp=tcp),)):
            await asyncio.sleep(10)

    async def opened(turns: int | None) -> None:
        """Wait for that many turns, or until it is open."""
        task = asyncio.create_task(service())
        while turns != 0 and not (turns is None and os.listdir(folder)):
            await asyncio.sleep(0)
            turns = turns and turns - 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await opened(None)
    before = set(os.listdir("/dev/fd"))
    for turns in range(12):
        await opened(turns)
        assert os.listdir(folder) == []
        async with asyncio.timeout(
            10
        ):  # transports close, and names are looked up, in turns to come
            while set(os.listdir("/dev/fd")) - before:
                await asyncio.sleep(0.001)


async def test_who_asks_and_does_not_read_is_cut_off(hb: Any, top: Any, folder: Path) -> None:
    """A viewer must not fill the memory of the service."""
    async with hb.ctx.scope("shop", disposables=(monitor := top.Monitor(),)):
        subscriptions = [hb.ctx.subscribe(type(f"E{n}", (), {})) for n in range(100)]
        assert len(subscriptions) == 100

        def flood() -> None:
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.settimeout(10)
                connection.connect(str(monitor.path))
                for _ in range(1000):
                    connection.sendall(b"\n" * 100)
                    time.sleep(0.0001)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await asyncio.to_thread(flood)


async def test_a_blocked_service_is_told_from_one_that_is_gone(
    hb: Any, top: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """`--once` gives up with exit code 1. The live table shows how long there was no answer, and then goes on."""
    monkeypatch.setattr(top.cli, "PATIENCE_SECONDS", 0.1)
    async with hb.ctx.scope("shop", disposables=(monitor := top.Monitor(),)):
        once = asyncio.create_task(run(top, "--once"))
        await asyncio.sleep(0.05)
        time.sleep(0.5)  # the loop is blocked
        client = await asyncio.to_thread(top.client.Client, monitor.path)
        assert client.ask(0.05) is None  # asked in the loop itself, which cannot answer
        assert (await asyncio.to_thread(client.ask, 5)).scope == "shop"
        client.close()
        once.cancel()
    line = top.view.headline(top.snapshot.Snapshot(1, "p", "shop", "pure", 0, 3700, {}, []), 3.2)
    assert (
        line == "shop | p (pid 1) | pure | open for 1 h 1 min | NO ANSWER for 3 s: its loop is busy"
    )


def test_without_a_service_it_says_how_to_have_one(top: Any, folder: Path, capsys: Any) -> None:
    """Exit code 2. A socket that a killed process has left is removed."""
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(folder / "1-0.sock"))
    (folder / "1-1.port").write_text("{}")
    assert top.cli.main(["--once"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no running scope with a monitor was found: give the service")
    assert "disposables=(haiway_bus.tools.top.Monitor(),)" in error
    assert not (folder / "1-0.sock").exists()
    assert top.cli.main(["--pid", "1"]) == 2
    assert "in the process 1:" in capsys.readouterr().err
    assert top.cli.main(["--socket", str(folder / "none")]) == 2
    assert "is the service running?" in capsys.readouterr().err
    for arguments in (["--interval", "0"], ["--pid", "1", "--socket", "x"]):
        with pytest.raises(SystemExit) as exited:
            top.cli.main(arguments)
        assert exited.value.code == 2


@pytest.mark.parametrize("whose", ["another user's", "open to others"])
async def test_top_does_not_ask_where_others_may_have_put_something(
    hb: Any, top: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, whose: str
) -> None:
    """Exit code 2: another user may have made the folder first, under this user's name for it."""
    async with hb.ctx.scope("shop", disposables=(top.Monitor(),)):
        assert await run(top, "--once", "--interval", "0.01") == 0
        capsys.readouterr()
        if whose == "another user's":
            user = os.getuid()
            monkeypatch.setattr(os, "getuid", lambda: user + 1)
        else:
            os.chmod(folder, 0o777)
        assert await run(top, "--once", "--interval", "0.01") == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: the folder for monitors must be a folder of this user")


async def test_names_are_text_whatever_a_terminal_makes_of_them(
    hb: Any, top: Any, folder: Path, capsys: Any
) -> None:
    """The service is the viewer's own, but its names may come from anywhere."""
    evil = type("Evil\x1b]0;owned\x07\x9b2J\u202e", (), {})
    async with hb.ctx.scope("shop\x1b[31m\nsecond\ud800", disposables=(top.Monitor(),)):
        _evil = hb.ctx.subscribe(evil)
        assert await run(top, "--once", "--interval", "0.01") == 0
    headline, _, row = capsys.readouterr().out.splitlines()
    assert headline.startswith("shop\\x1b[31m\\nsecond\\ud800 | ")
    assert row.startswith("Evil\\x1b]0;owned\\x07\\x9b2J\\u202e ")


async def test_of_several_services_one_has_to_be_named(
    hb: Any, top: Any, folder: Path, capsys: Any
) -> None:
    first, second = top.Monitor(), top.Monitor()
    async with hb.ctx.scope("shop", disposables=(first, second)):
        assert await run(top, "--once") == 2
        error = capsys.readouterr().err
        assert "2 running scopes with a monitor were found, choose one of them:" in error
        assert f"--pid {os.getpid()}  --socket {second.path}" in error
        assert await run(top, "--once", "--interval", "0.01", "--socket", str(second.path)) == 0


def test_something_else_that_answers_is_refused(hb: Any, top: Any) -> None:
    """For example a monitor of another version."""
    look = top.snapshot.Snapshot(
        1, "p", "shop", "pure", 0.0, 2.0, {"X": hb.EventStats(*[0] * 6)}, ["x"],
        1, 0, 0.0, [top.snapshot.HandlerRow("bill", "X", 3, 2, 1)],
    )  # fmt: skip
    look = look.to_line()
    top.snapshot.Snapshot.from_line(look)
    for line in (
        b"[]\n",
        b"{}\n",
        b'{"version": 1}\n',
        b"\xff\n",
        b'{"version": 3, "events": {}}\n',
        b"[" * 100_000 + b"\n",
        look.replace(b'"pid": 1', b'"pid": "1"'),
        look.replace(b'"at": 2.0', b'"at": null'),
        look.replace(b'"late": 0.0', b'"late": "0"'),
        look.replace(b'"slowest": null', b'"slowest": 3'),
        look.replace(b'"busy": 2', b'"busy": "2"'),
        look.replace(b'"handler": "bill"', b'"handler": 1'),
        look.replace(b'"shop"', b"[]"),
        look.replace(b'["x"]', b"[1]"),
        look.replace(b'["x"]', b'"x"'),
        look.replace(b'"pending": 0', b'"pending": "none"'),
        look.replace(b'"at"', b'"\\u001b[2J"'),
    ):
        with pytest.raises(ValueError, match="in its format 3, and this is not it") as refused:
            top.snapshot.Snapshot.from_line(line)
        assert str(refused.value).isprintable()


def test_rates_are_of_the_time_between_two_looks(top: Any, hb: Any) -> None:
    """Guarantee 8.3: also when a type's count began anew; names are short while that leaves no doubt."""
    make = top.snapshot.Snapshot

    def look(at: float, **sent: int) -> Any:
        events = {
            name.replace("_", "."): hb.EventStats(1, number, 0, 0, number, number)
            for name, number in sent.items()
        }
        return make(1, "p", "shop", "pure", 0.0, at, events, [])

    rows = top.snapshot.rows(look(12.0, a_X=30, b_X=4, b_Y=8), look(10.0, a_X=10, b_X=10))
    assert [(row.event, row.sent_rate) for row in rows] == [("a.X", 10.0), ("Y", 4.0), ("b.X", 2.0)]
    assert [row.sent_rate for row in top.snapshot.rows(look(1.0, a_X=1), None)] == [None]
    assert [top.view.rate(one) for one in (None, 0.0, 0.25, 9.96, 1234.5)] == [
        "-",
        "0",
        "0.2",
        "10.0",
        "1,234",
    ]


def test_with_rich_the_terminal_shows_a_table_in_colour(top: Any, hb: Any) -> None:
    """Numbers are never cut, however narrow the terminal is. Names are no markup."""
    rich = pytest.importorskip("haiway_bus.tools._top.rich_screen", reason="needs rich")
    console = importlib.import_module("rich.console").Console
    long = "[red]" + "VeryLongName" * 8
    stats = hb.EventStats(2, 1_000_000, 5, 3, 999_995, 999_995)
    screen = console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")
    screen.print(rich.table([top.snapshot.Row(long, 1234.0, 5.0, stats)]))
    text = screen.file.getvalue()
    assert "\x1b[1m[red]Very" in text
    assert "\x1b[33m999,995\x1b[0m" in text
    assert "\x1b[31m3\x1b[0m" in text
    assert "…" in text
    assert max(len(line) for line in strip_colours(text).splitlines()) <= 120


def strip_colours(text: str) -> str:
    return importlib.import_module("rich.text").Text.from_ansi(text).plain


SERVICE = """
import asyncio
from dataclasses import dataclass
from haiway_bus import ctx
from haiway_bus.tools.top import Monitor

@dataclass(frozen=True)
class Tick:
    number: int

async def main():
    async with ctx.scope("ticker", disposables=(Monitor(),)):
        ticks = ctx.subscribe(Tick, limit=5)
        print("ready", flush=True)
        for number in range(100_000):
            ctx.send(Tick(number))
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


@pytest.mark.parametrize("rich", [True, False])
def test_another_process_is_seen(folder: Path, tmp_path: Path, rich: bool) -> None:
    """As a user does it: a service and `python -m haiway_bus top`, with rich and without."""
    (tmp_path / "ticker.py").write_text(SERVICE)
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    if not rich:
        (tmp_path / "rich.py").write_text("raise ImportError('no rich')")
        env["PYTHONPATH"] = str(tmp_path)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "ticker.py")], stdout=subprocess.PIPE, text=True, env=env
    ) as service:
        try:
            assert service.stdout is not None
            assert service.stdout.readline() == "ready\n"
            command = [sys.executable, "-P", "-m", "haiway_bus", "top", "--interval", "0.2"]
            once = subprocess.run(
                [*command, "--once", "--pid", str(service.pid)],
                capture_output=True,
                text=True,
                check=True,
                env=env,
            )
            # If a shell runs the tests in the background, they ignore SIGINT, and so would this process.
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            live = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
            signal.signal(signal.SIGINT, before)
            assert live.stdout is not None
            shown = [live.stdout.readline() for _ in range(7)]
            live.send_signal(signal.SIGINT)
            assert live.wait(10) == 0
            live.stdout.close()
        finally:
            service.kill()
    assert once.stderr == ""
    headline, _, row = once.stdout.splitlines()
    assert headline.startswith(f"ticker | ticker.py (pid {service.pid}) | ")
    assert row.split()[0] == "Tick"
    assert 10 < float(row.split()[1].replace(",", "")) < 1000
    assert row.split()[3:6] == ["1", "5", "5"]
    assert [line.split()[0] for line in shown if line.strip()] == ["ticker", "event", "Tick"] * 2


def test_the_service_on_the_page_is_seen(folder: Path, tmp_path: Path) -> None:
    """docs/integrations/top.md: the table shows that the handler falls behind."""
    page = Path(__file__).resolve().parent.parent / "docs" / "integrations" / "top.md"
    block = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (tmp_path / "shop.py").write_text(block[1], encoding="utf-8")
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    with subprocess.Popen([sys.executable, "-P", str(tmp_path / "shop.py")], env=env) as service:
        try:
            deadline = time.monotonic() + 30
            while True:
                once = subprocess.run(
                    [sys.executable, "-P", "-m", "haiway_bus", "top", "--once", "--interval", "1",
                     "--pid", str(service.pid)],
                    capture_output=True, text=True, env=env, check=False,
                )  # fmt: skip
                row = once.stdout.splitlines()[-1:]
                if row and row[0].startswith("OrderCreated") and row[0].split()[5] != "0":
                    break
                assert time.monotonic() < deadline, once
        finally:
            service.kill()
    assert row[0].split()[0] == "OrderCreated"
    sent, read = (float(one) for one in row[0].split()[1:3])
    assert 0 < read < sent

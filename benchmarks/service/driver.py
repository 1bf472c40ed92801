"""The driver: starts a service in a process of its own, is all of its clients, and tells what it found."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.clients import Account, Client, Socket, Stream
from service.shape import Shape

__all__ = ("drive",)

COMMAND = Path(__file__).resolve().parent / "run.py"
LONGEST = 60.0


def allow_files(number: int) -> None:
    """Each client is a file, here and in the service, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{number} clients need {wanted} open files, and {hard} are allowed")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Driver:
    def __init__(self, side: str, shape: Shape, loop: str) -> None:
        self.side, self.shape, self.loop = side, shape, loop
        self.account = Account()
        self.sockets: list[Socket] = []
        self.streams: list[Stream] = []
        self.comings: list[asyncio.Task[None]] = []
        self.visits = 0
        self.abrupt = Account()  # of streams that were left in the middle
        self.port = 0
        self.closing = False

    async def run(self) -> dict[str, Any]:
        shape = self.shape
        allow_files(shape.sockets + shape.streams)
        command = [sys.executable, "-P", str(COMMAND), "--serve", self.side, "--loop", self.loop]
        command += ["--shape", json.dumps(asdict(shape))]
        self.service = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            self.port = (await self.hear())["port"]
            for _ in range(shape.sockets - shape.churning):
                self.sockets.append(await self.connect(Socket, len(self.sockets) >= shape.slow))
            for _ in range(shape.streams - shape.churning):
                self.streams.append(await self.connect(Stream, len(self.streams) >= shape.slow))
            loaded = await self.load()
            ended = await self.end()
        finally:
            if self.service.returncode is None:
                self.service.kill()
                await self.service.wait()
        return {**loaded, **ended, "faults": self.account.faults[:5]}

    async def connect(
        self, kind: Callable[..., Any], fast: bool, into: Account | None = None
    ) -> Any:
        loop = asyncio.get_running_loop()
        client: Client
        connection = socket.socket()
        connection.setblocking(False)
        if not fast:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.shape.slow_buffer)
        await loop.sock_connect(connection, ("127.0.0.1", self.port))
        _, client = await loop.create_connection(
            lambda: kind(into or self.account, fast), sock=connection
        )
        async with asyncio.timeout(LONGEST):
            await client.greeted
        return client

    @property
    def staying(self) -> list[Client]:
        return [*self.sockets, *self.streams]

    async def load(self) -> dict[str, Any]:
        """The run: what is measured ends when every client has the last tick, the slow ones too."""
        shape = self.shape
        slow = [*self.sockets[: shape.slow], *self.streams[: shape.slow]]
        driven = time.process_time()
        self.say("go")
        for _ in range(shape.churning):
            self.comings.append(asyncio.create_task(self.come_and_go(Socket, self.account)))
            self.comings.append(asyncio.create_task(self.come_and_go(Stream, self.abrupt)))
        asking = asyncio.create_task(self.ask())
        await asyncio.sleep((shape.seconds - shape.stall) / 3)
        for client in slow:
            client.stop_reading()
        await asyncio.sleep(shape.stall)
        for client in slow:
            client.read_on()
        last = (await self.hear())["last"]
        asking.cancel()
        self.closing = True
        gone = await asyncio.gather(*self.comings, return_exceptions=True)
        for broken in gone:
            if isinstance(broken, Exception):
                self.account.faults.append(f"a client that comes and goes broke: {broken!r}")
        await self.until("the last tick", lambda: all(one.last == last for one in self.staying))
        await self.until("the answers", lambda: not any(one.asked for one in self.sockets))
        self.say("report")
        told = await self.hear()
        self.check(told)
        return {
            **told,
            "ticks": last,
            "received": self.account.received + self.abrupt.received,
            "latencies": spread(self.account.latencies),
            "answers": spread([(answer, 1.0) for answer in self.account.answers]),
            "visits": self.visits,
            "driver": time.process_time() - driven,
        }

    def check(self, told: dict[str, Any]) -> None:
        """Every tick that the service dropped is missing at a client, and no other is."""
        account, abrupt = self.account, self.abrupt
        lost = told["dropped"] - told["left_dropped"]
        if account.gaps != lost:
            account.faults.append(f"{account.gaps} ticks are missing, and {lost} were dropped")
        # What was on its way to a client that left in the middle nobody can know.
        least, most = account.received + abrupt.received, told["delivered"]
        if most < least or (not self.visits and most != least):
            account.faults.append(f"{least} ticks came, and {most} were delivered")
        account.faults.extend(abrupt.faults)

    async def come_and_go(self, kind: type[Client], account: Account) -> None:
        chance = random.Random(len(self.comings))
        while not self.closing:
            client = await self.connect(kind, True, account)
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            client.leave()
            async with asyncio.timeout(LONGEST):
                await client.closed
            self.visits += 1

    async def ask(self) -> None:
        turn = 0.02
        due = 0.0
        at = 0
        while True:
            await asyncio.sleep(turn)
            due += turn * self.shape.asks_a_second
            while due >= 1:
                self.sockets[at % len(self.sockets)].ask()
                at, due = at + 1, due - 1

    async def end(self) -> dict[str, Any]:
        """SIGTERM while ticks flow: how long until the service is gone, and what did not arrive."""
        self.say("again")
        await asyncio.sleep(self.shape.before_the_end)
        begun = time.monotonic()
        self.service.send_signal(signal.SIGTERM)
        last = (await self.hear())["last"]
        async with asyncio.timeout(LONGEST):
            await self.service.wait()
            took = time.monotonic() - begun
            await asyncio.gather(*[client.closed for client in self.staying])
        lost = sum(last - client.last for client in self.staying)
        # uvicorn raises the signal that stopped it once more.
        if self.service.returncode not in (0, -signal.SIGTERM):
            self.account.faults.append(f"the service ended with {self.service.returncode}")
        return {"ended_in": took, "lost": lost}

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(LONGEST):
                while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
                    await asyncio.sleep(0.01)
        except TimeoutError:
            self.account.faults.append(f"{what} did not come within {LONGEST:.0f} s")

    def say(self, word: str) -> None:
        assert self.service.stdin is not None
        self.service.stdin.write(f"{word}\n".encode())

    async def hear(self) -> dict[str, Any]:
        assert self.service.stdout is not None
        async with asyncio.timeout(LONGEST + self.shape.seconds):
            line = await self.service.stdout.readline()
        if not line:
            raise RuntimeError(f"the service {self.side!r} has ended; what it said is above")
        told: dict[str, Any] = json.loads(line)
        return told


def spread(latencies: list[tuple[float, float]]) -> dict[str, float]:
    """Median, 99th percentile and the most, in milliseconds, each value with its weight."""
    if not latencies:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    ordered = sorted(latencies)
    whole = sum(weight for _, weight in ordered)
    found: dict[str, float] = {}
    passed = 0.0
    for latency, weight in ordered:
        passed += weight
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            if name not in found and passed >= share * whole:
                found[name] = latency * 1000
    return {**found, "max": ordered[-1][0] * 1000}


def drive(side: str, shape: Shape, loop: str) -> dict[str, Any]:
    """One run of one side."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(Driver(side, shape, loop).run())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Driver(side, shape, loop).run())

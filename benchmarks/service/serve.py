"""The process of a service: uvicorn, and what is measured in it. Its driver speaks to it over stdin and stdout.

`go` feeds the clients for the time of a run, `report` tells what that took, `again` feeds them until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from service.by_hand import ByHand
from service.lean import Lean
from service.on_bus import OnBus
from service.shape import Shape

__all__ = ("SIDES", "serve")

SIDES: dict[str, type[OnBus | ByHand]] = {"bus": OnBus, "hand": ByHand, "lean": Lean}
BEAT = 0.005


class Pulse:
    """How late the loop was at worst."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self.longest = max(self.longest, loop.time() - due)


class Server(uvicorn.Server):
    """Tells where it listens, does what the driver says, and lets the clients have what waits before it stops."""

    def __init__(self, config: uvicorn.Config, side: Any, port: int) -> None:
        super().__init__(config)
        self.side = side
        self.port = port
        self.pulse = Pulse()
        self.cpu = 0.0
        self.tasks: list[asyncio.Task[Any]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tasks.append(asyncio.create_task(self.pulse.beat()))
        threading.Thread(
            target=self.listen, args=(asyncio.get_running_loop(),), daemon=True
        ).start()
        say(port=self.port)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(self.obey, line.strip())

    def obey(self, word: str) -> None:
        if word == "report":
            say(
                cpu=time.process_time() - self.cpu,
                pause=self.pulse.longest,
                rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                **self.side.counts(),
            )
            return
        if word == "go":
            self.pulse.longest = 0.0
            self.cpu = time.process_time()
        task = self.side.begin(self.side.shape.seconds if word == "go" else None)
        task.add_done_callback(lambda _: say(last=self.side.feed.last))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.side.end()
        await super().shutdown(sockets)
        for task in self.tasks:
            task.cancel()
        self.side.feed.executor.shutdown()


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def prove_installed() -> None:
    import haiway_bus

    tree = Path(__file__).resolve().parents[2] / "haiway_bus"
    if Path(str(haiway_bus.__file__)).resolve().is_relative_to(tree):
        raise SystemExit("the benchmark is for the installed package: run it with `python -P`")


def serve(side: str, shape: Shape, loop: str) -> None:
    prove_installed()
    # What a service logs, drops among it, is written: but to nowhere, beside the figures it would be in the way.
    logging.basicConfig(filename=os.devnull, level=logging.INFO)
    service = SIDES[side](shape)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, shape.send_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    config = uvicorn.Config(
        service.app,
        interface="asgi3",
        log_level="error",
        access_log=False,
        lifespan="on",
        loop=loop,  # type: ignore[arg-type]
        ws_ping_interval=None,
        timeout_graceful_shutdown=10,
        backlog=4096,
    )
    Server(config, service, listener.getsockname()[1]).run([listener])

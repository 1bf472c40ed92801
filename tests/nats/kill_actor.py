"""One process of the kill test: `publish URL PUBLISHER FIRST END LOG` or `consume URL GROUP LOG`.

A publisher writes down each event of which `flush` has said that the server has it; a consumer each one it handles.
Both write by one system call a line, so that what is written stays when the process is killed in the next moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from haiway_bus import State, ctx
from haiway_bus.integrations.nats import NatsBridge, received

CHUNK = 100
FLUSH_SECONDS = 90.0


class Job(State):
    publisher: str
    number: int
    text: str


def opened(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def publish(url: str, publisher: str, first: int, end: int, path: str) -> None:
    log = opened(path)
    bridge = NatsBridge(url, publish=[Job], require_server=False, reconnect_timeout=0.5)
    async with ctx.scope(f"publisher {publisher}", disposables=[bridge]):
        for begin in range(first, end, CHUNK):
            numbers = range(begin, min(begin + CHUNK, end))
            for number in numbers:
                ctx.send(Job(publisher=publisher, number=number, text="x" * 100))
            await ctx.flush(Job, timeout=FLUSH_SECONDS)
            os.write(log, "".join(f"{publisher}:{number}\n" for number in numbers).encode())


async def consume(url: str, group: str, path: str) -> None:
    log = opened(path)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def handle(job: Job) -> None:
        fact = received(job)
        assert fact is not None
        line = f"{job.publisher}:{job.number} {fact.message_id} {fact.sequence} {fact.delivered}\n"
        os.write(log, line.encode())

    bridge = NatsBridge(
        url,
        subscribe=[Job],
        durable=group,
        require_server=False,
        reconnect_timeout=0.5,
        heartbeat=0.5,
        ack_wait=4.0,
    )
    async with ctx.scope(f"consumer of {group}", disposables=[bridge]):
        ctx.on(Job, handle)
        await stop.wait()
        await bridge.stop_receiving(timeout=5)
    print(bridge.stats(), bridge.report, file=sys.stderr)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "publish":
        address, name, begin, stop_at, file = arguments
        asyncio.run(publish(address, name, int(begin), int(stop_at), file))
    else:
        asyncio.run(consume(*arguments))

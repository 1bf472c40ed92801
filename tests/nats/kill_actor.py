"""One process of the kill test: `publish URL PUBLISHER FIRST END LOG GATE` or `consume URL GROUP LOG`.

A publisher goes no further than the number in the file GATE, so that what the test does in the middle of its work is
done in the middle on any machine. It writes down each event of which `flush` has said that the server has it; a
consumer each one that it handles. Both write by one system call a line, so that what is written stays when the process
is killed in the next moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

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


def allowed(gate: str) -> int:
    return int(Path(gate).read_text())


async def publish(url: str, publisher: str, first: int, end: int, path: str, gate: str) -> None:
    log = opened(path)
    bridge = NatsBridge(url, publish=[Job], require_server=False, reconnect_timeout=0.5)
    async with ctx.scope(f"publisher {publisher}", disposables=[bridge]):
        for begin in range(first, end, CHUNK):
            numbers = range(begin, min(begin + CHUNK, end))
            while allowed(gate) < numbers.stop:
                await asyncio.sleep(0.01)
            for number in numbers:
                ctx.send(Job(publisher=publisher, number=number, text="x" * 100))
            await ctx.flush(Job, timeout=FLUSH_SECONDS)
            os.write(log, "".join(f"{publisher}:{number}\n" for number in numbers).encode())


async def consume(url: str, group: str, path: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = opened(path)

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
        address, name, begin, stop_at, file, gate_file = arguments
        asyncio.run(publish(address, name, int(begin), int(stop_at), file, gate_file))
    else:
        asyncio.run(consume(*arguments))

"""What limits cost: bursts to many readers, with and without limits, with some of them stuck, and beside queues.

Other objects are alive and the garbage collector is on, as in a service: what is made for each event and reader would
show in its runs, which are counted.

    python -P benchmarks/limits.py [--readers 250] [--events 500] [--alive 200000] [--bursts 5] [--rounds 5] [--check]

A round takes each kind once, one after the other. The times are those of the process, for an event and a reader: of the
sends, of the reads, and of both; least of the rounds. The ratios are taken within a round, to the readers without
limits; the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from haiway_bus import State, backend, ctx

LIMITS = {"limits": 1.15, "one stuck": 1.3, "all stuck": 3.0}  # guarantees 3.1, 4.6
KINDS = ("no limits", "limits", "one stuck", "all stuck", "stuck, newest", "queues")


class Event(State):
    number: int
    text: str


class Found(NamedTuple):
    """Nanoseconds for an event and a reader; how often each generation was collected."""

    send: float
    read: float
    collections: tuple[int, int, int]

    @property
    def both(self) -> float:
        return self.send + self.read


async def read(subscription: Any, count: list[int]) -> None:
    async for _ in subscription:
        count[0] += 1


async def read_queue(queue: asyncio.Queue[Event], count: list[int]) -> None:
    while True:
        await queue.get()
        count[0] += 1


class Readers:
    """So many of one kind, waiting: `send` gives them an event, `wanted` of them read it."""

    def __init__(self, kind: str, readers: int, events: int) -> None:
        self.count = [0]
        self.wanted = readers
        self.held: list[Any] = []
        if kind == "queues":
            queues: list[asyncio.Queue[Event]] = [
                asyncio.Queue(events + 100) for _ in range(readers)
            ]
            puts = [queue.put_nowait for queue in queues]

            def put(event: Event) -> None:
                for one in puts:
                    one(event)

            self.send: Callable[[Any], None] = put
            self.tasks = [asyncio.create_task(read_queue(one, self.count)) for one in queues]
            return
        self.send = ctx.send
        limit = None if kind == "no limits" else events + 100
        stuck = {"one stuck": 1, "all stuck": readers, "stuck, newest": readers}.get(kind, 0)
        self.wanted -= stuck
        overflow = "drop_newest" if kind == "stuck, newest" else None
        self.held = [ctx.subscribe(Event, limit=50, overflow=overflow) for _ in range(stuck)]
        self.tasks = [
            ctx.spawn(read, ctx.subscribe(Event, limit=limit), self.count)
            for _ in range(self.wanted)
        ]

    async def read_all(self, due: int) -> None:
        while self.count[0] < due:  # noqa: ASYNC110 - turn by turn, as the readers go on
            await asyncio.sleep(0)


async def measure(kind: str, readers: int, events: int, bursts: int) -> Found:
    async with ctx.scope("limits"):
        group = Readers(kind, readers, events)
        await asyncio.sleep(0.01)
        for number in range(60):
            group.send(Event(number=number, text="x"))  # who is to be stuck is
        due = 60 * group.wanted
        await group.read_all(due)
        gc.collect()
        collected = [one["collections"] for one in gc.get_stats()]
        send = reading = 0.0
        for _ in range(bursts):
            start = time.process_time()
            for number in range(events):
                group.send(Event(number=number, text="x"))
            sent = time.process_time()
            due += events * group.wanted
            await group.read_all(due)
            send += sent - start
            reading += time.process_time() - sent
        runs = [
            one["collections"] - before
            for one, before in zip(gc.get_stats(), collected, strict=True)
        ]
        for task in group.tasks:
            task.cancel()
        for one in group.held:
            one.close()
        share = 1e9 / (bursts * events * readers)
        return Found(send * share, reading * share, (runs[0], runs[1], runs[2]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=250)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--alive", type=int, default=200_000)
    parser.add_argument("--bursts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if a ratio is over its limit"
    )
    given = parser.parse_args()
    alive = [[number] for number in range(given.alive)]
    rounds = [
        {
            kind: asyncio.run(measure(kind, given.readers, given.events, given.bursts))
            for kind in KINDS
        }
        for _ in range(given.rounds)
    ]
    print(
        f"{backend}, CPython {sys.version.split()[0]}: bursts of {given.events} to {given.readers} readers,"
        f" {len(alive):,} other objects alive; ns for an event and a reader\n"
    )
    print("| readers | send | read | both | to no limits | at most | collections |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    missed = False
    for kind in KINDS:
        best = min((one[kind] for one in rounds), key=lambda found: found.both)
        ratio = statistics.median(one[kind].both / one["no limits"].both for one in rounds)
        most = LIMITS.get(kind)
        missed = missed or (most is not None and ratio > most)
        print(
            f"| {kind} | {best.send:.1f} | {best.read:.1f} | {best.both:.1f} | {ratio:.2f} | {most or ''} |"
            f" {best.collections[0]}, {best.collections[1]}, {best.collections[2]} |"
        )
    return int(given.check and missed)


if __name__ == "__main__":
    sys.exit(main())

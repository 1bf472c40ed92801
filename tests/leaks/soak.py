"""Run alone: a service's day in short, over and over, while its memory is watched (guarantee 3).

    python -P tests/leaks/soak.py --seconds 300

Fails when the process still grows after its first third: the resident memory by more than a megabyte and a half, or the
number of objects at all. Each round is a scope with everything in it that the bus offers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import haiway_bus
from haiway_bus import State, ctx

ALLOWED = 1.5 * 2**20


class Order(State):
    number: int
    items: tuple[str, ...] = ("a", "b")


class Answer(State):
    number: int


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def read(subscription: Any, count: int = 2**62) -> None:
    with suppress(haiway_bus.SubscriptionOverflow):
        async for _ in subscription:
            count -= 1
            if not count:
                return


async def service(size: int) -> None:
    async with ctx.scope("service"):
        ctx.on(Order, lambda order: ctx.send(Answer(number=order.number)), workers=3)
        for limit, overflow in ((5, "drop_oldest"), (5, "drop_newest"), (1, "raise")):
            ctx.spawn(read, ctx.subscribe(Order, limit=limit, overflow=overflow))
        batches = ctx.subscribe(Order).batches(7)
        ctx.spawn(read, batches)
        cancelled = [ctx.spawn(read, ctx.subscribe(Answer)) for _ in range(5)]
        unread = ctx.subscribe(Answer)
        asked = ctx.spawn(ctx.subscribe(Answer).first, lambda answer: answer.number == size - 1)
        with suppress(TimeoutError):
            await asyncio.wait_for(anext(ctx.subscribe(Answer)), 0.0001)

        def produce() -> None:
            for number in range(size):
                ctx.send(Order(number=number))

        thread = threading.Thread(target=contextvars.copy_context().run, args=(produce,))
        thread.start()
        for number in range(size):
            ctx.send(Order(number=number).updated(items=("c",)))
            if number % 50 == 0:
                await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        await asyncio.to_thread(thread.join)
        if not hasattr(sys, "getrefcount"):
            gc.collect()  # flush() waits for a subscription that its reader has dropped, until it is collected
        await ctx.flush(Order)
        await asked
        async with ctx.scope("inner", isolated=True):
            ctx.spawn(read, ctx.subscribe(Answer), 3)
            for number in range(5):
                ctx.send(Answer(number=number))
        unread.close()


async def soak(going_on: Callable[[int], bool], size: int) -> list[tuple[int, int]]:
    """The resident memory and the number of objects after each five rounds."""
    seen: list[tuple[int, int]] = []
    while going_on(len(seen) * 5):
        for _ in range(5):
            await service(size)
        gc.collect()
        seen.append((resident(), len(gc.get_objects())))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rounds", type=int, help="instead of a time")
    parser.add_argument("--size", type=int, default=500, help="events a round")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds

    def going_on(rounds: int) -> bool:
        return time.monotonic() < end if given.rounds is None else rounds < given.rounds

    seen = asyncio.run(soak(going_on, given.size))
    third = len(seen) // 3
    middle, last = seen[third : 2 * third], seen[2 * third :]
    growth = [
        statistics.median(one[at] for one in last) - statistics.median(one[at] for one in middle)
        for at in (0, 1)
    ]
    print(
        f"{haiway_bus.backend}: {len(seen) * 5} rounds, {seen[-1][0] / 2**20:.1f} MiB at the end,"
        f" grew by {growth[0] / 2**10:.0f} KiB and {growth[1]:.0f} objects in the last third"
    )
    if len(seen) < 6:
        sys.exit("too few rounds to tell: give it more seconds")
    # One object left behind in each round would be a hundred; what asyncio and threads keep for a while comes and goes.
    if growth[0] > ALLOWED or growth[1] > 60:
        sys.exit("memory grows")


if __name__ == "__main__":
    import logging

    logging.disable()  # drops and unread events are meant here
    main()

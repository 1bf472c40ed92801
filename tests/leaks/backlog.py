"""Run alone: a backlog is built and let go, in a thread with a stack too small for a recursive release (guarantee 3.3).

    python -P tests/leaks/backlog.py --events 10000000 --stack 131072

Prints the seconds of CPU time that freeing took for a tenth of the events and for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import threading
import time

from haiway_bus import ctx


class Sent:
    __slots__ = ()


async def freed(events: int, limit: int | None) -> float:
    """How long it takes to let go of that many events."""
    async with ctx.scope("backlog"):
        subscription = ctx.subscribe(Sent, limit=limit)
        event = Sent()  # one for all: what is measured is the chain
        for _ in range(events):
            ctx.send(event)
        assert subscription.pending == events
        before = time.thread_time()  # of this thread alone: other processes may have the machine
        subscription.close()
        seconds = time.thread_time() - before
        assert subscription.pending == 0
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--stack", type=int, default=128 * 1024)
    parser.add_argument(
        "--limited", action="store_true", help="in the chain of one bounded subscription"
    )
    given = parser.parse_args()
    gc.disable()  # its passes over millions of nodes are not what is measured
    seconds: list[float] = []

    def run() -> None:
        for events in (given.events // 10, given.events):
            limit = events if given.limited else None
            seconds.append(asyncio.run(freed(events, limit)))

    threading.stack_size(given.stack)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    print(json.dumps({"tenth": seconds[0], "all": seconds[1]}))


if __name__ == "__main__":
    main()

"""What a waiting event costs: the growth of the process over a backlog, payloads made before."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

from comparison.events import cycle
from comparison.readers import check_counts, start, stop
from comparison.streams import STREAMS, Skipped
from comparison.timing import Sample

__all__ = ("backlog",)

STATM = Path("/proc/self/statm")
PAYLOADS = 1_000
EVENTS = 1_000_000
# A quick run has no time to read a million of them again.
QUICK_EVENTS = 300_000
QUICK = 0.2
# What each subscriber of its own keeps multiplies: at fan-out 100 a million events would not fit in many a machine.
REFERENCES = 10_000_000


def resident() -> int:
    """Bytes of memory that the process has now. Not its peak: a child's peak starts with that of its parent."""
    if not STATM.exists():
        raise Skipped(f"the memory of a process is read from {STATM}, which {sys.platform} has not")
    from resource import getpagesize

    return int(STATM.read_text().split()[1]) * getpagesize()


async def backlog(contender: str, fan_out: int, seconds: float) -> Sample:
    """Send a million events (fewer where each subscriber keeps its own) that nobody reads: bytes an event."""
    stream = STREAMS[contender]
    event_type = stream.event_type()
    chained = contender.startswith("haiway_bus")
    most = EVENTS if seconds > QUICK else QUICK_EVENTS
    rounds = (most if chained else min(most, REFERENCES // fan_out)) // PAYLOADS
    events = cycle(event_type, PAYLOADS)
    sent = rounds * PAYLOADS
    async with stream.open(fan_out, event_type) as topic:
        send = topic.send
        gc.collect()
        before = resident()
        for _ in range(rounds):
            for event in events:
                send(event)
        grown = resident() - before
        if topic.waiting() != [sent] * fan_out:
            raise AssertionError(f"every subscriber has {sent} events waiting: {topic.waiting()}")
        # One reader reads all of it, which shows what was kept: every event, in order.
        tasks = await start(topic.readers[:1])
        while topic.waiting()[0]:
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0)
        check_counts(tasks, sent)
        await stop(tasks)
        for reader in topic.readers[1:]:
            reader.close()
    return Sample(min=grown / sent, median=grown / sent, repeats=1)

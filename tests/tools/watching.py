"""Runs each reader while a tool looks on. Prints, as JSON, what the tool was shown and what is wrong with it.

python -P watching.py SOURCE THREADS TOOL ...
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import kit
import monitors
import readers
from apart import each
from sources import SENT, OfTheBus

ROUNDS = 3  # of each of several threads


def tools() -> dict[str, Callable[[], Any]]:
    known: dict[str, Callable[[], Any]] = {
        "nothing": kit.nothing,
        "settrace": kit.trace,
        "settrace that changes": lambda: kit.trace(change=True),
        "settrace that keeps nothing": lambda: kit.trace(keep=False),
        "setprofile": kit.profiler,
        "setprofile and settrace": kit.both,
        "cProfile": kit.in_c,
        "faulthandler": kit.dumps,
        "tracemalloc": kit.allocations,
        "collector": lambda: kit.collector(0),
        "collector that saves": lambda: kit.collector(gc.DEBUG_SAVEALL),
        "coverage ctrace": lambda: kit.coverage("ctrace", True),
        "coverage pytrace": lambda: kit.coverage("pytrace", True),
        # Before 3.14 it cannot tell branches.
        "coverage sysmon": lambda: kit.coverage("sysmon", sys.version_info >= (3, 14)),
        "monitoring": monitors.monitor,
        "monitoring what is rare": lambda: monitors.monitor(*monitors.RARE),
        "monitoring that disables": lambda: monitors.monitor(disable=True),
        "monitoring that keeps nothing": lambda: monitors.monitor(keep=False),
        "monitoring that works": lambda: monitors.monitor(*monitors.RARE, then=aside),
    }
    if monitors.monitoring is None:
        known = {
            name: tool
            for name, tool in known.items()
            if "monitor" not in name and "sysmon" not in name
        }
    for name in monitors.event_names():
        known[f"monitoring {name}"] = lambda name=name: monitors.monitor(name)
    return known


aside = monitors.Aside()


def read_all(kind: str) -> None:
    for name in readers.READERS:
        asyncio.run(readers.run(kind, name))


def read_in_threads(kind: str, number: int) -> None:
    """The loops run at the same time, and change places as often as can be."""
    failed: list[BaseException] = []
    together = threading.Barrier(number)

    def work() -> None:
        try:
            together.wait()
            for _ in range(ROUNDS):
                read_all(kind)
        except BaseException as failure:
            failed.append(failure)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    if failed:
        raise failed[0]


def watch(tool: str, kind: str, threads: int) -> dict[str, Any]:
    def work() -> None:
        if threads == 1:
            read_all(kind)
        else:
            read_in_threads(kind, threads)

    if tool == "monitoring that works" and kind == "bus":
        OfTheBus.beside = aside
    if tool == "profile":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from 3.15 on
            import profile
        shown = kit.Shown()
        profile.Profile().runcall(work)
    else:
        with tools()[tool]() as shown:
            work()
    OfTheBus.beside = None
    shown.look_again()
    shown.drop()
    if sys.implementation.name != "cpython":
        gc.collect()
    if left := [event() for event in SENT if event() is not None]:
        shown.wrong.append(f"still held: {left}")
    return {
        "types": sorted({f"{one.__module__}.{one.__qualname__}" for one in shown.types}),
        "at readers": sorted(map(list, shown.at_readers)),
        "wrong": shown.wrong,
        "measured": shown.measured,
        "stops": shown.stops,
    }


if __name__ == "__main__":
    _, kind, threads, *wanted = sys.argv
    sys.breakpointhook = lambda: None
    gc.disable()
    each(
        wanted or [*tools(), "profile"],
        lambda tool: print(json.dumps(watch(tool, kind, int(threads)))),
    )

"""What the end of a scope costs (guarantee 5.12), as ratios within one run.

    python -P benchmarks/scope_end.py [--quick] [--before PYTHON]

`--before` names an interpreter that has another version of the package: the same is measured there, by turns, and
stands in a column of its own. Times are those of the processor, without what others do meanwhile; of each the least of
three. A cell that takes more than two minutes counts as "over 120 s".
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from haiway_bus import ctx

SECONDS: Final = 120
SLEEP: Final = 0.05


class Ping:
    pass


async def audit() -> None:
    await asyncio.sleep(SLEEP)


async def left() -> None:
    """A request that leaves one sleeping task to the end of its scope."""
    async with ctx.scope("request"):
        ctx.spawn(audit)


async def awaited() -> None:
    async with ctx.scope("request"):
        await ctx.spawn(audit)


async def reader(kind: type = Ping) -> None:
    async for _ in ctx.subscribe(kind):
        pass


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    begun = time.process_time()
    await work()
    return time.process_time() - begun


async def requests(number: int, request: Callable[[], Awaitable[None]]) -> float:
    async with ctx.scope("service"):

        async def all_of_them() -> None:
            await asyncio.gather(*[request() for _ in range(number)])

        return await seconds(all_of_them) / number


async def request_beside(number: int) -> float:
    """One request after the other, beside tasks that have nothing to do with them."""
    others = [asyncio.ensure_future(asyncio.sleep(3600)) for _ in range(number)]
    await asyncio.sleep(0)
    gc.collect()
    gc.freeze()
    try:
        async with ctx.scope("service"):

            async def some() -> None:
                for _ in range(20):
                    await left()

            return await seconds(some) / 20
    finally:
        gc.unfreeze()
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def message(ended: bool) -> float:
    """A message through an asyncio.Queue beside 5,000 idle readers, before and after the end of the body."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    number, found = 5000, []

    async def consume() -> None:
        for _ in range(number):
            await queue.get()

    async def produce() -> None:
        await asyncio.sleep(0.2)

        async def all_of_them() -> None:
            for one in range(number):
                queue.put_nowait(one)
                await asyncio.sleep(0)

        found.append(await seconds(all_of_them))

    async with ctx.scope("service"):
        for _ in range(5000):
            ctx.spawn(reader)
        ctx.spawn(consume)
        producing = ctx.spawn(produce)
        if not ended:
            await producing
    return found[0] / number


async def jobs(number: int, gathered: bool) -> float:
    """Jobs behind one lock, spawned each or in one gather."""
    lock = asyncio.Lock()

    async def job() -> None:
        async with lock:
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.gather(*[job() for _ in range(number)])

    async def work() -> None:
        async with ctx.scope("test"):
            for _ in range(1 if gathered else number):
                ctx.spawn(all_of_them if gathered else job)

    return await seconds(work)


async def readers(number: int, types: bool) -> float:
    kinds = [type(f"Kind{at}", (), {}) if types else Ping for at in range(number)]

    scope = ctx.scope("test")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(scope)
        for kind in kinds:
            ctx.spawn(reader, kind)
        await asyncio.sleep(0)
        return await seconds(stack.aclose)


async def waiting() -> float:
    """The share of a processor that a scope takes which waits for one second, for a reader and a plain future."""

    async def work() -> None:
        async with ctx.scope("test"):
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1, done.set_result, None)

            async def either() -> None:
                reading = asyncio.ensure_future(reader())
                await asyncio.wait([reading, done], return_when=asyncio.FIRST_COMPLETED)
                reading.cancel()

            ctx.spawn(either)

    return await seconds(work)


# What is shown, what it is at most to be, and the two whose ratio it is (or one share).
Cell = Callable[[], Awaitable[float]]
ROWS: Final[list[tuple[str, float, Cell, Cell | None]]] = [
    *(
        (
            f"{number} requests at once, a task left to the end : awaited",
            2.0,
            lambda number=number: requests(number, left),
            lambda number=number: requests(number, awaited),
        )
        for number in (100, 1000, 4000)
    ),
    (
        "one request beside 30,000 sleeping tasks : alone",
        1.5,
        lambda: request_beside(30000),
        lambda: request_beside(0),
    ),
    (
        "a message beside 5,000 idle readers, body ended : not",
        3.0,
        lambda: message(True),
        lambda: message(False),
    ),
    *(
        (
            f"{2 * number} {what} : {number}",
            2.3,
            lambda number=number, make=make: make(2 * number),
            lambda number=number, make=make: make(number),
        )
        for number, what, make in (
            (8000, "jobs behind one lock", lambda number: jobs(number, False)),
            (16000, "jobs in one gather", lambda number: jobs(number, True)),
            (10000, "idle readers", lambda number: readers(number, False)),
            (10000, "types with a reader each", lambda number: readers(number, True)),
        )
    ),
    ("a reader and a plain future, waiting: share of a processor", 0.05, waiting, None),
]


def measure(python: str, row: int, side: int, quick: bool) -> float | None:
    """The least of three runs of one cell, each in a process of its own; None when it takes too long."""
    found = []
    for _ in range(1 if quick else 3):
        command = [python, "-P", str(Path(__file__)), "--cell", str(row), str(side)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return None
        found.append(float(json.loads(done.stdout)))
    return min(found)


def ratio(python: str, row: int, quick: bool) -> str:
    upper = measure(python, row, 0, quick)
    if upper is None:
        return f"over {SECONDS} s"
    if ROWS[row][3] is None:
        return f"{upper:.3f}"
    lower = measure(python, row, 1, quick)
    return f"{upper / lower:.2f} ({1000 * upper:.3g} ms)" if lower else "?"


def lines(pythons: list[str], rows: list[int], quick: bool) -> Iterator[str]:
    columns = ["now"] if len(pythons) == 1 else ["before", "now"]
    yield f"| | at most | {' | '.join(columns)} |"
    yield "| --- | ---: |" + " ---: |" * len(columns)
    for row in rows:
        name, limit, *_ = ROWS[row]
        found = " | ".join(ratio(python, row, quick) for python in pythons)
        yield f"| {name} | {limit} | {found} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", help="an interpreter with another version of the package")
    parser.add_argument("--quick", action="store_true", help="one run of each instead of three")
    parser.add_argument("--only", default="", help="the rows with this in their name")
    parser.add_argument("--cell", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        row, side = given.cell
        cell: Any = ROWS[row][2 + side]
        print(json.dumps(asyncio.run(cell())))
        return
    rows = [row for row, (name, *_) in enumerate(ROWS) if given.only in name]
    if not rows:
        sys.exit(f"--only {given.only!r} matches none of the rows")
    for line in lines(
        [*([given.before] if given.before else []), sys.executable], rows, given.quick
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""What an event costs before it is sent: making it, changing it, comparing it, defining its class, the import."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from timeit import Timer
from typing import Any

from comparison.events import OutOfOrder
from comparison.readers import check_counts, start, stop
from comparison.records import RECORDS, dataclass_order
from comparison.streams import haiway_bus_module
from comparison.timing import Sample, clock, measure

__all__ = ("STATEMENTS", "define", "importing", "make_send_receive", "statement")

BURST = 100
# Each is written out five times, so that what is timed is the statement and not the loop around it.
WRITTEN_OUT = 5
STATEMENTS = {
    "construct": "Order(name='A1', price=1.5, number=7)",
    "updated": "",  # in each library's own words
    "equal": "order == twin",
    "hash": "hash(order)",
    "repr": "repr(order)",
}


async def time_timer(timer: Timer, units: int, seconds: float) -> Sample:
    async def run(loops: int) -> float:
        return timer.timeit(loops)

    return await measure(run, units, seconds)


async def statement(contender: str, fields: int, seconds: float, *, name: str) -> Sample:
    """One operation on an instance with the fields str, float and int: per operation."""
    record = RECORDS[contender]
    order_class = record.order()
    values = {"name": "A1", "price": 1.5, "number": 7}
    order, twin = order_class(**values), order_class(**values)
    names = {"Order": order_class, "order": order, "twin": twin, "changed": record.changed_with()}
    text = STATEMENTS[name] or record.changed
    changed = eval(record.changed, names)
    if not (order == twin and hash(order) == hash(twin) and order is not twin):
        raise AssertionError(f"equal values make equal instances: {order!r}, {twin!r}")
    if (changed.name, changed.price, changed.number) != ("A1", 2.5, 7) or order.price != 1.5:
        raise AssertionError(f"a changed copy has the change alone: {changed!r}, {order!r}")
    return await time_timer(
        Timer(";".join([text] * WRITTEN_OUT), globals=names, timer=clock), WRITTEN_OUT, seconds
    )


async def define(contender: str, fields: int, seconds: float) -> Sample:
    """Define a class with ten fields: per class."""
    return await time_timer(Timer(RECORDS[contender].ten_fields, timer=clock), 1, seconds)


async def importing(contender: str, size: int, seconds: float) -> Sample:
    """Import the package into a fresh interpreter: per import, asyncio included where it is needed."""
    module = "asyncio" if contender == "asyncio" else "haiway_bus"
    code = (
        "from time import process_time as now; begin = now()\n"
        f"import {module}\n"
        "print(now() - begin)"
    )

    async def run(loops: int) -> float:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", code, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await child.communicate()
        return float(output)

    return await measure(run, 1, seconds)


async def read_orders(orders: AsyncIterator[Any]) -> None:
    count = expected = 0
    async for order in orders:
        if order.number != expected:
            raise OutOfOrder(expected, order.number)
        expected = expected + 1 if expected < BURST - 1 else 0
        count += 1


async def get_orders(get: Callable[[], Awaitable[Any]]) -> None:
    count = expected = 0
    while True:
        order = await get()
        if order.number != expected:
            raise OutOfOrder(expected, order.number)
        expected = expected + 1 if expected < BURST - 1 else 0
        count += 1


async def time_orders(
    send: Callable[[Any], object], order: Any, reader: Any, seconds: float
) -> Sample:
    tasks = await start([reader])
    sent = 0

    async def run(loops: int) -> float:
        nonlocal sent
        make, give, sleep = order, send, asyncio.sleep
        begin = clock()
        for _ in range(loops):
            for number in range(BURST):
                give(make(name="A1", price=1.5, number=number))
            await sleep(0)
        sent += loops * BURST
        return clock() - begin

    sample = await measure(run, BURST, seconds)
    check_counts(tasks, sent)
    await stop(tasks)
    return sample


async def make_send_receive(contender: str, fan_out: int, seconds: float) -> Sample:
    """Make, send and receive events in bursts of 100, one reader: per event."""
    if contender == "asyncio.Queue and dataclass":
        queue: asyncio.Queue[Any] = asyncio.Queue()
        return await time_orders(
            queue.put_nowait, dataclass_order(), get_orders(queue.get), seconds
        )
    ctx = haiway_bus_module().ctx
    order = RECORDS[contender].order()
    async with ctx.scope("benchmark"):
        return await time_orders(ctx.send, order, read_orders(ctx.subscribe(order)), seconds)

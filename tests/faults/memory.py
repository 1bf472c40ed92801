"""Run alone: every allocation of every step of the bus fails once (guarantee 2.5, 2.7, 3).

    python -P tests/faults/memory.py

For each operation below and each number n, a fresh bus does the operation while its n-th allocation fails, until n
is past the last one. An operation may raise MemoryError or get by. Either way the bus keeps its promises afterwards:
what a subscription says is waiting can be taken, no more and no less; what is sent next arrives; and no reader sleeps
while an event waits for it.

Prints, for each operation, how many of its allocations were made to fail and how many of these failures it told of.
"""

from __future__ import annotations

import _testcapi
import asyncio
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import haiway_bus
from haiway_bus._bus import Bus

LAST = 400  # no operation allocates more often


class Sent:
    pass


class Other:
    pass


class Case:
    """A bus with parked readers, a pool, limits and a backlog; and who has taken what."""

    def __init__(self) -> None:
        self.bus = Bus("faults")
        self.bus.observer = lambda dropped: None
        self.plain = self.bus.subscribe(Sent)
        self.parked = [self.bus.subscribe(Sent) for _ in range(3)]
        self.pool = self.bus.subscribe(Sent)
        self.limited = [
            self.bus.subscribe(Sent, 2, overflow)
            for overflow in ("drop_oldest", "drop_newest", "raise")
        ]
        self.tasks = [
            asyncio.create_task(self.read(one)) for one in (*self.parked, *[self.pool] * 3)
        ]
        self.taken: dict[int, int] = {}

    async def read(self, subscription: Any) -> None:
        async for _ in subscription:
            self.taken[id(subscription)] = self.taken.get(id(subscription), 0) + 1

    def waiting(self) -> list[Any]:
        return [self.plain, *self.limited]

    async def end(self) -> None:
        self.bus.close()
        for task in self.tasks:
            task.cancel()
        await turns()


def drained(subscription: Any) -> int:
    """How many events can be taken from it at once."""
    number = 0
    while True:
        try:
            subscription.receive_nowait()
            number += 1
        except haiway_bus.SubscriptionOverflow:
            continue
        except asyncio.QueueEmpty:
            return number


async def fails_at(
    number: int, prepare: Callable[[Case], Any], act: Callable[[Case, Any], object]
) -> tuple[bool, bool]:
    """One operation whose n-th allocation fails: whether there was an n-th, and whether it was told."""
    case = Case()
    await turns()
    told = await in_a_callback(number, lambda: prepare(case), lambda prepared: act(case, prepared))
    if told and act in AGAIN:
        act(case, None)
    await turns()
    if told and act is call:
        # A Task that fails while it is being resumed is stuck, whatever it waits on: asyncio's own, and only the one.
        lost = [one for one in (*case.parked, case.pool) if one.pending]
        assert len(lost) <= 1, lost
        return told
    check(case)
    # The next event reaches everybody who is still there.
    before = dict(case.taken)
    waiting = [(one, one.pending) for one in case.waiting() if not one.closed]
    case.bus.send(Sent())
    for one, pending in waiting:
        assert one.pending == min(pending + 1, one.limit or sys.maxsize), (one, pending)
        assert drained(one) == min(pending + 1, one.limit or sys.maxsize), (one, pending)
    await turns()
    check(case)
    for one in (*case.parked, case.pool):
        if not one.closed and reading(case, one):
            assert case.taken.get(id(one), 0) > before.get(id(one), 0), one
    await case.end()
    return told


async def in_a_callback(
    number: int, prepare: Callable[[], Any], act: Callable[[Any], object]
) -> bool:
    """Whether the n-th allocation of what a callback of the loop does failed, and it said so."""
    told = asyncio.get_running_loop().create_future()

    def callback() -> None:
        prepared = prepare()
        failed = False
        gc.disable()
        _testcapi.set_nomemory(number, number + 1)
        try:
            made = act(prepared)  # let go of outside, where it can be counted out
        except (
            MemoryError,
            SystemError,
        ):  # the latter from a Task that the interpreter could not resume
            failed = True
        except BaseException as error:
            # asyncio cannot say that the loop is in a Task (3.13), and then wonders that it was not.
            failed = str(error).startswith("Leaving task")
            if not failed:
                told.set_exception(error)
                return
        finally:
            _testcapi.remove_mem_hooks()
            gc.enable()
        made = None  # noqa: F841
        told.set_result(failed)

    asyncio.get_running_loop().call_soon(callback)
    return await told


def reading(case: Case, subscription: Any) -> bool:
    return any(
        not task.done() and other is subscription
        for task, other in zip(case.tasks, (*case.parked, *[case.pool] * 3), strict=True)
    )


def check(case: Case) -> None:
    for one in (*case.parked, case.pool):
        # The one that "close" closed has readers that must have ended, the others must have taken all.
        asleep = (one.pending or one.closed) and reading(case, one)
        assert not asleep, f"{one!r} has readers, and they sleep"


async def turns(count: int = 6) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def nothing(case: Case) -> None:
    return None


def send(case: Case, _: Any) -> None:
    case.bus.send(Sent())


def fill_up(case: Case) -> None:
    for _ in range(2):
        case.bus.send(Sent())


def fill(case: Case) -> None:
    for _ in range(4):
        case.bus.send(Sent())


def subscribe(case: Case, _: Any) -> None:
    case.bus.subscribe(Sent).close()


def subscribe_new(case: Case, _: Any) -> Any:
    return case.bus.subscribe(Other)


def subscribe_limited(case: Case, _: Any) -> Any:
    return case.bus.subscribe(Other, 5, "raise")


def close_parked(case: Case, _: Any) -> None:
    case.parked[0].close()


def close_limited(case: Case, _: Any) -> None:
    case.limited[0].close()


def cancel_parked(case: Case, _: Any) -> None:
    case.tasks[0].cancel()


def cancel_first_worker(case: Case, _: Any) -> None:
    case.tasks[3].cancel()


def take(case: Case, _: Any) -> None:
    case.plain.receive_nowait()


def take_apart(case: Case, _: Any) -> None:
    for one in case.limited[1:]:
        one.receive_nowait()


def ready_read(case: Case) -> Any:
    fill(case)
    return case.plain.__anext__()


def step(case: Case, read: Any) -> None:
    with suppress(StopIteration):
        read.send(None)


def new_read(case: Case) -> Any:
    return case.plain.__anext__()


def park(case: Case, read: Any) -> None:
    with suppress(StopIteration):
        read.send(None)
    read.close()


def resume(case: Case) -> Any:
    # What the loop would call in its next turn, called here instead, where the allocations fail.
    asked: list[Any] = []
    with patch.object(
        case.bus.loop, "call_soon", lambda callback, *, context: asked.append(callback)
    ):
        case.bus.send(Sent())
    (callback,) = asked
    # It may fail to ask the loop for another call. What it leaves is resumed with whatever is woken next.
    case.bus.loop.call_later(0, case.bus.wake_ready)
    return callback


def call(case: Case, callback: Any) -> None:
    callback()


OPERATIONS: dict[str, tuple[Callable[[Case], Any], Callable[[Case, Any], object]]] = {
    "send": (nothing, send),
    "send to those at their limits": (fill_up, send),
    "send into full limits": (fill, send),
    "subscribe": (nothing, subscribe),
    "subscribe to a new type": (nothing, subscribe_new),
    "subscribe with a limit": (nothing, subscribe_limited),
    "receive_nowait": (fill, take),
    "take what waits apart": (fill, take_apart),
    "take": (ready_read, step),
    "park": (new_read, park),
    "resume": (resume, call),
    "close with a parked reader": (nothing, close_parked),
    "close with drops to tell": (fill, close_limited),
    "cancel": (nothing, cancel_parked),
    "cancel the first of a pool": (nothing, cancel_first_worker),
}


# What can be called again after it failed, and then goes on with what it had left.
AGAIN = (close_parked, close_limited, cancel_parked, cancel_first_worker)


async def main() -> None:
    # A failure that meets the loop's own code is told to its handler.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    wrong: list[str] = []
    sys.unraisablehook = lambda unraisable: wrong.append(f"{unraisable.exc_value!r} ignored")
    for name, (prepare, act) in OPERATIONS.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        told = 0
        since = 0
        number = 1
        while (
            number < LAST and since < 25
        ):  # a run of failures that nobody noticed: past the last allocation
            try:
                failed = await fails_at(number, prepare, act)
            except (AssertionError, RuntimeError) as error:
                wrong.append(f"{name}, allocation {number}: {error}")
                failed = True
            told += failed
            since = 0 if failed else since + 1
            number += 1
        print(f"{name}: {number - 1 - since} allocations, {told} told")
    if wrong:
        print("\n".join(wrong), file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    # Not asyncio.run(), which waits for every task to end, also for one that asyncio itself has lost.
    asyncio.new_event_loop().run_until_complete(main())
    sys.stdout.flush()
    os._exit(0)

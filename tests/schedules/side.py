"""One copy of the package for `test_model.py`, and a task that does in its scopes what it is told."""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Awaitable, Callable
from typing import Any

from .choosers import Chooser
from .loop import ScheduleLoop
from .naive import Ended, Loss

__all__ = ("Side", "take")


def words_for(error: BaseException) -> Any:
    """What an exception is in the naive bus's words. Its traceback would keep subscriptions alive."""
    if isinstance(error, StopAsyncIteration):
        return Ended
    lost = getattr(error, "lost", None)
    return type(error) if lost is None else Loss(lost)


async def take(subscription: Any) -> Any:
    """One event, or what came in its place."""
    try:
        return await anext(subscription)
    except Exception as error:
        return words_for(error)


class Side:
    """One copy of the package, and a task that does in it what it is told."""

    def __init__(self, hb: Any) -> None:
        self.hb = hb
        self.loop = ScheduleLoop(Chooser({}))
        self.scopes: list[Any] = []
        self.subscriptions: dict[int, Any] = {}
        self.workers: dict[int, Task[Any]] = {}
        self.outcomes: dict[int, Any] = {}
        self.told: Future[Callable[[Side], Awaitable[Any]] | None] = self.loop.create_future()
        self.results: list[Any] = []
        self.driver = self.loop.create_task(self.drive())
        self.loop.run_again()

    async def drive(self) -> None:
        while (call := await self.told) is not None:
            self.told = self.loop.create_future()
            try:
                result = await call(self)
            except Exception as error:
                result = words_for(error)
            self.results.append(result)

    def do(self, call: Callable[[Side], Awaitable[Any]]) -> Any:
        """Do it, run until nothing is ready, and give what it gave."""
        self.told.set_result(call)
        self.loop.run_again()
        (result,) = self.results
        self.results.clear()
        self.let_go()
        return result

    def let_go(self) -> None:
        """Keep of a task that is done only its outcome: what it was cancelled with holds all that it worked on.

        In a frame of its own, as the tracebacks of what was raised in the loop lead to that of `do`.
        """
        for number in [number for number, task in self.workers.items() if task.done()]:
            task = self.workers.pop(number)
            self.outcomes[number] = asyncio.CancelledError if task.cancelled() else task.result()
        self.loop.tasks = [task for task in self.loop.tasks if not task.done()]

    def end(self) -> None:
        self.told.set_result(None)
        self.loop.run_again()
        assert self.driver.done()
        assert all(task.done() for task in self.loop.tasks)
        assert not self.loop.reports
        self.loop.close()

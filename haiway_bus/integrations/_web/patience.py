"""A time-out for many waits in a row, almost all of them short: a single timer serves them all."""

from __future__ import annotations

import asyncio
from asyncio import Task, TimerHandle
from typing import Any, cast

__all__ = ("Patience",)


class Patience:
    """Breaks off a wait of the task that made it after so many seconds, with CancelledError.

    `asyncio.timeout` sets and cancels a timer for each wait. Here a wait notes when it began, and a timer looks once in
    a while. Invariant: `since` is None while the task does not wait, so that nothing else is broken off.
    """

    __slots__ = ("broken", "cancelling", "loop", "seconds", "since", "task", "timer")

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds
        self.task: Task[Any] = cast("Task[Any]", asyncio.current_task())
        self.cancelling: int = self.task.cancelling()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.since: float | None = None
        self.broken: bool = False
        self.timer: TimerHandle = self.loop.call_later(seconds, self.look)

    def begin(self) -> None:
        """Note that a wait begins."""
        self.since = self.loop.time()

    def look(self) -> None:
        """Break off the wait if it has lasted too long, and look again later."""
        begun = now = self.loop.time()
        if self.since is not None and not self.broken:
            if now < self.since + self.seconds:
                begun = self.since
            else:
                self.broken = True
                self.task.cancel()
        self.timer = self.loop.call_at(begun + self.seconds, self.look)

    def ended(self) -> bool:
        """After a CancelledError, return whether it came from here and nobody else has cancelled the task meanwhile."""
        broken, self.broken = self.broken, False
        return broken and self.task.uncancel() <= self.cancelling

    def stop(self) -> None:
        """Stop the timer."""
        self.timer.cancel()

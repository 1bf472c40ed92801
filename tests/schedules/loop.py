"""An event loop whose order and clock belong to a chooser.

asyncio runs what is ready in the order in which it became so. This loop asks a chooser, before each step, which of
the ready handles to run, or whether to let time pass first. Choice 0 everywhere is asyncio's own order.

That is a stronger environment than asyncio gives: a handle can be overtaken by one that became ready after it, the
callbacks of one future may run in any order, and a timer may fire while others are ready, as it does when code is
slow. What the bus promises must hold here all the same, except the clauses that name the loop's own order (2.6, what
the readers leave of a turn), which no model asserts. So nothing is held in groups: no promise was found to need it.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from asyncio import Handle, Task
from asyncio.events import _set_running_loop
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final

from .choosers import Chooser

__all__ = ("Endless", "ScheduleLoop")

# A schedule of a small model takes 20 to 200 steps: one that takes so many will not end.
STEPS: Final = 5000


class Endless(AssertionError):
    """Raised when a schedule does not come to rest."""


class ScheduleLoop(asyncio.BaseEventLoop):
    """One schedule: a loop without files, sockets or real time.

    Invariants: `_ready` is a list of handles in the order in which they became ready; `now` is the virtual time and
    passes only when the chooser says so, or when nothing is ready. `reports` has what the exception handler was
    told, `tasks` every task that was made.
    """

    def __init__(self, chooser: Chooser) -> None:
        super().__init__()
        self._ready: list[Handle] = []
        self.chooser = chooser
        self.now = 0.0
        self.tasks: list[Task[Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.trace: Callable[[int, int, Handle | None], object] | None = None

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        self._check_closed()
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        # There is no thread to wake: a model that used one would have schedules that nobody chose.
        return self.call_soon(callback, *args, context=context)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> Task[Any]:
        # Named by their order in the schedule, so that a replay tells the same names.
        if options.get("name") is None:
            options["name"] = f"task {len(self.tasks)}"
        task = Task(coro, loop=self, **options)
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reports.append(context)

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def run(
        self,
        main: Coroutine[Any, Any, Any],
        after_step: Callable[[], object],
        at_rest: Callable[[], object],
    ) -> Task[Any]:
        """Run until nothing is ready and no timer is left, with a check after every step and one at the end."""
        task = self.create_task(main, name="main")
        with self.running():
            self.run_until_idle(after_step)
            if task.done() and not task.cancelled() and task.exception() is None:
                at_rest()
        return task

    def run_again(self) -> None:
        """Run what is left, without checks."""
        with self.running():
            self.run_until_idle(lambda: None)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread_id = threading.get_ident()
        _set_running_loop(self)
        try:
            yield
        finally:
            _set_running_loop(None)
            self._thread_id = None

    def run_until_idle(self, after_step: Callable[[], object]) -> None:
        for _ in range(STEPS):
            if not self.step():
                return
            after_step()
        raise Endless(f"still busy after {STEPS} steps")

    def step(self) -> bool:
        """Run one handle, or let the time of the next timer come; False when there is neither."""
        ready = self._ready
        timers = self._scheduled
        for index in range(len(ready) - 1, -1, -1):
            if ready[index]._cancelled:
                del ready[index]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        options = len(ready) + (1 if timers else 0)
        if options == 0:
            return False
        chosen = self.chooser.choose(options) if options > 1 else 0
        if chosen == len(ready):
            self.pass_time()
            handle = None
        else:
            handle = ready.pop(chosen)
        if self.trace is not None:
            self.trace(chosen, options, handle)
        if handle is not None:
            handle._run()
            # As asyncio does: the traceback of an exception in it would keep this frame, and so all that it ran.
            handle = None
        return True

    def pass_time(self) -> None:
        """All timers of the next instant become ready together: a time-out races with what comes at its time."""
        timers = self._scheduled
        self.now = max(self.now, timers[0]._when)
        while timers and timers[0]._when <= self.now:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            self._ready.append(handle)

"""The tasks of a scope: a group (`group.py`) that also ends when its tasks only wait for events (`ending.py`)."""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from haiway_bus._common.printable import described
from haiway_bus._scope.bus_scopes import TaskOwner
from haiway_bus._scope.ending import Ending
from haiway_bus._scope.failures import Failures
from haiway_bus._scope.idle import DrainFuture, IdleCheck
from haiway_bus._scope.search import WorkSearch
from haiway_bus._scope.waiting import WaitReport, check_warn_after
from haiway_bus.errors import ContextMissing
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")


class ScopeTasks(TaskOwner):
    """The tasks of one scope, from its entry until they have ended.

    Invariants:
    - `end` is set from the end of the body, or the cancellation of the tasks, until the tasks have ended. Then `closed`
      is set.
    - After `warn_after` seconds of waiting the end warns through `report_to`, as this scope; never if one of them is
      None.
    """

    __slots__ = ("closed", "end", "report_to", "warn_after")

    def __init__(self, name: str, warn_after: float | None = None) -> None:
        check_warn_after(warn_after)
        super().__init__(name)
        self.end: Ending | None = None
        self.closed: bool = False
        self.warn_after: float | None = warn_after
        self.report_to: tuple[Observability, ScopeIdentity] | None = None

    def leave_bus(self) -> None:
        """Leave the scopes on the bus. A scope whose entry failed may not have joined them."""
        if hasattr(self, "bus_scopes"):
            self.bus_scopes.pop(self, None)

    def enter(self, generator: FrameType | None) -> None:
        self.host = self.group.enter(self.on_abort, generator)

    async def leave(self, failures: Failures) -> None:
        """Wait for the tasks. If the body has failed, they are cancelled first.

        It raises nothing, but adds to the failures what tasks have raised, and what is raised here while it waits.
        """
        group = self.group
        self.body_done = True
        end = self.end = self.end or Ending(self)
        report = WaitReport(self, self.warn_after, self.report_to) if self.tasks else None
        group.begin_leaving(failures)
        if report is not None and failures.outcome is None and not group.aborted:
            # It raises when it is cancelled. When a task fails it returns: then the other tasks are being cancelled.
            await failures.attempt(self.drain(end, report), of_tasks=True)
        if failures.outcome is not None:
            group.abort()
        # From here on no task of the scope reads: its tasks have ended, or are being cancelled.
        self.refuse_threads(None)
        await group.wait(failures)
        self.closed = True
        self.host = None
        end.stop()
        if report is not None:
            report.end()
        self.end = None

    def on_abort(self) -> None:
        """The group calls this before it cancels the tasks: the body has failed, or a task has while the body runs."""
        self.refuse_threads(None)
        if self.owns_bus:
            self.bus.break_off()
        if self.tasks:
            self.end = self.end or Ending(self)
            self.end.start(None)

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        """Start a task.

        Raises:
            ContextMissing: The scope's tasks have ended or are being cancelled.
        """
        if self.closed or (self.body_done and not self.tasks):
            coroutine.close()
            raise ContextMissing(
                f"spawn() came after the tasks of the scope {described(self.name)} had ended:"
                " spawn before the end of its body, or from one of its tasks"
            )
        if self.group.aborted:
            coroutine.close()
            raise ContextMissing(
                f"spawn() came while the tasks of the scope {described(self.name)} were being cancelled:"
                " a task that is cancelled can finish its own work, but start no other"
            )
        if self.end is not None:
            self.end.plan = {}  # made without the new task
        return self.group.spawn(coroutine)

    def is_ending(self, task: Task[Any] | None) -> bool:
        """Whether a CancelledError in this task is to end it: it is being cancelled, or the end has ended its waits."""
        return task is not None and (
            task.cancelling() > 0 or (self.end is not None and task in self.end.end_counts)
        )

    async def drain(self, end: Ending, report: WaitReport) -> None:
        """Let the tasks run until none is left, and end their waits whenever all of them are idle."""
        drain = DrainFuture(self.tasks, report.note_tasks)
        self.group.waiter = drain  # the group completes it, too, when a task fails
        end.start(drain)
        try:
            await drain
        except asyncio.CancelledError as broken:
            report.annotate(broken)
            raise
        finally:
            if end.drain is drain:
                end.stop()

    async def wait_until_idle(self) -> None:
        """Return when all tasks of the scopes on the bus, except the caller, are finished or idle. It ends no wait."""
        search = WorkSearch()
        while True:
            check = IdleCheck()
            if not search.still_at_work(check) and not search.any_at_work(
                self.other_tasks(), check
            ):
                if not self.bus.inbox.deliver():
                    return
                check.blocked_on = None
            check.watch_chain(search.chain)
            await check.wait_for_change()

    def tasks_at_work(self) -> list[Task[Any]]:
        """The tasks of the scopes on the bus, except the caller, that are neither finished nor idle."""
        return list(filter(IdleCheck().at_work, self.other_tasks()))

    def other_tasks(self) -> list[Task[Any]]:
        """The tasks of the scopes on the bus, except the caller."""
        here = asyncio.current_task()
        return [task for scope in self.bus_scopes for task in scope.tasks if task is not here]

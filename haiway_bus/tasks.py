"""The tasks that belong to a scope: an asyncio.TaskGroup that also ends when its tasks only wait for events.

When that is, `ending.py` says.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from haiway_bus.activity import Activity, Settling
from haiway_bus.ending import Ending
from haiway_bus.errors import ContextMissing
from haiway_bus.members import Members
from haiway_bus.observability import Observability, ScopeIdentity
from haiway_bus.printable import described
from haiway_bus.search import Search
from haiway_bus.waiting import Voice, check_warn_after

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")


class ScopeTasks(Members):
    """The tasks of one scope, to be entered and left like a TaskGroup."""

    __slots__ = ("closed", "end", "teller", "warn_after")

    def __init__(self, name: str, warn_after: float | None = None) -> None:
        check_warn_after(warn_after)
        super().__init__(name)
        self.end: Ending | None = None
        self.closed: bool = False
        # After how many seconds it is told for whom the end waits, to whom, and as which scope.
        self.warn_after: float | None = warn_after
        self.teller: tuple[Observability, ScopeIdentity] | None = None

    async def __aenter__(self) -> None:
        await self.group.__aenter__()
        self.host = asyncio.current_task()

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for the tasks: settled first after a body that went well, cancelled after one that did not.

        Raises an ExceptionGroup of what tasks, and the body, raised. An exception of the body alone is left to
        be raised as it is (contract 5.5).
        """
        raised = exception
        self.ending = True
        self.end = end = Ending(self)
        voice = Voice(self, self.warn_after, self.teller) if self.tasks else None
        if raised is None:
            try:
                if voice is not None:
                    await self.settle(end, voice)
            except BaseException as broken:
                # Cancelled from outside, or by the group because a task failed: the group can tell. Whatever else it
                # is, the group ends the tasks before it raises that.
                raised = broken
                if voice is not None:
                    voice.broken(broken)
        # From here on nobody of the scope reads: its tasks have ended, or are about to be cancelled.
        self.refuse_threads(None)
        if raised is not None:
            end.begin(None)
        try:
            await self.group.__aexit__(
                None if raised is None else type(raised),
                raised,
                None if raised is None else raised.__traceback__,
            )
        except BaseExceptionGroup as failed:
            if (
                exception is not None
                and len(failed.exceptions) == 1
                and failed.exceptions[0] is exception
            ):
                return
            raise BaseExceptionGroup(
                f"errors in the scope {described(self.name)}", list(failed.exceptions)
            ) from None
        finally:
            self.closed = True
            self.end = self.host = None
            end.withdraw()
            if voice is not None:
                voice.end()

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        """Start a task. Raises ContextMissing when the scope's tasks have ended or are being cancelled."""
        if self.closed:
            coroutine.close()
            raise ContextMissing(
                f"spawn() came after the tasks of the scope {described(self.name)} had ended:"
                " spawn before the end of its body, or from one of its tasks"
            )
        try:
            task = self.group.create_task(coroutine)
        except RuntimeError as refused:
            coroutine.close()
            raise ContextMissing(
                f"spawn() came while the tasks of the scope {described(self.name)} were being cancelled:"
                " a task that is cancelled can finish its own work, but start no other"
            ) from refused
        self.tasks[task] = None
        if self.end is not None:
            self.end.plan = {}
        task.add_done_callback(self.task_ended)
        return task

    def task_ended(self, task: Task[Any]) -> None:
        del self.tasks[task]
        if not task.cancelled() and task.exception() is not None:
            # The group cancels the others in this moment, long before the body may come to its end.
            self.refuse_threads(None)

    def is_ending(self, task: Task[Any] | None) -> bool:
        """Whether a CancelledError in this task is meant for it: it is being cancelled, or waits of it were ended."""
        return task is not None and (
            task.cancelling() > 0 or (self.end is not None and task in self.end.ended)
        )

    async def settle(self, end: Ending, voice: Voice) -> None:
        """Let the tasks run until none is left, ending their waits whenever all of them are idle."""
        settling = Settling(loop=asyncio.get_running_loop())
        settling.tasks = self.tasks
        settling.rests = False
        settling.when_cancelled = voice.cancelled
        end.begin(settling)
        try:
            await settling
        finally:
            end.withdraw()

    async def idle(self) -> None:
        """Return when the tasks of all scopes on the bus are finished or idle, but for the one that asks.

        It ends no wait, unlike `settle`: what is idle then is so until somebody sends.
        """
        search = Search()
        while True:
            active = Activity()
            if not search.holds(active) and not search.one_of(self.others(), active):
                if not self.bus.inbox.deliver():
                    return
                active.found = None
            active.watch(search.witness)
            await active.changed()

    def busy(self, active: Activity) -> list[Task[Any]]:
        """Tasks of the scopes on the bus that are neither finished nor idle."""
        return list(filter(active.found_in, self.others()))

    def others(self) -> list[Task[Any]]:
        """The tasks of the scopes on the bus, but for the one that asks."""
        here = asyncio.current_task()
        return [task for scope in self.family for task in scope.tasks if task is not here]

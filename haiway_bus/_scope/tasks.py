"""The tasks that belong to a scope: a group (`group.py`) that also ends when its tasks only wait for events.

When that is, `ending.py` says.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from haiway_bus._scope.ending import Ending
from haiway_bus._scope.failures import Failures
from haiway_bus._scope.idle import Activity, Settling
from haiway_bus._scope.members import Members
from haiway_bus._scope.search import Search
from haiway_bus._scope.waiting import Voice, check_warn_after
from haiway_bus._values.printable import described
from haiway_bus.errors import ContextMissing
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")


class ScopeTasks(Members):
    """The tasks of one scope, to be entered and left.

    Invariant: `end` is there from when the body is over, or the tasks are cancelled, until they have ended.
    """

    __slots__ = ("closed", "end", "teller", "warn_after")

    def __init__(self, name: str, warn_after: float | None = None) -> None:
        check_warn_after(warn_after)
        super().__init__(name)
        self.end: Ending | None = None
        self.closed: bool = False
        # After how many seconds it is told for whom the end waits, to whom, and as which scope.
        self.warn_after: float | None = warn_after
        self.teller: tuple[Observability, ScopeIdentity] | None = None

    def part(self) -> None:
        """Be none of the scopes on the bus any more."""
        if hasattr(self, "family"):
            self.family.pop(self, None)

    def enter(self, generator: FrameType | None) -> None:
        self.host = self.group.enter(self.broken_off, generator)

    async def leave(self, failures: Failures) -> None:
        """Wait for the tasks: settled first after a body that went well, cancelled after one that did not.

        It raises nothing: what tasks have raised, and what comes meanwhile, is added to the failures.
        """
        group = self.group
        self.ending = True
        end = self.end = self.end or Ending(self)
        voice = Voice(self, self.warn_after, self.teller) if self.tasks else None
        group.begin_leaving(failures)
        if voice is not None and failures.outcome is None and not group.aborted:
            # Cancelled from outside, it raises; when a task fails it returns, and the others are being cancelled.
            await failures.attempt(self.settle(end, voice), of_tasks=True)
        if failures.outcome is not None:
            group.abort()
        # From here on nobody of the scope reads: its tasks have ended, or are being cancelled.
        self.refuse_threads(None)
        await group.wait(failures)
        self.closed = True
        self.host = None
        end.withdraw()
        if voice is not None:
            voice.end()
        self.end = None

    def broken_off(self) -> None:
        """The tasks are about to be cancelled: as the body has failed, or in the moment in which one of them has, long
        before the body may come to its end."""
        self.refuse_threads(None)
        if self.owns_bus:
            self.bus.break_off()
        if self.tasks:
            self.end = self.end or Ending(self)
            self.end.begin(None)

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        """Start a task. Raises ContextMissing when the scope's tasks have ended or are being cancelled."""
        if self.closed or (self.ending and not self.tasks):
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
            self.end.plan = {}
        return self.group.spawn(coroutine)

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
        self.group.waited = settling  # which is over also when a task fails
        end.begin(settling)
        try:
            await settling
        except asyncio.CancelledError as broken:
            voice.broken(broken)
            raise
        finally:
            if end.settling is settling:
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

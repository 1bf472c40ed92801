"""The tasks that belong to a scope: an asyncio.TaskGroup that also knows when its tasks only wait for events.

A TaskGroup waits until its tasks are finished, and a reader of events never is. So the end of a scope first lets
its tasks run until each is finished or idle, where idle means: waiting for an event that is not there, itself or
through what it awaits. Then those waits are ended (contract 5.4).
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task, TaskGroup
from collections.abc import Callable, Coroutine
from itertools import islice
from types import TracebackType
from typing import Any, Final, TypeVar

from haiway_bus.activity import Activity
from haiway_bus.bus import Receive
from haiway_bus.errors import ContextMissing

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")

# The waits of a settled scope end one event type at a time. With very many types that would be very many rounds, so
# that a round then takes its share of those that are left: this many rounds, and some more.
_ROUNDS: Final = 64


class ScopeTasks:
    """The tasks of one scope, to be entered and left like a TaskGroup.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `family` is one dict for all scopes on a bus, and holds the tasks of each of them that is open.
    """

    __slots__ = ("closed", "deliver", "family", "group", "name", "tasks")

    def __init__(self, name: str, deliver: Callable[[], bool]) -> None:
        self.name: str = name
        # Sends what other threads have handed over, and says whether that was anything.
        self.deliver: Callable[[], bool] = deliver
        self.group: TaskGroup = TaskGroup()
        self.tasks: dict[Task[Any], None] = {}
        self.family: dict[ScopeTasks, None] = {}
        self.closed: bool = False

    async def __aenter__(self) -> None:
        await self.group.__aenter__()

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
        if raised is None:
            try:
                await self.settle()
            except CancelledError as cancelled:
                # From outside, or from the group because a task failed: the group can tell.
                raised = cancelled
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
                f"errors in the scope {self.name!r}", list(failed.exceptions)
            ) from None
        finally:
            self.closed = True

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        """Start a task. Raises ContextMissing when the scope's tasks have ended or are being cancelled."""
        if self.closed:
            coroutine.close()
            raise ContextMissing(
                f"spawn() came after the tasks of the scope {self.name!r} had ended:"
                " spawn before the end of its body, or from one of its tasks"
            )
        try:
            task = self.group.create_task(coroutine)
        except RuntimeError as refused:
            coroutine.close()
            raise ContextMissing(
                f"spawn() came while the tasks of the scope {self.name!r} were being cancelled:"
                " a task that is cancelled can finish its own work, but start no other"
            ) from refused
        self.tasks[task] = None
        task.add_done_callback(self.tasks.pop)
        return task

    async def settle(self) -> None:
        """Let the tasks run until none is left, ending their waits whenever all of them are idle."""
        witness: Task[Any] | None = None
        while self.tasks:
            # One task that is known to be busy is enough to know, so that the others are not looked at meanwhile.
            active = Activity()
            if witness is None or not active.found_in(witness):
                for witness in self.tasks:
                    if active.found_in(witness):
                        break
                else:
                    witness = None
                    if not self.deliver():
                        self.end_waits()
            await active.changed()

    async def idle(self) -> None:
        """Return when the tasks of all scopes on the bus are finished or idle, but for the one that asks.

        It ends no wait, unlike `settle`: what is idle then is so until somebody sends.
        """
        busy: list[Task[Any]] = []
        while True:
            # As in settle(): while one is known to be busy, the others are not looked at.
            active = Activity()
            if not busy or not active.found_in(busy[0]):
                busy = self.busy(active, 1)
                if not busy and not self.deliver():
                    return
            await active.changed()

    def busy(self, active: Activity, limit: int | None = None) -> list[Task[Any]]:
        """Tasks of the scopes on the bus that are neither finished nor idle, at most `limit`."""
        asking = asyncio.current_task()
        every = (task for scope in self.family for task in scope.tasks if task is not asking)
        return list(islice(filter(active.found_in, every), limit))

    def end_waits(self) -> None:
        """End the waits for the event type that the latest of the tasks waits for.

        What such a reader sends when its loop has ended must still find its own readers. They are best spawned
        before it (a subscription has to stand before the events are sent), so the latest goes first, and the
        others when the scope has settled again.
        """
        waits: dict[Any, list[Receive]] = {}
        idle = Activity()  # one look for all of them: it goes over the loop's tasks at most once
        for task in reversed(self.tasks):
            for receive in idle.waits_of(task):
                waits.setdefault(receive.channel, []).append(receive)
        share = max(1, len(waits) // _ROUNDS)
        for receives in list(waits.values())[:share]:
            for receive in receives:
                receive.end()

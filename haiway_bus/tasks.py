"""The tasks that belong to a scope: an asyncio.TaskGroup that also knows when its tasks only wait for events.

A TaskGroup waits until its tasks are finished, and a reader of events never is. So the end of a scope first lets
its tasks run until each is finished or idle, where idle means: waiting for an event that is not there, itself or
through what it awaits. Then those waits are ended (contract 5.4). So are those of tasks that are being cancelled and
read on their way out (contract 5.5).
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Final, TypeVar

from haiway_bus.activity import Activity
from haiway_bus.asyncio_helpers import ScopeGroup, let_go
from haiway_bus.bus import Bus, Receive
from haiway_bus.errors import ContextMissing
from haiway_bus.printable import described, name_of_type

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")

# The waits of a settled scope end one event type at a time. With very many types that would be very many rounds, so
# that a round then takes its share of those that are left: this many rounds, and some more.
_ROUNDS: Final = 64
# A loop around a loop that reads comes back for more each time its wait has ended. So often it may, for each type of
# event: code that reads several times and then goes on is not cut off.
_ENDS: Final = 8


class ScopeTasks:
    """The tasks of one scope, to be entered and left like a TaskGroup.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `family` is one dict for all scopes on a bus, and holds the tasks of each of them that is open. `ended` counts, by
    task and id of a type of events, which is kept beside, in how many rounds its waits were ended, its own or those of
    tasks that it waited for.
    """

    __slots__ = (
        "bus",
        "closed",
        "ended",
        "family",
        "group",
        "name",
        "owns_bus",
        "tasks",
        "witness",
    )

    bus: Bus

    def __init__(self, name: str) -> None:
        self.name: str = name
        # Whether the bus ends with the scope.
        self.owns_bus: bool = False
        self.group: ScopeGroup = ScopeGroup()
        self.tasks: dict[Task[Any], None] = {}
        self.ended: dict[Task[Any], dict[int, tuple[type[Any], int]]] = {}
        # One that was at work when it was last looked at.
        self.witness: Task[Any] | None = None
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
            except BaseException as broken:
                # Cancelled from outside, or by the group because a task failed: the group can tell. Whatever else it
                # is, the group ends the tasks before it raises that.
                raised = broken
        # From here on nobody of the scope reads: its tasks have ended, or are about to be cancelled.
        self.refuse_threads(None)
        watch = None if raised is None else Watch(self)
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
            self.ended.clear()
            self.witness = None
            if watch is not None:
                watch.withdraw()

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
        task.add_done_callback(self.task_ended)
        return task

    def task_ended(self, task: Task[Any]) -> None:
        del self.tasks[task]
        if not task.cancelled() and task.exception() is not None:
            # The group cancels the others in this moment, long before the body may come to its end.
            self.refuse_threads(None)

    def is_ending(self, task: Task[Any] | None) -> bool:
        """Whether a CancelledError in this task is meant for it: it is being cancelled, or waits of it were ended."""
        return task is not None and (task.cancelling() > 0 or task in self.ended)

    async def settle(self) -> None:
        """Let the tasks run until none is left, ending their waits whenever all of them are idle."""
        while self.tasks:
            await self.look().changed()

    def look(self) -> Activity:
        """See what the tasks are doing, and end what they wait for when all of them are idle."""
        active = Activity()
        # One task that is known to be busy is enough to know, so that the others are not looked at meanwhile.
        if self.witness is None or not active.found_in(self.witness):
            self.witness = next(filter(active.found_in, self.tasks), None)
            if self.witness is None and not self.bus.inbox.deliver():
                self.end_waits(active)
        return active

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
                if not busy and not self.bus.inbox.deliver():
                    return
            await active.changed()

    def busy(self, active: Activity, limit: int | None = None) -> list[Task[Any]]:
        """Tasks of the scopes on the bus that are neither finished nor idle, at most `limit`."""
        asking = asyncio.current_task()
        every = (task for scope in self.family for task in scope.tasks if task is not asking)
        return list(islice(filter(active.found_in, every), limit))

    def end_waits(self, idle: Activity) -> None:
        """End the waits for the event type that the latest of the tasks waits for.

        What such a reader sends when its loop has ended must still find its own readers. They are best spawned
        before it (a subscription has to stand before the events are sent), so the latest goes first, and the
        others when the scope has settled again.
        """
        waits: dict[Any, list[tuple[Task[Any], Receive]]] = {}
        stranded: list[tuple[Task[Any], Task[Any]]] = []
        for task in reversed(self.tasks):
            for waiting, receive in idle.waits_of(task, self.group):
                if receive is None:
                    stranded.append((task, waiting))
                else:
                    waits.setdefault(receive.channel, []).append((task, receive))
        share = max(1, len(waits) // _ROUNDS)
        # Before they are ended: what a thread sends from here on would wait for readers that are gone (guarantee 6.2).
        if not self.refuse_threads(list(waits)[:share]):
            return
        for channel, reads in list(waits.items())[:share]:
            for task in dict.fromkeys(task for task, _ in reads):
                self.count(task, channel.event_type)
            for _, receive in reads:
                receive.end()
        if not waits:
            # All that is left waits for tasks of other scopes, which go on reading.
            for task, waiting in stranded:
                self.ended.setdefault(task, {})
                let_go(waiting)

    def refuse_threads(self, channels: Iterable[Any] | None) -> bool:
        """Refuse what other threads send on these channels from now on or, given None, on all (guarantee 6.2).

        False, and nothing is refused, when one has just sent. A bus that is not the scope's own goes on, and so do the
        readers that others have on it.
        """
        if not self.owns_bus:
            return True
        if channels is None:
            return self.bus.refuse_threads(None)
        own = self.bus.table
        types = [(one.event_type, one) for one in channels]
        return self.bus.refuse_threads(
            [kind for kind, channel in types if own.get(id(kind)) is channel]
        )

    def count(self, task: Task[Any], event_type: type[Any]) -> None:
        """Count a round that ends waits of the task; cancel it when it comes back all the time."""
        counts = self.ended.setdefault(task, {})
        _, before = counts.get(id(event_type), (event_type, 0))
        counts[id(event_type)] = event_type, (before + 1) % (_ENDS + 1)
        if before == _ENDS:
            task.cancel(
                f"the scope {described(self.name)} is ending, and this task waits again and again for events of"
                f" {name_of_type(event_type)} that nobody is left to send"
            )


class Watch:
    """Looks after tasks that are being cancelled, until it is withdrawn: what they read on their way out ends, too.

    By callbacks, as the task that leaves the scope waits in its group meanwhile.
    """

    __slots__ = ("tasks", "withdraw")

    def __init__(self, tasks: ScopeTasks) -> None:
        self.tasks: ScopeTasks = tasks
        # Not at once: the group has yet to cancel them.
        self.withdraw: Callable[[], object] = asyncio.get_running_loop().call_soon(self.look).cancel

    def look(self) -> None:
        if self.tasks.tasks:
            self.withdraw = self.tasks.look().when_changed(self.look)

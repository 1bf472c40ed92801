"""The tasks that belong to a scope: an asyncio.TaskGroup that also knows when its tasks only wait for events.

A TaskGroup waits until its tasks are finished, and a reader of events never is. So the end of a scope first lets
its tasks run until each is finished or idle, where idle means: waiting for an event that is not there, itself or
through what it awaits. Then those waits are ended (contract 5.4).
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Queue, Task, TaskGroup
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

from haiway_bus.bus import Receive
from haiway_bus.errors import ContextMissing

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")

# What stands for "will run in the loop's next turn" where otherwise a future stands.
_RUNNABLE: Final = None

# The waits of a settled scope end one event type at a time. With very many types that would be very many rounds, so
# that a round then takes its share of those that are left: this many rounds, and some more.
_ROUNDS: Final = 64


class ScopeTasks:
    """The tasks of one scope, to be entered and left like a TaskGroup.

    Invariant: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    """

    __slots__ = ("closed", "deliver", "group", "name", "tasks")

    def __init__(self, name: str, deliver: Callable[[], bool]) -> None:
        self.name: str = name
        # Sends what other threads have handed over, and says whether that was anything.
        self.deliver: Callable[[], bool] = deliver
        self.group: TaskGroup = TaskGroup()
        self.tasks: dict[Task[Any], None] = {}
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
                f"errors in the scope {self.name!r}", failed.exceptions
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

    def end_waits(self) -> None:
        """End the waits for the event type that the latest of the tasks waits for.

        What such a reader sends when its loop has ended must still find its own readers. They are best spawned
        before it (a subscription has to stand before the events are sent), so the latest goes first, and the
        others when the scope has settled again.
        """
        waits: dict[Any, list[Receive]] = {}
        for task in reversed(self.tasks):
            for receive in Activity().waits_of(task):
                waits.setdefault(receive.channel, []).append(receive)
        share = max(1, len(waits) // _ROUNDS)
        for receives in list(waits.values())[:share]:
            for receive in receives:
                receive.end()


class Activity:
    """One look at what tasks are doing, at one moment: nothing runs between its making and the last question.

    A task is idle if it waits for an event that is not there, or for other tasks that are all idle. Which tasks
    those are is read off the loop: a task says what it waits on, and a task's callbacks say whom its end would
    wake. That covers await, gather, TaskGroup, wait, wait_for, shield and as_completed. Whatever else a task
    waits on counts as activity, so that nothing which is still going on is ever cut off.
    """

    __slots__ = ("found", "helpers", "path", "waits")

    def __init__(self) -> None:
        self.found: Future[Any] | None = _RUNNABLE
        self.waits: list[Receive] = []
        self.path: set[Task[Any]] = set()
        self.helpers: dict[int, list[Task[Any]]] | None = None

    def waits_of(self, task: Task[Any]) -> list[Receive]:
        """The reads that an idle task waits on."""
        self.found_in(task)
        return self.waits

    def found_in(self, task: Task[Any]) -> bool:
        """Whether the task is neither finished nor idle; `found` is then the future that it depends on."""
        if task.done():
            return False
        waited: Any = getattr(task, "_fut_waiter", None)
        if isinstance(waited, Receive):
            if waited.idle:
                self.waits.append(waited)
                return False
            return self.is_active(_RUNNABLE)
        if waited is None or waited.done():
            return self.is_active(_RUNNABLE)
        if task in self.path:
            return self.is_active(
                waited
            )  # tasks that wait for each other: nobody's business but theirs
        others = self.awaited_through(waited)
        if not others:
            return self.is_active(waited)
        self.path.add(task)
        active = any(self.found_in(other) for other in others)
        self.path.remove(task)
        return active

    def is_active(self, future: Future[Any] | None) -> bool:
        self.found = future
        return True

    def awaited_through(self, future: Any) -> list[Task[Any]]:
        """The unfinished tasks without which this future cannot finish; none where that is not known."""
        if isinstance(future, Task):
            return [future]
        children = getattr(future, "_children", None)  # what asyncio.gather returns
        if children is not None:
            unfinished = [child for child in children if not child.done()]
            return unfinished if all(isinstance(child, Task) for child in unfinished) else []
        if self.helpers is None:
            self.helpers = {}
            for task in asyncio.all_tasks():
                for callback, _ in getattr(task, "_callbacks", None) or ():
                    for woken in _woken_by(callback):
                        self.helpers.setdefault(id(woken), []).append(task)
        return self.helpers.get(id(future), [])

    async def changed(self) -> None:
        """Return when what was found has had a chance to go on."""
        loop = asyncio.get_running_loop()
        changed: Future[None] = loop.create_future()

        def wake(_: object = None) -> None:
            if not changed.done():
                changed.set_result(None)

        if self.found is None:
            loop.call_soon(wake)
        else:
            # Callbacks run in the order in which they were added: the task's own comes first.
            self.found.add_done_callback(wake)
        try:
            await changed
        finally:
            if self.found is not None and hasattr(self.found, "remove_done_callback"):
                self.found.remove_done_callback(wake)


def _woken_by(callback: Any) -> Iterator[Any]:
    """The futures that a task's done-callback may finish, as asyncio's own helpers write them."""
    reachable: list[Any] = []
    if isinstance(callback, partial):  # wait_for (3.11)
        reachable.extend(callback.args)
    for cell in (
        getattr(callback, "__closure__", None) or ()
    ):  # wait, shield, as_completed (to 3.12)
        try:
            reachable.append(cell.cell_contents)
        except ValueError:  # a cell that is empty yet
            continue
    owner = getattr(callback, "__self__", None)
    reachable.append(getattr(owner, "_on_completed_fut", None))  # TaskGroup
    reachable.append(getattr(owner, "_done", None))  # as_completed (from 3.13)
    for found in reachable:
        if asyncio.isfuture(found):
            yield found
        elif isinstance(found, Queue):
            yield from getattr(found, "_getters", ())

"""The tasks that belong to a scope: an asyncio.TaskGroup that also knows when its tasks only wait for events.

A TaskGroup waits until its tasks are finished, and a reader of events never is. So the end of a scope first lets
its tasks run until each is finished or idle, where idle means: waiting for an event that is not there, itself or
through what it awaits. Then those waits are ended (contract 5.4).
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Queue, Task, TaskGroup
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Final, TypeVar

from haiway_bus.bus import Receive
from haiway_bus.errors import ContextMissing

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")

# What stands where otherwise a future stands: for a task that will run in the loop's next turn, and for one of which
# it cannot be said yet; that is looked at again after some time.
_RUNNABLE: Final = None
_UNSETTLED: Final = object()
_SETTLE_SECONDS: Final = 0.001

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


class Activity:
    """One look at what tasks are doing, at one moment: nothing runs between its making and the last question.

    A task is idle if it waits for an event that is not there, or for other tasks that are all idle. Which tasks
    those are is read off the loop: a task says what it waits on, and a task's callbacks say whom its end would
    wake. That covers await, gather, TaskGroup, wait, wait_for, shield and as_completed. Whatever else a task
    waits on counts as activity, so that nothing which is still going on is ever cut off.
    """

    __slots__ = ("found", "helpers", "path", "waits")

    def __init__(self) -> None:
        self.found: Any = _RUNNABLE
        self.waits: list[Receive] = []
        self.path: set[Task[Any]] = set()
        self.helpers: dict[int, list[tuple[Task[Any], Callback]]] | None = None

    def waits_of(self, task: Task[Any]) -> list[Receive]:
        """The reads that an idle task waits on."""
        self.waits = []
        self.found_in(task)
        return self.waits

    def found_in(self, task: Task[Any]) -> bool:
        """Whether the task is neither finished nor idle; `found` then says what its going on depends on."""
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
        if isinstance(waited, Task):
            others = [waited]
        else:
            helpers = self.helpers_of(waited)
            if not helpers:
                return self.is_active(waited)
            others = [other for other, _ in helpers]
            if not helpers[0][1].has_settled(others):
                return self.is_active(_UNSETTLED)
        if task in self.path:
            # Tasks that wait for each other: nobody's business but theirs.
            return self.is_active(waited)
        self.path.add(task)
        active = any(self.found_in(other) for other in others)
        self.path.remove(task)
        return active

    def is_active(self, found: Any) -> bool:
        self.found = found
        return True

    def helpers_of(self, future: Any) -> list[tuple[Task[Any], Callback]]:
        """The unfinished tasks whose end would finish this future or bring it nearer to that, and by what callback."""
        if self.helpers is None:
            self.helpers = {}
            for task in asyncio.all_tasks():
                for function, _ in getattr(task, "_callbacks", None) or ():
                    callback = Callback(function)
                    for woken in callback.wakes():
                        self.helpers.setdefault(id(woken), []).append((task, callback))
        return self.helpers.get(id(future), [])

    async def changed(self) -> None:
        """Return when what was found has had a chance to go on."""
        loop = asyncio.get_running_loop()
        changed: Future[None] = loop.create_future()

        def wake(_: object = None) -> None:
            if not changed.done():
                changed.set_result(None)

        if self.found is _RUNNABLE:
            loop.call_soon(wake)
        elif self.found is _UNSETTLED:
            loop.call_later(_SETTLE_SECONDS, wake)
        else:
            # Callbacks run in the order in which they were added: the task's own comes first.
            self.found.add_done_callback(wake)
        try:
            await changed
        finally:
            if hasattr(self.found, "remove_done_callback"):
                self.found.remove_done_callback(wake)


class Callback:
    """A done-callback of a task, as asyncio's own helpers write them.

    parts: the variables that it shares with the function it was written in, and the attributes of its owner.
    """

    __slots__ = ("parts", "reachable")

    def __init__(self, function: Any) -> None:
        self.parts: dict[str, Any] = {}
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        # gather, wait, shield, as_completed (to 3.12)
        for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
            with suppress(ValueError):  # a cell that is empty yet
                self.parts[name] = cell.cell_contents
        owner = getattr(function, "__self__", None)
        for name in ("_on_completed_fut", "_tasks", "_done", "_todo"):
            found = getattr(owner, name, None)  # TaskGroup, as_completed (from 3.13)
            if found is not None:
                self.parts[name] = found
        self.reachable: list[Any] = list(self.parts.values())
        if isinstance(function, partial):
            self.reachable.extend(function.args)  # wait_for (3.11)

    def wakes(self) -> Iterator[Any]:
        """The futures that it may finish."""
        for found in self.reachable:
            if asyncio.isfuture(found):
                yield found
            elif isinstance(found, Queue):
                yield from getattr(found, "_getters", ())

    def has_settled(self, unfinished: list[Task[Any]]) -> bool:
        """Whether all that has finished has been reported: the callback of a task that just ended may be yet to run.

        `unfinished` are the tasks with this callback, or its like, that have not ended.
        """
        parts = self.parts
        if "nfinished" in parts and "children" in parts:  # gather
            done = sum(child.done() for child in set(parts["children"]))
            return bool(done == parts["nfinished"] and _all_tasks(parts["children"]))
        if "counter" in parts and "waiter" in parts:  # wait
            # More than there are tasks: it counts futures that are none.
            return bool(parts["counter"] == len(unfinished))
        for name in ("_tasks", "todo", "_todo"):  # TaskGroup, as_completed
            if name in parts:
                return not any(one.done() for one in parts[name]) and _all_tasks(parts[name])
        return True


def _all_tasks(futures: Any) -> bool:
    return all(isinstance(one, Task) for one in futures if not one.done())

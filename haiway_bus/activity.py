"""What tasks are doing: whether one is at work, or waits for an event that is not there, itself or through others.

It is read off asyncio's own objects: what a task waits on, and whom its end would wake.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Queue, Task
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

from haiway_bus.bus import Receive

__all__ = ("Activity",)

# What stands where otherwise a future stands: for a task that will run in the loop's next turn, and for one of which
# it cannot be said yet; that is looked at again after some time.
_RUNNABLE: Final = None
_UNSETTLED: Final = object()
_SETTLE_SECONDS: Final = 0.001


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

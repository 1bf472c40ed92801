"""What tasks are doing: whether one is at work, or waits for an event that is not there, itself or through others.

It is read off asyncio's own objects: a task says what it waits on, and `asyncio_helpers.py` what stands behind that.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

from haiway_bus.asyncio_helpers import Helper, ScopeGroup, group_of, helpers, is_task
from haiway_bus.bus import Receive

__all__ = ("Activity",)

# What stands where otherwise a future stands: for a task that will run in the loop's next turn, and for one of which
# it cannot be said yet; that is looked at again after some time.
_RUNNABLE: Final = None
_UNSETTLED: Final = object()
_SETTLE_SECONDS: Final = 0.001


class Activity:
    """One look at what tasks are doing, at one moment: nothing runs between its making and the last question.

    A task is idle if it waits for an event that is not there, or for other tasks that are all idle: by await,
    gather, TaskGroup, wait, wait_for, shield and as_completed, or several of them within each other. Whatever else
    a task waits on counts as activity, so that nothing which is still going on is ever cut off.

    Invariants: `idle` holds the tasks and futures that are known to be idle, by their id, so that none is looked at
    twice however many wait for it. `walked` holds those whose waits were told, and the waits: a subscription that goes
    with the last read of it goes with this look then, in the context of the scope that looks.
    """

    __slots__ = ("found", "helpers", "idle", "walked")

    def __init__(self) -> None:
        self.found: Any = _RUNNABLE
        self.idle: dict[int, Any] = {}
        self.walked: dict[int, Any] = {}
        self.helpers: dict[int, Helper] | None = None

    def found_in(self, task: Task[Any]) -> bool:
        """Whether the task is neither finished nor idle; `found` then says what its going on depends on."""
        waited: Any = getattr(task, "_fut_waiter", None)
        if isinstance(waited, Receive) and waited.idle:
            return False  # the usual case: itself, for an event
        # By hand instead of by recursion: tasks that wait for each other may be a chain of any length. The last
        # iterator in `left` goes over what the last one in `path` waits on.
        path: dict[int, Any] = {}
        left: list[Iterator[Any]] = [iter((task,))]
        while left:
            for one in left[-1]:
                key = id(one)
                if key in self.idle or one.done():
                    continue
                # In a circle they wait for each other: nobody's business but theirs.
                awaited = None if key in path else self.awaited_by(one)
                if awaited is None:
                    if key in path:
                        self.found = one
                    return True
                path[key] = one
                left.append(iter(awaited))
                break
            else:
                left.pop()
                if path:
                    key, one = path.popitem()
                    self.idle[key] = one
        return False

    def awaited_by(self, one: Any) -> Iterable[Any] | None:
        """What an unfinished task or future waits on, which is nothing for a read of an event that is not there.

        None when it is at work, or waits on something else; `found` then says what it depends on.
        """
        self.found = _RUNNABLE
        if is_task(one):
            waited = getattr(one, "_fut_waiter", None)
            if isinstance(waited, Receive):
                return () if waited.idle else None
            return None if waited is None or waited.done() else (waited,)
        if self.helpers is None:
            self.helpers = helpers()
        helper = self.helpers.get(id(one))
        if helper is None:
            self.found = one
            return None
        unfinished = helper.unfinished()
        if unfinished is None:
            self.found = _UNSETTLED
        return unfinished

    def waits_of(
        self, task: Task[Any], group: ScopeGroup
    ) -> Iterator[tuple[Task[Any], Receive | None]]:
        """What an idle task of the group waits on, and was not told yet: each read, with the task that waits on it.

        A task of another group is that group's business. Whichever task waits for it is told with None.
        """
        left: list[tuple[Any, Task[Any]]] = [(task, task)]
        while left:
            one, waiting = left.pop()
            if id(one) in self.walked or one.done():
                continue
            if is_task(one):
                if group_of(one) not in (None, group):
                    yield waiting, None
                    continue
                waiting = one
                waited = getattr(one, "_fut_waiter", None)
                if isinstance(waited, Receive):
                    self.walked[id(waited)] = waited
                    yield one, waited
            self.walked[id(one)] = one
            left.extend((other, waiting) for other in self.awaited_by(one) or ())

    def when_changed(self, call: Callable[[], object]) -> Callable[[], object]:
        """Have it called when what was found has had a chance to go on; returns what withdraws that."""
        loop = asyncio.get_running_loop()
        if self.found is _RUNNABLE:
            return loop.call_soon(call).cancel
        if self.found is _UNSETTLED:
            return loop.call_later(_SETTLE_SECONDS, call).cancel

        def done(_: object) -> None:
            call()

        # Callbacks run in the order in which they were added: the task's own comes first.
        self.found.add_done_callback(done)
        return partial(self.found.remove_done_callback, done)

    async def changed(self) -> None:
        """Return when what was found has had a chance to go on."""
        changed: Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not changed.done():
                changed.set_result(None)

        withdraw = self.when_changed(wake)
        try:
            await changed
        finally:
            withdraw()

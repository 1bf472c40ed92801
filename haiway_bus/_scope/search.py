"""Which of many tasks is at work, found out again and again at the price of one, where that can be."""

from __future__ import annotations

from asyncio import Task
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from haiway_bus._scope.idle import Activity, Witness

__all__ = ("Search",)

# How many of those that were at work lately are asked first when the one that was known to be is not any more.
_RECENT: Final = 8


class Search:
    """Whether one of many tasks is at work, asked again and again: as a rule one of them has to be looked at for that.

    Invariants: `witness` was at work at the last look, and `recent` are the tasks that were before, the latest first.
    `order` has tasks to ask next, the first first, as others may wait for it; those that were idle go to its end.
    """

    __slots__ = ("order", "recent", "witness")

    def __init__(self) -> None:
        self.witness: Witness | None = None
        self.recent: tuple[Task[Any], ...] = ()
        self.order: deque[Task[Any]] = deque()

    def holds(self, active: Activity) -> bool:
        """Whether what was at work still is."""
        if self.witness is not None and not self.witness.holds(active):
            self.witness = None
        return self.witness is not None

    def one_of(self, tasks: Iterable[Task[Any]], active: Activity) -> bool:
        """Whether one of the tasks is at work; `active.found` then says what its going on depends on."""
        for task in self.recent:
            if active.found_in(task):
                return self.found(task, active)
        for _ in range(len(self.order)):
            if self.order[0].done():
                self.order.popleft()
            elif active.found_in(self.order[0]):
                return self.found(self.order[0], active)
            else:
                self.order.rotate(-1)
        # Of these, some may be new.
        self.order = deque(tasks)
        return any(active.found_in(task) and self.found(task, active) for task in self.order)

    def found(self, task: Task[Any], active: Activity) -> bool:
        self.witness = active.witness
        if not self.recent or self.recent[0] is not task:
            recent = (it for it in self.recent if it is not task and not it.done())
            self.recent = (task, *islice(recent, _RECENT - 1))
        return True

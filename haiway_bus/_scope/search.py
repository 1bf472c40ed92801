"""Find out again and again whether one of many tasks is at work: as a rule at the cost of checking a single task."""

from __future__ import annotations

from asyncio import Task
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from haiway_bus._scope.idle import IdleCheck, WaitChain

__all__ = ("WorkSearch",)

# How many of the tasks that were at work lately are checked first, when the latest of them no longer is.
_RECENT: Final = 8


class WorkSearch:
    """Remembers which tasks were at work, so that the next check begins there.

    Invariants:
    - `chain` leads to what was at work at the last check, `recent` has the tasks that were before, the latest first.
    - `order` has the tasks in the order in which they are checked: a task that was idle goes to the end.
    """

    __slots__ = ("chain", "order", "recent")

    def __init__(self) -> None:
        self.chain: WaitChain | None = None
        self.recent: tuple[Task[Any], ...] = ()
        self.order: deque[Task[Any]] = deque()

    def still_at_work(self, check: IdleCheck) -> bool:
        """Whether what was at work at the last check still is."""
        if self.chain is not None and not self.chain.still_at_work(check):
            self.chain = None
        return self.chain is not None

    def any_at_work(self, tasks: Iterable[Task[Any]], check: IdleCheck) -> bool:
        """Whether one of the tasks is at work. If so, `check.blocked_on` is what that task waits on."""
        for task in self.recent:
            if check.at_work(task):
                return self.remember(task, check)
        for _ in range(len(self.order)):
            if self.order[0].done():
                self.order.popleft()
            elif check.at_work(self.order[0]):
                return self.remember(self.order[0], check)
            else:
                self.order.rotate(-1)
        # Some of these tasks may be new.
        self.order = deque(tasks)
        return any(check.at_work(task) and self.remember(task, check) for task in self.order)

    def remember(self, task: Task[Any], check: IdleCheck) -> bool:
        self.chain = check.chain
        if not self.recent or self.recent[0] is not task:
            recent = (it for it in self.recent if it is not task and not it.done())
            self.recent = (task, *islice(recent, _RECENT - 1))
        return True

"""Which of many tasks is at work, found out again and again at the price of one, where that can be."""

from __future__ import annotations

from asyncio import Task
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from haiway_bus._scope.idle import IdleCheck, WaitChain

__all__ = ("WorkSearch",)

# How many of those that were at work lately are asked first when the one that was known to be is not any more.
_RECENT: Final = 8


class WorkSearch:
    """Whether one of many tasks is at work, asked again and again: as a rule one of them has to be looked at for that.

    Invariants: `chain` was at work at the last look, and `recent` are the tasks that were before, the latest first.
    `order` has tasks to ask next, the first first, as others may wait for it; those that were idle go to its end.
    """

    __slots__ = ("chain", "order", "recent")

    def __init__(self) -> None:
        self.chain: WaitChain | None = None
        self.recent: tuple[Task[Any], ...] = ()
        self.order: deque[Task[Any]] = deque()

    def still_at_work(self, check: IdleCheck) -> bool:
        """Whether what was at work still is."""
        if self.chain is not None and not self.chain.still_at_work(check):
            self.chain = None
        return self.chain is not None

    def any_at_work(self, tasks: Iterable[Task[Any]], check: IdleCheck) -> bool:
        """Whether one of the tasks is at work; `check.blocked_on` then says what its going on depends on."""
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
        # Of these, some may be new.
        self.order = deque(tasks)
        return any(check.at_work(task) and self.remember(task, check) for task in self.order)

    def remember(self, task: Task[Any], check: IdleCheck) -> bool:
        self.chain = check.chain
        if not self.recent or self.recent[0] is not task:
            recent = (it for it in self.recent if it is not task and not it.done())
            self.recent = (task, *islice(recent, _RECENT - 1))
        return True

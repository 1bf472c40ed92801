"""Find out again and again whether one of many tasks is at work: as a rule at the cost of checking a single task."""

from __future__ import annotations

from asyncio import Task
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from haiway_bus._scope.asyncio_waits import is_task
from haiway_bus._scope.idle import DrainFuture, IdleCheck, WaitChain

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
        """Whether what was at work at the last check still is, or something else for which the same tasks wait."""
        if self.chain is not None and not self.follow(self.chain, check):
            self.chain = None
        return self.chain is not None

    def follow(self, chain: WaitChain, check: IdleCheck) -> bool:
        """Whether this chain leads to something at work. If that is something new, the search gets a new chain."""
        leaf, links = chain
        if not links and leaf.done():
            return False
        left = len(links)
        for at, (task, waited) in enumerate(links):
            if getattr(task, "_fut_waiter", None) is not waited or waited is None or waited.done():
                left = at
                break
        else:
            # Each task waits on the same future as before: only the leaf has to be checked.
            if is_task(leaf):
                if self.continues_with(leaf, links, left, check):
                    return True
            elif not isinstance(
                leaf, DrainFuture
            ):  # which may have become idle: the task that awaits it tells
                check.blocked_on = leaf
                if not leaf.done():
                    return True
            left -= 1
        # The leaf has ended, or a task waits on something else: check the tasks from there outwards.
        return any(
            self.continues_with(links[at][0], links, at, check) for at in range(left, -1, -1)
        )

    def continues_with(
        self, task: Task[Any], links: Sequence[tuple[Any, Any]], at: int, check: IdleCheck
    ) -> bool:
        """Whether the task behind the first `at` links is at work. If so, the chain goes on from there."""
        if not check.at_work(task):
            return False
        if check.chain is not None:
            leaf, further = check.chain
            self.chain = WaitChain(leaf, (*links[:at], *further) if further else links[:at])
        return True

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

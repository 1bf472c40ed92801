"""Waiting until subscriptions have caught up (contract 4.4). A cold path: both twins use this one."""

from __future__ import annotations

import asyncio
import weakref
from asyncio import Future
from collections.abc import Iterable
from typing import Any

from haiway_bus.bus._rules import flush_timed_out

__all__ = ("Mark", "Pool", "flush")


class Mark:
    """How far one subscription has to come for one call of flush.

    `goal` is its `position` when it has taken all that was sent before the call. The subscription says `reached`
    when a reader comes back for more after that, or when it is closed.
    """

    __slots__ = ("all_reached", "followed", "goal", "left", "subscription")

    def __init__(
        self, subscription: Any, goal: int, left: dict[Mark, None], all_reached: Future[None]
    ) -> None:
        self.subscription: weakref.ref[Any] = weakref.ref(subscription)
        self.goal: int = goal
        # The tasks whose end it is to hear of, held weakly.
        self.followed: set[weakref.ref[Any]] = set()
        self.left: dict[Mark, None] = left
        self.all_reached: Future[None] = all_reached
        left[self] = None

    def follow(self, task: asyncio.Task[Any]) -> None:
        """Try again when this task ends: it may do so without coming back for the next event."""
        reference = weakref.ref(task)
        if reference not in self.followed:
            self.followed.add(reference)
            task.add_done_callback(self.try_again)

    def forget(self) -> None:
        """Leave nothing behind on the tasks that go on."""
        for reference in list(self.followed):
            task = reference()
            if task is not None:
                task.remove_done_callback(self.try_again)
        self.followed.clear()

    def reached(self) -> None:
        self.forget()
        self.left.pop(self, None)
        if not self.left and not self.all_reached.done():
            self.all_reached.set_result(None)

    def try_again(self, _: object = None) -> None:
        subscription = self.subscription()
        if subscription is not None:
            subscription.came_back()


class Pool:
    """Which tasks of a worker pool are busy, and with which event.

    Invariant: `busy` has an entry for each task that took an event and has not come back for the next one, with the
    position of that event. Tasks are held weakly: one that ended, or is gone, is busy no longer.
    """

    __slots__ = ("busy", "many")

    def __init__(self) -> None:
        self.busy: dict[weakref.ref[Any], int] = {}
        self.many: int = 64

    def took(self, position: int, marks: list[Mark] | None) -> None:
        if len(self.busy) >= self.many:
            self.busy = {task: at for task, at in list(self.busy.items()) if _at_work(task)}
            # Not again before there are twice as many: all of them may be at work.
            self.many = max(64, 2 * len(self.busy))
        task = asyncio.current_task()
        if task is not None:
            self.busy[weakref.ref(task)] = position
            for mark in marks or ():
                mark.follow(task)

    def came_back(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self.busy.pop(weakref.ref(task), None)

    def at_work(self, goal: int) -> list[Any]:
        """The tasks that are busy with an event up to this position."""
        return [task() for task, at in list(self.busy.items()) if at <= goal and _at_work(task)]


def _at_work(task: weakref.ref[Any]) -> bool:
    found = task()
    return found is not None and not found.done()


async def flush(event_type: type[Any], subscriptions: Iterable[Any], timeout: float | None) -> None:
    """Return when each of the subscriptions has taken all that it holds now and come back for more, or ended.

    Raises TimeoutError, with the subscriptions that are behind, and by how much, after `timeout` seconds.
    """
    all_reached: Future[None] = asyncio.get_running_loop().create_future()
    left: dict[Mark, None] = {}
    for subscription in subscriptions:
        _mark(subscription, left, all_reached)
    # Nothing here keeps a subscription open that its reader has dropped.
    del subscriptions
    if not left:
        return
    subscription = None
    try:
        async with asyncio.timeout(timeout):
            await all_reached
    except TimeoutError:
        if not left:
            return  # the last one came back in the same moment
        raise flush_timed_out(event_type, timeout, list(_behind(left))) from None
    finally:
        for mark in list(left):
            subscription = mark.subscription()
            if subscription is not None:
                subscription.unwatch(mark)
            mark.forget()


def _mark(subscription: Any, left: dict[Mark, None], all_reached: Future[None]) -> None:
    goal = subscription.position + subscription.pending
    if subscription.is_back(goal):
        return
    mark = Mark(subscription, goal, left, all_reached)
    subscription.watch(mark)
    for task in subscription.at_work(goal):
        mark.follow(task)


def _behind(left: dict[Mark, None]) -> Iterable[tuple[Any, int]]:
    for mark in left:
        subscription = mark.subscription()
        if subscription is not None:
            yield subscription, max(mark.goal - subscription.position, 0)

"""Who waits for whom behind asyncio's helpers: gather, wait, wait_for, shield, as_completed, TaskGroup.

A task that awaits one of them waits on a future that the helper has made, and nothing on that future says what will
finish it. But what the helper waits for does: each such task or future has a done-callback of the helper's, which
holds the future, and often also what else the helper waits for. Only callbacks that are asyncio's own, or anyio's,
are read: anybody else's mean what their author knows, and nobody here.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Queue, Task, TaskGroup
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

__all__ = ("Helper", "ScopeGroup", "group_of", "helpers", "is_task", "let_go")


class ScopeGroup(TaskGroup):
    """The TaskGroup of a scope, told from those of users: who waits for it is at work, ending that scope."""


class Helper:
    """One call of a helper, as far as it can be read.

    woken: the futures that it may finish. members: all that it waits for, None where only `sources` are known: those
    of them that are unfinished and have its callback. done: how many members it knows to be finished, and left: how
    many it does not, None where it does not count.
    """

    __slots__ = ("done", "left", "members", "sources", "woken")

    def __init__(
        self,
        *woken: Any,
        members: Collection[Any] | None = None,
        done: int | None = None,
        left: int | None = None,
    ) -> None:
        self.woken: list[Any] = [one for one in woken if asyncio.isfuture(one)]
        self.members: Collection[Any] | None = members
        self.sources: list[Any] = []
        self.done: int | None = done
        self.left: int | None = left

    def unfinished(self) -> list[Any] | None:
        """What it still waits for.

        None while that cannot be said: the callback of a member that just ended may be yet to run, and then the
        helper is about to finish.
        """
        if self.left is not None:
            # More than there are sources: it also waits for futures that nothing is known of.
            return self.sources if self.left == len(self.sources) else None
        if self.members is None:
            return self.sources
        members = dict.fromkeys(self.members)
        unfinished = [one for one in members if not one.done()]
        return unfinished if len(members) - len(unfinished) == (self.done or 0) else None


def helpers() -> dict[int, Helper]:
    """By the id of the future that it will finish, each helper that waits for an unfinished task of the loop.

    Also where it does so through other helpers, as in `shield(gather(...))`.
    """
    found: dict[int, Helper] = {}
    left: list[Any] = list(asyncio.all_tasks())
    while left:
        source = left.pop()
        for function, _ in getattr(source, "_callbacks", None) or ():
            helper = helper_of(function)
            if helper is None:
                continue
            for woken in helper.woken:
                known = found.setdefault(id(woken), helper)
                known.sources.append(source)
                if known is helper:
                    left.append(woken)
    return found


def is_task(one: Any) -> bool:
    """Whether it is a task, of whichever class: that of `asyncio.Task` changes when nest_asyncio is applied."""
    return hasattr(one, "get_coro")


def group_of(task: Any) -> ScopeGroup | None:
    """The group of the scope to which the task belongs."""
    for function, _ in getattr(task, "_callbacks", None) or ():
        if type(function) is MethodType and isinstance(function.__self__, ScopeGroup):
            return function.__self__
    return None


def let_go(task: Task[Any]) -> None:
    """Raise CancelledError in a task that waits, and leave what it waits for alone.

    `Task.cancel()` would cancel that with it.
    """
    waited: Any = getattr(task, "_fut_waiter", None)
    for function, context in getattr(waited, "_callbacks", None) or ():
        if getattr(function, "__self__", None) is task:
            loop = task.get_loop()
            ended: Future[Any] = loop.create_future()
            ended.cancel("the scope ended, and what this task waits for goes on in another one")
            waited.remove_done_callback(function)
            if not is_task(waited):
                # Nobody is left to hear of an error that comes of it.
                waited.add_done_callback(lambda one: one.cancelled() or one.exception())
            loop.call_soon(function, ended, context=context)
            return


def helper_of(function: Any) -> Helper | None:
    """The helper whose done-callback this is."""
    kind = type(function)
    if kind is FunctionType:
        read = _CLOSURES.get((function.__module__, function.__qualname__))
        with suppress(KeyError):  # a name that it does not have, or not yet
            return None if read is None else read(dict(variables(function)))
    elif kind is MethodType:
        owner = function.__self__
        if function.__func__ is TaskGroup._on_task_done:
            return None if isinstance(owner, ScopeGroup) else task_group(owner)
        if function.__func__ is _HANDLE_COMPLETION:
            return Helper(*getters(owner._done), members=owner._todo)
    elif kind is partial and function.func is _RELEASE_WAITER:
        return Helper(*function.args)  # wait_for (3.11)
    return None


def variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function shares with the one that it was written in."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty yet
            continue


def task_group(group: Any) -> Helper:
    return Helper(group._on_completed_fut, members=group._tasks)


def getters(queue: Any) -> Collection[Any]:
    return getattr(queue, "_getters", ()) if isinstance(queue, Queue) else ()


# What those that are functions inside others are read from. The names are those of CPython 3.11 to 3.15; where a later
# one has others, its helper counts as work that is going on.
_CLOSURES: Final[dict[tuple[str, str], Callable[[dict[str, Any]], Helper]]] = {
    ("asyncio.tasks", "gather.<locals>._done_callback"): lambda names: Helper(
        names.get("outer"), members=names["children"], done=names["nfinished"]
    ),
    ("asyncio.tasks", "_wait.<locals>._on_completion"): lambda names: Helper(
        names["waiter"], left=names["counter"]
    ),
    ("asyncio.tasks", "shield.<locals>._inner_done_callback"): lambda names: Helper(names["outer"]),
    ("asyncio.tasks", "as_completed.<locals>._on_completion"): lambda names: Helper(  # to 3.12
        *getters(names["done"]), members=names["todo"]
    ),
    ("anyio._backends._asyncio", "TaskGroup._spawn.<locals>.task_done"): lambda names: task_group(
        names["self"]
    ),
}
_RELEASE_WAITER: Final = getattr(asyncio.tasks, "_release_waiter", None)
_HANDLE_COMPLETION: Final = getattr(  # from 3.13
    getattr(asyncio.tasks, "_AsCompletedIterator", None), "_handle_completion", None
)

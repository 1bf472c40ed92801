"""Who a task waits for behind asyncio's helpers: gather, wait, wait_for, shield, as_completed, TaskGroup.

A task that awaits one of them waits on a future that the helper has made, and nothing on that future says what will
finish it. The task itself says it: the innermost of the coroutines that it is in is the helper's own, and has what it
waits for in a variable. Only asyncio's own code is read so, and anyio's: anybody else's means what its author knows.

The names are those of CPython 3.11 to 3.15. Where a later one has others, its helper counts as work that is going on;
`tests/test_scope_end.py` fails then.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import Future, Task
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType
from typing import Any, Final

__all__ = (
    "behind",
    "children",
    "coroutines",
    "is_done",
    "is_ours",
    "is_task",
    "let_go",
    "place_of",
    "runs",
    "told_by",
    "until",
)


def is_task(one: Any) -> bool:
    """Whether it is a task, of whichever class: that of `asyncio.Task` changes when nest_asyncio is applied."""
    return hasattr(one, "get_coro")


def told_by(future: Any) -> Iterable[Any] | None:
    """What a future that tells this itself waits for, gather's or shield's: at least one, if it is not about to end.

    None for any other.
    """
    if isinstance(future, _GATHERING):
        return gathered(future)
    for function, _ in getattr(future, "_callbacks", None) or ():
        if named(function) == ("asyncio.tasks", "shield.<locals>._outer_done_callback"):
            inner = variables(function).get("inner")
            return None if inner is None else unfinished((inner,))
        break  # it is the first one there
    return None


def behind(task: Any) -> Iterable[Any] | None:
    """What a task waits for through a helper whose coroutine it is in: at least one, if it is not about to go on.

    None when it is in none.
    """
    path = list(coroutines(task))
    # Below the last coroutine there is what a future gives to be awaited by; as_completed waits in a Queue.
    for at in range(len(path) - 1, max(len(path) - 4, -1), -1):
        one = path[at]
        if type(one) is CoroutineType and one.cr_code.co_qualname in _HELPERS:
            frame = one.cr_frame
            if frame is None or frame.f_globals.get("__name__") not in _MODULES:
                return None
            try:
                return _HELPERS[one.cr_code.co_qualname](frame.f_locals, path[:at])
            except (KeyError, AttributeError):  # a name that it does not have, or not yet
                return None
    return None


def coroutines(task: Any) -> Iterator[Any]:
    """The coroutines and generators that a task is in, the outermost first, and what lies between them."""
    one = task.get_coro()
    while one is not None:
        yield one
        if type(one) is CoroutineType:
            one = one.cr_await
            continue
        for name in ("cr_await", "gi_yieldfrom", "ag_await"):
            if hasattr(one, name):
                one = getattr(one, name)
                break
        else:
            # What `async for` and `anext()` await stands between the coroutine and the generator.
            inner = gc.get_referents(one) if type(one).__name__ in _BETWEEN else ()
            one = next(
                (
                    it
                    for it in inner
                    if isinstance(it, _STEPS)
                    or hasattr(it, "cr_await")  # Cython's: flush, uvloop's
                    or type(it).__name__ in _BETWEEN
                ),
                None,
            )


def is_done(one: Any) -> bool:
    """Of what asyncio takes for a future: it need not have more than a task asks of one."""
    done = getattr(one, "done", None)
    return done is not None and bool(done())


def runs(task: Any) -> bool:
    """Whether it is in the middle of a step, in which it runs the loop."""
    return is_task(task) and bool(getattr(task.get_coro(), "cr_running", False))


def is_ours(task: Any) -> bool:
    """Whether the task stands in code of this package alone."""
    return all(
        one.cr_frame is not None
        and str(one.cr_frame.f_globals.get("__name__")).startswith("haiway_bus.")
        for one in coroutines(task)
        if isinstance(one, CoroutineType)
    )


def until(future: Any, call: Callable[..., object]) -> Callable[[], object]:
    """Have it called when the future is done; returns what withdraws that."""
    future.add_done_callback(call)
    remove = getattr(future, "remove_done_callback", None)
    return object if remove is None else partial(remove, call)


def place_of(task: Any) -> tuple[Any, ...]:
    """Where in its code a task stands: of each coroutine and generator the code, and how far in that it is."""
    place: list[Any] = []
    for one in coroutines(task):
        for name in ("cr_frame", "ag_frame", "gi_frame"):
            frame = getattr(one, name, None)
            if frame is not None:
                place += frame.f_code, frame.f_lasti
    return tuple(place)


def children() -> dict[int, list[Any]]:
    """By the id of the task that has opened a TaskGroup, asyncio's or anyio's, or a scope, the tasks in it: a walk over
    all."""
    every: dict[int, list[Any]] = {}
    for task in asyncio.all_tasks():
        for function, _ in getattr(task, "_callbacks", None) or ():
            parent = None
            if type(function) is MethodType:
                parent = getattr(function.__self__, "_parent_task", None)
            elif named(function) == (_ANYIO, "TaskGroup._spawn.<locals>.task_done"):
                group = variables(function).get("self")
                parent = getattr(getattr(group, "cancel_scope", None), "_host_task", None)
            if parent is not None:
                every.setdefault(id(parent), []).append(task)
                break
    return every


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


def named(function: Any) -> tuple[str, str] | None:
    return (function.__module__, function.__qualname__) if type(function) is FunctionType else None


def variables(function: FunctionType) -> dict[str, Any]:
    """What a function shares with the one that it was written in."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # empty yet
            continue
    return found


def unfinished(members: Iterable[Any]) -> list[Any]:
    """Those that are not done. From the middle on: those that end first tend to stand at one of the ends, and who has
    found one at work looks again when that one is not."""
    left = [one for one in members if not one.done()]
    middle = len(left) // 2
    return left[middle:] + left[:middle] if middle else left


def gathered(future: Any) -> list[Any] | None:
    every = future._children
    left = unfinished(every)
    if left and any(one.done() and failed(one) for one in every):
        # It ends with the first that fails, or with the last of all: which one is known to its callback alone.
        for function, _ in getattr(left[0], "_callbacks", None) or ():
            if named(function) == ("asyncio.tasks", "gather.<locals>._done_callback"):
                names = variables(function)
                if names.get("outer") is future:
                    done = len({id(one) for one in every if one.done()})
                    return left if names.get("nfinished") == done else []
        return None
    return left


def failed(one: Any) -> bool:
    return bool(one.cancelled() or getattr(one, "_exception", None) is not None)


def waited(names: Any, _: list[Any]) -> list[Any]:
    left = unfinished(names["fs"])
    return left if len(left) == names["counter"] else []  # one ended, and that is yet to be counted


def only(names: Any, _: list[Any]) -> list[Any] | None:
    one = names["fut"]
    return unfinished((one,)) if asyncio.isfuture(one) else None


def grouped(names: Any, _: list[Any]) -> list[Any] | None:
    return none_done(names["self"]._tasks)


def none_done(members: Iterable[Any]) -> list[Any] | None:
    """Of those that are forgotten as soon as it is known that they are done. None when there are none."""
    members = list(members)
    left = unfinished(members)
    return None if not members else left if len(left) == len(members) else []


def completed(names: Any, outer: list[Any]) -> list[Any] | None:
    if "self" in names:  # from 3.13
        return none_done(names["self"]._todo)
    # The loop around it holds the generator that knows.
    for one in reversed(outer):
        for held in gc.get_referents(one):
            if isinstance(held, GeneratorType) and held.gi_code.co_qualname == "as_completed":
                inner = held.gi_frame.f_locals if held.gi_frame is not None else {}
                if inner.get("done") is names["done"]:
                    return none_done(inner["todo"])
    # It is awaited elsewhere. Its members know.
    for task in asyncio.all_tasks():
        for function, _ in getattr(task, "_callbacks", None) or ():
            if named(function) == ("asyncio.tasks", "as_completed.<locals>._on_completion"):
                inner = variables(function)
                if inner.get("done") is names["done"]:
                    return none_done(inner["todo"])
    return None


_ANYIO: Final = "anyio._backends._asyncio"
_MODULES: Final = ("asyncio.tasks", "asyncio.taskgroups", _ANYIO)
_HELPERS: Final[dict[str, Callable[[Any, list[Any]], list[Any] | None]]] = {
    "_wait": waited,
    "wait_for": only,  # 3.11
    "_cancel_and_wait": only,
    "TaskGroup.__aexit__": grouped,
    "TaskGroup._aexit": grouped,
    "as_completed.<locals>._wait_for_one": completed,  # to 3.12
    "_AsCompletedIterator._wait_for_one": completed,  # from 3.13
}
_BETWEEN: Final = (
    "anext_awaitable",
    "async_generator_asend",
    "async_generator_athrow",
    "coroutine_wrapper",
)
_STEPS: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
_GATHERING: Final[Any] = getattr(asyncio.tasks, "_GatheringFuture", ())

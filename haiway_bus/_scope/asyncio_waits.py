"""What a task waits for behind asyncio's helpers: gather, wait, wait_for, shield, as_completed, TaskGroup.

A task that awaits a helper waits on a future that the helper has made, and that future does not say what will finish
it. The task does: its innermost coroutine is the helper's own, which holds in a variable what it waits for. This module
reads the code of asyncio and anyio alone. What other code means by its variables, only its author knows.

The names are those of CPython 3.11 to 3.15. If a later Python renames one, its helper counts as work in progress, and
`tests/test_scope_end.py` fails.
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
    "await_chain",
    "call_when_done",
    "callbacks_of",
    "cancel_wait",
    "full_name",
    "helper_futures",
    "inner_futures",
    "is_done",
    "is_own_code",
    "is_running",
    "is_task",
    "position_of",
    "tasks_by_parent",
)


def is_task(item: Any) -> bool:
    """Whether it is a task, of any class: nest_asyncio replaces `asyncio.Task` by another class."""
    return hasattr(item, "get_coro")


def inner_futures(future: Any) -> Iterable[Any] | None:
    """What the future of gather or shield waits for; None for any other future.

    The result is empty when the future is about to end.
    """
    if isinstance(future, _GATHERING):
        return futures_of_gather(future)
    for function, _ in callbacks_of(future):
        if full_name(function) == ("asyncio.tasks", "shield.<locals>._outer_done_callback"):
            inner = closure_variables(function).get("inner")
            return None if inner is None else unfinished((inner,))
        break  # shield adds its callback first
    return None


def helper_futures(task: Any) -> Iterable[Any] | None:
    """What a task waits for through the helper that it awaits; None when it awaits none.

    The result is empty when the task is about to go on.
    """
    chain = list(await_chain(task))
    # Its coroutine is among the last three: the last is the iterator of a future, and as_completed waits in Queue.get.
    for at in range(len(chain) - 1, max(len(chain) - 4, -1), -1):
        step = chain[at]
        if type(step) is CoroutineType and step.cr_code.co_qualname in _HELPERS:
            frame = step.cr_frame
            if frame is None or frame.f_globals.get("__name__") not in _MODULES:
                return None
            try:
                return _HELPERS[step.cr_code.co_qualname](frame.f_locals, chain[:at])
            except (KeyError, AttributeError):  # the variable has another name, or no value yet
                return None
    return None


def await_chain(task: Any) -> Iterator[Any]:
    """The coroutines and generators of a task from the outermost inwards, with the awaitables between them."""
    step = task.get_coro()
    while step is not None:
        yield step
        if type(step) is CoroutineType:
            step = step.cr_await
            continue
        for name in ("cr_await", "gi_yieldfrom", "ag_await"):
            if hasattr(step, name):
                step = getattr(step, name)
                break
        else:
            # `async for` and `anext()` put an object between the coroutine and the generator.
            inner = gc.get_referents(step) if type(step).__name__ in _BETWEEN else ()
            step = next(
                (
                    it
                    for it in inner
                    if isinstance(it, _STEPS)
                    or hasattr(it, "cr_await")  # coroutines of Cython: flush, and uvloop's
                    or type(it).__name__ in _BETWEEN
                ),
                None,
            )


def is_done(item: Any) -> bool:
    """Whether it has a `done()` that says so. What a task awaits need not have it."""
    done = getattr(item, "done", None)
    return done is not None and bool(done())


def is_running(task: Any) -> bool:
    """Whether the task is in the middle of a step, in which it runs the loop again (nest_asyncio)."""
    return is_task(task) and bool(getattr(task.get_coro(), "cr_running", False))


def is_own_code(task: Any) -> bool:
    """Whether all coroutines of the task are code of this package."""
    return all(
        step.cr_frame is not None
        and str(step.cr_frame.f_globals.get("__name__")).startswith("haiway_bus.")
        for step in await_chain(task)
        if isinstance(step, CoroutineType)
    )


def callbacks_of(future: Any) -> Any:
    """The done callbacks of a future, each with its context. None are known of a future that does not show them."""
    return getattr(future, "_callbacks", None) or ()


def call_when_done(future: Any, call: Callable[..., object]) -> Callable[[], object]:
    """Add a done callback; return a function that removes it."""
    future.add_done_callback(call)
    remove = getattr(future, "remove_done_callback", None)
    return object if remove is None else partial(remove, call)


def position_of(task: Any) -> tuple[Any, ...]:
    """Where in its code a task waits: the code and the instruction of each coroutine and generator."""
    position: list[Any] = []
    for step in await_chain(task):
        for name in ("cr_frame", "ag_frame", "gi_frame"):
            frame = getattr(step, name, None)
            if frame is not None:
                position += frame.f_code, frame.f_lasti
    return tuple(position)


def tasks_by_parent() -> dict[int, list[Any]]:
    """The tasks of all scopes and TaskGroups (asyncio's and anyio's), by the id of the task that opened the group.

    This walks over all tasks of the loop.
    """
    found: dict[int, list[Any]] = {}
    for task in asyncio.all_tasks():
        for function, _ in callbacks_of(task):
            parent = None
            if type(function) is MethodType:
                parent = getattr(function.__self__, "_parent_task", None)
            elif full_name(function) == (_ANYIO, "TaskGroup._spawn.<locals>.task_done"):
                group = closure_variables(function).get("self")
                parent = getattr(getattr(group, "cancel_scope", None), "_host_task", None)
            if parent is not None:
                found.setdefault(id(parent), []).append(task)
                break
    return found


def cancel_wait(task: Task[Any]) -> None:
    """Raise CancelledError in a waiting task, but do not cancel what it waits for, as `Task.cancel()` would."""
    waited: Any = getattr(task, "_fut_waiter", None)
    for function, context in callbacks_of(waited):
        if getattr(function, "__self__", None) is task:
            loop = task.get_loop()
            cancelled: Future[Any] = loop.create_future()
            cancelled.cancel("the scope ended, and what this task waits for goes on in another one")
            waited.remove_done_callback(function)
            if not is_task(waited):
                # Nobody else retrieves its exception: asyncio would log that.
                waited.add_done_callback(lambda future: future.cancelled() or future.exception())
            loop.call_soon(function, cancelled, context=context)
            return


def full_name(function: Any) -> tuple[str, str] | None:
    """The module and the qualified name of a plain function."""
    return (function.__module__, function.__qualname__) if type(function) is FunctionType else None


def closure_variables(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # no value yet
            continue
    return found


def unfinished(futures: Iterable[Any]) -> list[Any]:
    """The futures that are not done, from the middle on.

    The first of them is checked first, and again once it has ended. Futures tend to end from the first or the last on.
    """
    left = [future for future in futures if not future.done()]
    middle = len(left) // 2
    return left[middle:] + left[:middle] if middle else left


def futures_of_gather(future: Any) -> list[Any] | None:
    children = future._children
    left = unfinished(children)
    if left and any(child.done() and has_failed(child) for child in children):
        # It ends with the first failure, or with the last child (return_exceptions=True). Only its callback knows.
        for function, _ in callbacks_of(left[0]):
            if full_name(function) == ("asyncio.tasks", "gather.<locals>._done_callback"):
                names = closure_variables(function)
                if names.get("outer") is future:
                    done = len({id(child) for child in children if child.done()})
                    return left if names.get("nfinished") == done else []
        return None
    return left


def has_failed(future: Any) -> bool:
    return bool(future.cancelled() or getattr(future, "_exception", None) is not None)


def futures_of_wait(names: Any, _: list[Any]) -> list[Any]:
    left = unfinished(names["fs"])
    return left if len(left) == names["counter"] else []  # wait() has yet to count what ended


def future_of_wait_for(names: Any, _: list[Any]) -> list[Any] | None:
    future = names["fut"]
    return unfinished((future,)) if asyncio.isfuture(future) else None


def tasks_of_group(names: Any, _: list[Any]) -> list[Any] | None:
    return unless_one_is_done(names["self"]._tasks)


def unless_one_is_done(futures: Iterable[Any]) -> list[Any] | None:
    """The futures of a helper that drops each as soon as it hears of its end: nothing if one is done, None if empty."""
    futures = list(futures)
    left = unfinished(futures)
    return None if not futures else left if len(left) == len(futures) else []


def futures_of_as_completed(names: Any, outer: list[Any]) -> list[Any] | None:
    if "self" in names:  # from 3.13
        return unless_one_is_done(names["self"]._todo)
    # The coroutine that loops over it holds the generator that knows.
    for step in reversed(outer):
        for held in gc.get_referents(step):
            if isinstance(held, GeneratorType) and held.gi_code.co_qualname == "as_completed":
                inner = held.gi_frame.f_locals if held.gi_frame is not None else {}
                if inner.get("done") is names["done"]:
                    return unless_one_is_done(inner["todo"])
    # Another task awaits what the loop gave. The callbacks of the futures know.
    for task in asyncio.all_tasks():
        for function, _ in callbacks_of(task):
            if full_name(function) == ("asyncio.tasks", "as_completed.<locals>._on_completion"):
                inner = closure_variables(function)
                if inner.get("done") is names["done"]:
                    return unless_one_is_done(inner["todo"])
    return None


_ANYIO: Final = "anyio._backends._asyncio"
_MODULES: Final = ("asyncio.tasks", "asyncio.taskgroups", _ANYIO)
_HELPERS: Final[dict[str, Callable[[Any, list[Any]], list[Any] | None]]] = {
    "_wait": futures_of_wait,
    "wait_for": future_of_wait_for,  # 3.11
    "_cancel_and_wait": future_of_wait_for,
    "TaskGroup.__aexit__": tasks_of_group,
    "TaskGroup._aexit": tasks_of_group,
    "as_completed.<locals>._wait_for_one": futures_of_as_completed,  # to 3.12
    "_AsCompletedIterator._wait_for_one": futures_of_as_completed,  # from 3.13
}
_BETWEEN: Final = (
    "anext_awaitable",
    "async_generator_asend",
    "async_generator_athrow",
    "coroutine_wrapper",
)
_STEPS: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
_GATHERING: Final[Any] = getattr(asyncio.tasks, "_GatheringFuture", ())

"""The owner of a read, and the errors for code that touches a read of another task. Cold paths: both twins use them.

A read, `anext(subscription)`, belongs to the task that awaits it first (guarantee 2.13).
"""

from __future__ import annotations

import asyncio
from asyncio.events import _get_running_loop
from typing import Any, NoReturn

from haiway_bus._common.printable import described, name_of_type

__all__ = ("drives", "no_copy", "read_over", "read_taken", "task_here", "thrown")


def read_taken(waiting: Any) -> RuntimeError:
    """The error for a read on which another task, or a callback, waits."""
    task = getattr(waiting, "__self__", waiting)
    get_name = getattr(task, "get_name", None)
    who = "" if get_name is None else f", {described(get_name())}"
    return RuntimeError(
        f"this read belongs to the task that awaits it{who}: call anext(subscription) for a read of your own"
    )


def read_over() -> RuntimeError:
    """The error for the second use of a read."""
    return RuntimeError("cannot reuse a read that is over: call anext(subscription) again")


def thrown(exception_type: Any, exception: Any, traceback: Any) -> BaseException:
    """The exception that `throw` is given in one of three ways."""
    if exception is None:
        found = exception_type if isinstance(exception_type, BaseException) else exception_type()
    else:
        found = exception if isinstance(exception, BaseException) else exception_type(exception)
    error: BaseException = found if traceback is None else found.with_traceback(traceback)
    return error


def no_copy(value: object) -> NoReturn:
    """Refuse to copy or pickle an object that belongs to a bus."""
    kind = name_of_type(type(value))
    raise TypeError(
        f"cannot copy or pickle a {kind}: it belongs to one bus; pass the {kind} itself, or make another"
    )


def task_here() -> Any:
    """The task that runs in this thread's loop; None outside of one."""
    return None if _get_running_loop() is None else asyncio.current_task()


def drives(waiting: Any, read: object) -> bool:
    """Whether the call comes from the task that waits on the read: also when its coroutine is closed or collected.

    Such a call comes down the chain of awaits, so a coroutine of the chain is running. A call from elsewhere finds
    every coroutine of the chain suspended.
    """
    task = getattr(waiting, "__self__", waiting)
    if task is task_here():
        return True
    get_coro = getattr(task, "get_coro", None)
    frame = None if get_coro is None else get_coro()
    while frame is not None and frame is not read:
        if getattr(frame, "cr_running", False) or getattr(frame, "gi_running", False):
            return True
        frame = getattr(frame, "cr_await", None) or getattr(frame, "gi_yieldfrom", None)
    return False

"""The tasks of a scope, as asyncio.TaskGroup has them, with three differences:

- The task that leaves a scope may be another than the one that entered it, in a test's fixture or a generator. The task
  that leaves is the one that waits (guarantee 5.14).
- A failing task cancels the body, but it only wakes a task that waits at the end.
- A cancellation from outside, or for an outer scope, is not lost when errors of this scope come out at the same time
  (guarantee 5.15). `Task.cancel` counts: what exceeds the group's own cancellation came from elsewhere.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Task
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from inspect import CO_ASYNC_GENERATOR
from types import FrameType, MethodType
from typing import Any, Final, TypeVar

from haiway_bus._scope.asyncio_waits import await_chain, callbacks_of
from haiway_bus._scope.failures import Failures

__all__ = ("ScopeGroup", "generator_around", "group_of")

Result = TypeVar("Result")

# From 3.14 on: they tell asyncio's tools which task waits for which.
_add_awaited_by: Final[Any] = getattr(asyncio, "future_add_to_awaited_by", None)
_discard_awaited_by: Final[Any] = getattr(asyncio, "future_discard_from_awaited_by", None)


class ScopeGroup:
    """The tasks of one scope, their errors, and the tasks that enter and leave the scope.

    Invariants:
    - `tasks` has every task that has not been seen to end, in the order in which they were spawned.
    - `_parent_task` is the task that entered the scope, named as in asyncio.TaskGroup. `cancels_before` is how often it
      had been cancelled by then. `cancelled_parent`: the group has cancelled it, once.
    - `leaver` is the task that leaves the scope, `waiter` the future on which it waits; None before.
    - `aborted`: the tasks were cancelled.
    """

    __slots__ = (
        "_parent_task",
        "aborted",
        "cancelled_parent",
        "cancels_before",
        "errors",
        "generator",
        "leaver",
        "leaving",
        "on_abort",
        "tasks",
        "waiter",
    )

    def __init__(self) -> None:
        self._parent_task: Task[Any] | None = None
        self.generator: FrameType | None = None
        self.cancels_before: int = 0
        # An OrderedDict: a loop over a plain dict also passes the empty places of removed entries.
        self.tasks: OrderedDict[Task[Any], None] = OrderedDict()
        self.errors: list[BaseException] = []
        self.on_abort: Callable[[], object] | None = None
        self.aborted: bool = False
        self.cancelled_parent: bool = False
        self.leaving: bool = False
        self.leaver: Task[Any] | None = None
        self.waiter: Future[None] | None = None

    def enter(
        self, on_abort: Callable[[], object], generator: FrameType | None = None
    ) -> Task[Any]:
        """Begin, in the task that runs the body. When a task fails while the body runs, the body is cancelled.

        Args:
            on_abort: is called just before the tasks are cancelled.
            generator: the frame that `generator_around` found.

        Raises:
            RuntimeError: No task runs.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a scope is entered in a task: run what enters it by create_task()")
        self._parent_task = task
        self.cancels_before = task.cancelling()
        self.on_abort = on_abort
        self.generator = generator
        return task

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks[task] = None
        task.add_done_callback(self.on_task_done)
        if _add_awaited_by is not None and not task.done():
            _add_awaited_by(task, self._parent_task)
        return task

    def on_task_done(self, task: Task[Any]) -> None:
        del self.tasks[task]
        if _discard_awaited_by is not None:
            _discard_awaited_by(task, self._parent_task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.errors.append(error)
            if not self.aborted:
                self.abort()
                body = None if self.leaving else self.body_task()
                if body is not None:
                    if body is not self._parent_task:
                        self._parent_task, self.cancels_before = body, body.cancelling()
                    self.cancelled_parent = body.cancel()
        waiter = self.waiter
        if (error is not None or not self.tasks) and waiter is not None and not waiter.done():
            waiter.set_result(None)

    def body_task(self) -> Task[Any] | None:
        """The task that runs the body, as far as can be known: the one that entered it, unless that has ended.

        If a generator holds the scope open over a `yield`, it is the task that has resumed the generator; None while
        the generator is suspended.
        """
        parent = self._parent_task
        if self.generator is None:
            return None if parent is None or parent.done() else parent
        for task in asyncio.all_tasks():
            if any(getattr(step, "ag_frame", None) is self.generator for step in await_chain(task)):
                return task
        return None

    def abort(self) -> None:
        """Cancel all tasks, once."""
        if self.aborted:
            return
        self.aborted = True
        if self.on_abort is not None:
            self.on_abort()
        for task in list(self.tasks):
            task.cancel()

    def begin_leaving(self, failures: Failures) -> None:
        """From here on the calling task waits, and a failing task does not cancel it."""
        self.leaving = True
        self.leaver = asyncio.current_task()
        if self.leaver is not None and self.leaver is not self._parent_task:
            # At most one of its cancellations has ended the body. The others were there before.
            self.cancels_before = max(0, self.leaver.cancelling() - failures.cancelled)

    async def wait(self, failures: Failures) -> None:
        """Return when all tasks have ended, and add their errors to the failures.

        If it is cancelled, it cancels the tasks and goes on waiting.
        """
        while self.tasks and not failures.closing:
            self.waiter = asyncio.get_running_loop().create_future()
            if await failures.attempt(self.waiter):
                self.abort()
        self.waiter = None
        parent = self._parent_task
        if self.cancelled_parent and parent is not None and not parent.done():
            parent.uncancel()
            if parent is self.leaver and failures.cancelled and not self.cancelled_by_others():
                failures.signal = None  # it was the group's own
        if self.errors:
            failures.add_task_errors(self.errors)
            self.errors.clear()

    def cancelled_by_others(self) -> bool:
        """Whether the task that leaves the scope was cancelled by others than the group since it entered."""
        return self.leaver is not None and self.leaver.cancelling() > self.cancels_before

    def close(self, failures: Failures) -> None:
        """Cancel the task that leaves once more if errors come out instead of a cancellation from elsewhere."""
        leaver, before = self.leaver, self.cancels_before
        if (
            leaver is not None
            and (self.cancelled_parent or failures.cancelled)
            and not isinstance(failures.outcome, CancelledError)
            and self.cancelled_by_others()
        ):
            message = failures.signal.args[:1] if failures.signal is not None else ()

            # In the loop's next turn: until then the cancellation can be taken back, as asyncio.timeout() does when the
            # errors pass through it. Up to Python 3.12, uncancel() does not stop a cancellation that has begun.
            def again() -> None:
                if not leaver.done() and leaver.cancelling() > before:
                    leaver.cancel(*message)
                    leaver.uncancel()

            leaver.get_loop().call_soon(again)
        self._parent_task = self.leaver = self.generator = self.on_abort = None


def group_of(task: Any) -> ScopeGroup | None:
    """The group to which the task belongs; None if no scope has spawned it."""
    for function, _ in callbacks_of(task):
        if type(function) is MethodType and isinstance(function.__self__, ScopeGroup):
            return function.__self__
    return None


def generator_around(frame: FrameType | None) -> FrameType | None:
    """The frame of the async generator that enters a scope in this frame, and holds it open over a `yield`.

    None if a coroutine runs the body, itself or in an `async with` block over a generator with `@asynccontextmanager`.
    """
    while frame is not None:
        if not is_contextlib(frame):
            if not frame.f_code.co_flags & CO_ASYNC_GENERATOR:
                return None
            if frame.f_back is None or not is_contextlib(frame.f_back):
                return frame
        frame = frame.f_back
    return None


def is_contextlib(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "contextlib"

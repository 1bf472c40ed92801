"""The tasks of a scope, as an asyncio.TaskGroup has them. Three things are not as there, on one Python or another:

- Who leaves a scope may be another task than the one that entered it, which may have ended or gone on to other work: a
  test's fixture, a generator. The one that leaves it is the one that waits (guarantee 5.14).
- While it waits it is not cancelled when a task fails: it is only woken.
- A cancellation that was meant for a scope further out, or came from outside, is not lost to the errors of this one
  when both come at once (guarantee 5.15). `Task.cancel` counts; what is counted beyond our own is somebody else's.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Task
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from inspect import CO_ASYNC_GENERATOR
from types import FrameType, MethodType
from typing import Any, Final, TypeVar

from haiway_bus._scope.asyncio_waits import coroutines
from haiway_bus._scope.failures import Failures

__all__ = ("ScopeGroup", "generator_around", "group_of")

Result = TypeVar("Result")

# From 3.14 on: for those who draw which task waits for which.
_awaited: Final[Any] = getattr(asyncio, "future_add_to_awaited_by", None)
_awaited_no_more: Final[Any] = getattr(asyncio, "future_discard_from_awaited_by", None)


class ScopeGroup:
    """The tasks of one scope, what they failed with, and who is to be told.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `_parent_task` is the one that entered the scope, `before` how often it had been cancelled by then. `asked` says
    that the group has cancelled it, once. `leaver` is the task that leaves the scope, None before; `waited` what it
    waits on. `aborted`: the tasks were cancelled.
    """

    __slots__ = (
        "_parent_task",
        "aborted",
        "asked",
        "before",
        "errors",
        "generator",
        "leaver",
        "leaving",
        "on_abort",
        "tasks",
        "waited",
    )

    def __init__(self) -> None:
        self._parent_task: Task[Any] | None = None
        self.generator: FrameType | None = None
        self.before: int = 0
        # Ordered, as a plain dict is walked from its first entry on, those included that were taken out.
        self.tasks: OrderedDict[Task[Any], None] = OrderedDict()
        self.errors: list[BaseException] = []
        self.on_abort: Callable[[], object] | None = None
        self.aborted: bool = False
        self.asked: bool = False
        self.leaving: bool = False
        self.leaver: Task[Any] | None = None
        self.waited: Future[None] | None = None

    def enter(
        self, on_abort: Callable[[], object], generator: FrameType | None = None
    ) -> Task[Any]:
        """Begin. The task that calls is the one that is cancelled when a task fails, while it is in the body.

        `on_abort` is called just before the tasks are cancelled; `generator` is what `generator_around` says.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a scope is entered in a task: run what enters it by create_task()")
        self._parent_task = task
        self.before = task.cancelling()
        self.on_abort = on_abort
        self.generator = generator
        return task

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks[task] = None
        task.add_done_callback(self.ended)
        if _awaited is not None and not task.done():
            _awaited(task, self._parent_task)
        return task

    def ended(self, task: Task[Any]) -> None:
        del self.tasks[task]
        if _awaited_no_more is not None:
            _awaited_no_more(task, self._parent_task)
        failed = None if task.cancelled() else task.exception()
        if failed is not None:
            self.errors.append(failed)
            if not self.aborted:
                self.abort()
                body = None if self.leaving else self.in_body()
                if body is not None:
                    if body is not self._parent_task:
                        self._parent_task, self.before = body, body.cancelling()
                    self.asked = body.cancel()
        waited = self.waited
        if (failed is not None or not self.tasks) and waited is not None and not waited.done():
            waited.set_result(None)

    def in_body(self) -> Task[Any] | None:
        """The task that is in the body, as far as can be known: the one that entered it, and has not ended.

        None when the body is that of a generator which has given an item and has yet to go on. Any task may do that.
        """
        parent = self._parent_task
        if self.generator is None:
            return None if parent is None or parent.done() else parent
        for task in asyncio.all_tasks():
            if any(getattr(one, "ag_frame", None) is self.generator for one in coroutines(task)):
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
        """From here on the task that calls is the one that waits, and nobody is cancelled."""
        self.leaving = True
        self.leaver = asyncio.current_task()
        if self.leaver is not None and self.leaver is not self._parent_task:
            # Who was cancelled for this scope is so once. More often it was before.
            self.before = max(0, self.leaver.cancelling() - failures.cancelled)

    async def wait(self, failures: Failures) -> None:
        """Return when all tasks have ended, and tell of what they failed with.

        Cancelled meanwhile, it cancels them, and goes on waiting.
        """
        while self.tasks and not failures.thrown_away:
            self.waited = asyncio.get_running_loop().create_future()
            if await failures.attempt(self.waited):
                self.abort()
        self.waited = None
        parent = self._parent_task
        if self.asked and parent is not None and not parent.done():
            parent.uncancel()
            if parent is self.leaver and failures.cancelled and not self.cancelled_beyond():
                failures.signal = None  # it was our own
        if self.errors:
            failures.add_tasks(self.errors)
            self.errors.clear()

    def cancelled_beyond(self) -> bool:
        """Whether the one that leaves was cancelled by others, too, since it has entered."""
        return self.leaver is not None and self.leaver.cancelling() > self.before

    def close(self, failures: Failures) -> None:
        """See to it that a cancellation from elsewhere is not lost to the errors that come out in its place."""
        leaver, before = self.leaver, self.before
        if (
            leaver is not None
            and (self.asked or failures.cancelled)
            and not isinstance(failures.outcome, CancelledError)
            and self.cancelled_beyond()
        ):
            message = failures.signal.args[:1] if failures.signal is not None else ()

            # In the loop's next turn: whoever has cancelled it may take that back first, as asyncio.timeout() does when
            # the errors go through it. Up to 3.12 what `cancel` has begun comes even so.
            def again() -> None:
                if not leaver.done() and leaver.cancelling() > before:
                    leaver.cancel(*message)
                    leaver.uncancel()

            leaver.get_loop().call_soon(again)
        self._parent_task = self.leaver = self.generator = self.on_abort = None


def group_of(task: Any) -> ScopeGroup | None:
    """The group of the scope to which the task belongs."""
    for function, _ in getattr(task, "_callbacks", None) or ():
        if type(function) is MethodType and isinstance(function.__self__, ScopeGroup):
            return function.__self__
    return None


def generator_around(frame: FrameType | None) -> FrameType | None:
    """The frame of the async generator that enters a scope and holds it open over a `yield`, given who enters it.

    None where the body is that of a coroutine, or of the `async with` block over a generator with
    `@asynccontextmanager`.
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

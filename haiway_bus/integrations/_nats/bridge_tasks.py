"""The tasks of a bridge. They run in the scope's context and end with the bridge; if a task fails, the scope fails.

They are not spawned in the scope. At its end a scope waits for its tasks until all of them wait for events, and these
tasks wait for the network.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from haiway_bus import Subscription, ctx
from haiway_bus.integrations._nats.bridge_errors import NatsBridgeError

__all__ = ("BridgeTasks", "end")


@dataclass(frozen=True, slots=True, eq=False)
class BridgeFailed:
    """Sent on the scope's bus so that the scope fails with the error: see BridgeTasks._watch."""

    bridge: object
    error: BaseException


class BridgeTasks:
    """The tasks by name. A task that ends by itself is a failure, unless it was begun with `may_end`.

    A failure is sent on the scope's bus. A task of the scope waits for it there and raises it: a task that waits for an
    event does not keep the scope open.
    """

    def __init__(self) -> None:
        self.leaving: bool = False
        self._tasks: dict[str, Task[None]] = {}
        self._watcher: Task[None] | None = None

    @property
    def broken_off(self) -> bool:
        """Whether the scope is cancelling its tasks, because it failed or was cancelled itself.

        The watching task is a task of the scope. The scope cancels all of its tasks in the same moment, before any of
        them can end. So this is true as soon as a reader has ended for that reason.
        """
        watcher = self._watcher
        if watcher is None:
            return False
        if watcher.cancelling():
            return True
        return watcher.done() and (watcher.cancelled() or watcher.exception() is not None)

    def watch(self) -> None:
        """From now on the scope fails when the bridge fails."""
        self._watcher = ctx.spawn(self._watch, ctx.subscribe(BridgeFailed))

    def begin(
        self, name: str, work: Coroutine[Any, Any, None], *, may_end: bool = False
    ) -> Task[None]:
        """Run a coroutine as a task of the bridge."""
        task = asyncio.get_running_loop().create_task(work, name=f"NATS bridge: {name}")
        task.add_done_callback(lambda task: self._ended(name, task, may_end))
        self._tasks[name] = task
        return task

    def fail(self, error: BaseException) -> None:
        """Make the scope fail with this error."""
        ctx.send(BridgeFailed(self, error))

    async def end(self) -> None:
        """End all tasks, the latest first."""
        self.leaving = True
        for task in reversed(self._tasks.values()):
            await end(task)

    def _ended(self, name: str, task: Task[None], may_end: bool) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None and (self.leaving or may_end):
            return
        if error is None:
            error = NatsBridgeError(f"the {name} has ended although the bridge is open")
        if self.leaving:
            ctx.log_error("the %s of the NATS bridge failed while leaving", name, exception=error)
        else:
            self.fail(error)

    async def _watch(self, failures: Subscription[BridgeFailed]) -> None:
        async for failure in failures:
            if failure.bridge is self:
                raise failure.error


async def end(task: Task[None], patience: float = 0.2) -> None:
    """Cancel a task until it ends. Cancelling once is not enough: nats-py swallows a cancellation while it flushes.

    Args:
        task: The task.
        patience: How many seconds it has to clean up before it is cancelled again.
    """
    for _ in range(20):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=patience)

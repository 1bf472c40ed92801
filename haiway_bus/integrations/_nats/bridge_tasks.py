"""The tasks of a bridge: begun in the scope's context, failing the scope when one fails, ended with the bridge.

They are not spawned in the scope. A scope waits at its end for those it spawned until they wait for an event that is
not there, and these wait for the network.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Coroutine
from typing import Any

from haiway_bus import Subscription, ctx
from haiway_bus.integrations._nats.bridge_errors import BridgeFailed, NatsBridgeError

__all__ = ("Work", "end")


class Work:
    """The tasks by name. One that ends by itself is a failure, unless it was said that it may.

    A failure is sent on the scope's bus, where a task of the scope's waits for it and fails: a task that waits for an
    event keeps no scope open.
    """

    def __init__(self) -> None:
        self.leaving: bool = False
        self._tasks: dict[str, Task[None]] = {}
        self._watcher: Task[None] | None = None

    @property
    def broken_off(self) -> bool:
        """Whether the tasks of the scope are being cancelled, because it failed or was cancelled itself.

        The watching task is one of them. It is asked to end in the same moment as the others, and before any of them
        can have ended: so who sees one ended sees this, too.
        """
        watcher = self._watcher
        if watcher is None:
            return False
        if watcher.cancelling():
            return True
        return watcher.done() and (watcher.cancelled() or watcher.exception() is not None)

    def watch(self) -> None:
        """From now on the scope fails with the bridge."""
        self._watcher = ctx.spawn(self._watch, ctx.subscribe(BridgeFailed))

    def begin(
        self, name: str, work: Coroutine[Any, Any, None], *, may_end: bool = False
    ) -> Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"NATS bridge: {name}")
        task.add_done_callback(lambda task: self._ended(name, task, may_end))
        self._tasks[name] = task
        return task

    def fail(self, error: BaseException) -> None:
        """Have the scope fail with this error."""
        ctx.send(BridgeFailed(self, error))

    async def end(self) -> None:
        """End all, the one begun last first."""
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
    """Cancel a task until it ends: nats-py swallows a cancellation that reaches it while it flushes.

    `patience`: seconds that it has to clean up, before it is cancelled again.
    """
    for _ in range(20):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=patience)

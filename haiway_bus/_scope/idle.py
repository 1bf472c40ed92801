"""Which tasks are at work, and which idle: an idle task waits for an event that is not there, itself or through others.

asyncio's own objects tell: a task holds the future on which it waits, and `asyncio_waits.py` knows what stands behind
that future.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from haiway_bus._bus import Receive
from haiway_bus._scope.asyncio_waits import (
    call_when_done,
    helper_futures,
    inner_futures,
    is_done,
    is_own_code,
    is_running,
    is_task,
    tasks_by_parent,
)
from haiway_bus._scope.group import ScopeGroup, group_of

__all__ = ("TRIGGERS_ONLY", "DrainFuture", "IdleCheck", "WaitChain")

# In `blocked_on`: the triggers alone say when to check again.
TRIGGERS_ONLY: Final = object()

# Seconds between two checks of a task that runs the loop in the middle of a step (nest_asyncio). Nothing else says when
# its step goes on.
_NESTED: Final = 0.01

# In `blocked_on`: the task will run in the loop's next turn.
_RUNNABLE: Final = None


class DrainFuture(Future[None]):
    """The future on which a task waits at the end of a scope, until the tasks of the scope have ended.

    `idle`: the scope can only wait for others. While it is False, the tasks are at work, or the scope is about to check
    them, which may lead to more work.
    """

    __slots__ = ("idle", "tasks", "when_cancelled")

    def __init__(self, tasks: Iterable[Task[Any]], when_cancelled: Callable[[], object]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.tasks: Iterable[Task[Any]] = tasks
        self.idle: bool = False
        self.when_cancelled: Callable[[], object] = when_cancelled

    def cancel(self, msg: Any = None) -> bool:
        """`Task.cancel()` calls this. Only now is it certain that the tasks still stand where they waited."""
        if not self.done():
            self.when_cancelled()
        return super().cancel(msg)


class WaitChain(NamedTuple):
    """The way to a task or future that was found at work.

    leaf: what was found at work.
    links: the tasks on the way to it, from the outermost, each with the future that it awaited.
    """

    leaf: Any
    links: Sequence[tuple[Any, Any]] = ()


class IdleCheck:
    """One check of which tasks are idle and which are at work.

    It is made and asked at one moment: nothing else runs in between.

    A task is idle if it waits for an event that is not there, or for other tasks that are all idle: by await, gather,
    TaskGroup, wait, wait_for, shield or as_completed, in any combination. A task that waits on anything else is at
    work, so that no work in progress is ever cut off. A task that waits at the end of a scope is at work; with
    `through_scopes` it is as idle as the tasks of that scope.

    Invariants:
    - `blocked_on` is the future on which the task that was found at work waits; None if the task runs in the loop's
      next turn. `chain` leads to that task.
    - `triggers` also say when to check again: each adds a callback and returns a function that removes it.
    - `known_idle` has the idle tasks and futures by their id. None is checked twice, however many wait for it.
    - `visited` has all tasks, futures and reads that `reads_of` has passed, by their id. It keeps them alive: a
      subscription may end with its last read, and then it ends with this check, in the context of the scope.
    - `between` has the futures of helpers that stand between the tasks and the reads.
    """

    __slots__ = (
        "between",
        "blocked_on",
        "chain",
        "known_idle",
        "through_scopes",
        "triggers",
        "visited",
    )

    def __init__(self, through_scopes: bool = False) -> None:
        self.blocked_on: Any = _RUNNABLE
        self.between: list[Any] = []
        self.chain: WaitChain | None = None
        self.triggers: list[Callable[[Callable[[], object]], Callable[[], object]]] = []
        self.known_idle: dict[int, Any] = {}
        self.visited: dict[int, Any] = {}
        self.through_scopes: bool = through_scopes

    def at_work(self, task: Task[Any]) -> bool:
        """Whether the task is neither finished nor idle. If so, `blocked_on` is what it waits on."""
        waited: Any = getattr(task, "_fut_waiter", None)
        if task.done() or (isinstance(waited, Receive) and waited.idle):
            return False  # the usual case: it waits for an event
        if (
            type(waited) is Future
            and not waited.done()
            and inner_futures(waited) is helper_futures(task) is None
        ):
            # The other usual case: no helper of asyncio stands behind the future.
            self.blocked_on, self.chain = waited, WaitChain(task)
            return True
        # No recursion: a chain of tasks that wait for each other can have any length. `path` has the tasks and futures
        # from the first one inwards, and the last iterator in `left` yields what the last of them waits on.
        path: dict[int, Any] = {}
        left: list[Iterator[Any]] = [iter((task,))]
        while left:
            for item in left[-1]:
                key = id(item)
                if key in self.known_idle or is_done(item):
                    continue
                # Tasks that wait for each other in a circle count as work: their deadlock is not ours to end.
                awaited = None if key in path else self.waits_on(item)
                if awaited is None:
                    if key in path:
                        self.blocked_on = item
                    self.chain = WaitChain(
                        item,
                        [
                            (it, getattr(it, "_fut_waiter", None))
                            for it in path.values()
                            if is_task(it)
                        ],
                    )
                    return True
                path[key] = item
                left.append(iter(awaited))
                break
            else:
                left.pop()
                if path:
                    key, item = path.popitem()
                    self.known_idle[key] = item
        return False

    def waits_on(self, item: Any) -> Iterable[Any] | None:
        """What an unfinished task or future waits on: nothing, if that is an event that is not there.

        None when the task or future is at work. Then `blocked_on` says on what it waits.
        """
        self.blocked_on = _RUNNABLE
        waited: Any = item
        if isinstance(item, DrainFuture):
            return () if item.idle else None
        if is_task(item):
            waited = getattr(item, "_fut_waiter", None)
            if isinstance(waited, Receive):
                return () if waited.idle else None
            if waited is None or is_done(waited):
                return None
            if is_task(waited):
                return (waited,)
            if isinstance(waited, DrainFuture):
                if self.through_scopes:
                    return (*waited.tasks, waited)
                self.blocked_on = waited
                return None
        inner = inner_futures(waited)
        if inner is None and waited is not item:
            inner = helper_futures(item)
        if inner is None:
            self.blocked_on = waited
        # Empty: what it waited for has ended, and it is about to hear of that.
        return inner or None

    def child_at_work(self) -> bool:
        """Whether a child of a visited task is at work: a task of its TaskGroups or scopes, at any depth."""
        every: dict[int, list[Any]] | None = None
        # A worker of `ctx.on` that is idle has no children: its handler has returned.
        left = [
            key for key, item in self.visited.items() if is_task(item) and not is_own_code(item)
        ]
        while left:
            if every is None:
                every = tasks_by_parent()
            for child in every.get(left.pop(), ()):
                if id(child) not in self.visited:
                    if self.at_work(child):
                        return True
                    known = len(self.visited)
                    for _ in self.reads_of(child):
                        pass
                    left += islice(self.visited, known, None)
        return False

    def reads_of(
        self, task: Task[Any], group: ScopeGroup | None = None
    ) -> Iterator[tuple[Task[Any], Receive | None]]:
        """The reads for which an idle task waits, each with the task that reads. No read comes twice.

        With a `group`, tasks of another group are not followed: the task that waits for such a task comes, with None.
        """
        left: list[tuple[Any, Task[Any]]] = [(task, task)]
        while left:
            item, waiting = left.pop()
            if id(item) in self.visited or is_done(item):
                continue
            if is_task(item):
                if group is not None and item is not task and group_of(item) not in (None, group):
                    yield waiting, None
                    continue
                waiting = item
                waited = getattr(item, "_fut_waiter", None)
                if isinstance(waited, Receive) and waited.channel is not None:
                    self.visited[id(waited)] = waited
                    self.visited[id(item)] = item
                    yield item, waited
                    continue
                if waited is not None and not is_task(waited):
                    self.between.append(waited)
            self.visited[id(item)] = item
            left.extend((other, waiting) for other in self.waits_on(item) or ())

    def call_when_changed(self, call: Callable[..., object]) -> Callable[[], object]:
        """Call it when the task that was found at work may have gone on; return a function that removes it."""
        if self.blocked_on is _RUNNABLE:
            loop = asyncio.get_running_loop()
            if self.chain is not None and is_running(self.chain.leaf):
                return loop.call_later(_NESTED, call).cancel
            return loop.call_soon(call).cancel
        found = self.blocked_on
        if not self.triggers:
            # Callbacks run in the order in which they were added: the task itself goes on first.
            return call_when_done(found, call)

        def done(_: object = None) -> None:
            remove_all()
            call()

        def remove_all() -> None:
            for remove in removers:
                remove()

        removers: list[Callable[[], object]] = []
        if found is not TRIGGERS_ONLY:
            removers.append(call_when_done(found, done))
        removers += [add(done) for add in self.triggers]
        return remove_all

    def watch_chain(self, chain: WaitChain | None) -> None:
        """Add triggers for the futures on the way to what was found: a task may stop waiting for it."""
        for _, waited in () if chain is None else chain.links:
            # A task or a gather ends after what it waits for. Without these, a long chain is not checked at each link.
            if not is_task(waited) and not hasattr(waited, "_children"):
                self.triggers.append(partial(call_when_done, waited))

    async def wait_for_change(self) -> None:
        """Return when the task that was found at work may have gone on."""
        changed: Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: object = None) -> None:
            if not changed.done():
                changed.set_result(None)

        remove = self.call_when_changed(wake)
        try:
            await changed
        finally:
            remove()

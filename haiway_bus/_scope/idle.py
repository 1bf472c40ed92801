"""What tasks are doing: whether one is at work, or waits for an event that is not there, itself or through others.

It is read off asyncio's own objects, from a task downwards: a task says what it waits on, and `asyncio_waits.py`
what stands behind that.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

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

# What was found where `triggers` alone tell when to look again.
TRIGGERS_ONLY: Final = object()

# How long a task is left alone that runs the loop again in the middle of a step (nest_asyncio), in seconds: nothing
# tells when it goes on.
_NESTED: Final = 0.01

# What stands where otherwise a future stands: for a task that will run in the loop's next turn.
_RUNNABLE: Final = None


class DrainFuture(Future[None]):
    """What a task waits on that ends a scope, until the tasks of that have settled.

    `idle` says that the scope can do nothing but wait for others; else it is about to look at its tasks, or will when
    they are idle, and what comes of that is work.
    """

    __slots__ = ("idle", "tasks", "when_cancelled")

    tasks: Iterable[Task[Any]]
    idle: bool
    when_cancelled: Callable[[], object]

    def cancel(self, msg: Any = None) -> bool:
        """Called by Task.cancel(), when the tasks still stand where they waited: soon they may be gone, too."""
        if not self.done():
            self.when_cancelled()
        return super().cancel(msg)


class WaitChain:
    """A task, or future, that was found at work: `leaf`, and through which tasks, waiting on what, it was reached.

    While each of these waits on the same, what was reached then still is. So one at work is enough to know.
    """

    __slots__ = ("leaf", "links")

    def __init__(self, leaf: Any, links: Sequence[tuple[Any, Any]] = ()) -> None:
        self.leaf: Any = leaf
        self.links: Sequence[tuple[Any, Any]] = links

    def still_at_work(self, check: IdleCheck) -> bool:
        """Whether it is still at work, or another that the same tasks wait for; then it is that one from now on."""
        if not self.links and self.leaf.done():
            return False
        left = len(self.links)
        for at, (task, waited) in enumerate(self.links):
            if getattr(task, "_fut_waiter", None) is not waited or waited is None or waited.done():
                left = at
                break
        else:
            if isinstance(self.leaf, DrainFuture):
                pass
            elif not is_task(self.leaf):
                check.blocked_on = self.leaf
                if not self.leaf.done():
                    return True
            elif self.continues_with(check, self.leaf, left):
                return True
            left -= 1
        # What others wait for has ended: who did is the next to be asked.
        return any(self.continues_with(check, self.links[at][0], at) for at in range(left, -1, -1))

    def continues_with(self, check: IdleCheck, task: Any, at: int) -> bool:
        if not check.at_work(task):
            return False
        if check.chain is not None:
            self.leaf, further = check.chain.leaf, check.chain.links
            self.links = (*self.links[:at], *further) if further else self.links[:at]
        return True


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
        """Whether the task is neither finished nor idle; `blocked_on` then says what its going on depends on."""
        waited: Any = getattr(task, "_fut_waiter", None)
        if task.done() or (isinstance(waited, Receive) and waited.idle):
            return False  # the usual case: itself, for an event
        if (
            type(waited) is Future
            and not waited.done()
            and inner_futures(waited) is helper_futures(task) is None
        ):
            # The other usual case, for which there is no need to go further.
            self.blocked_on, self.chain = waited, WaitChain(task)
            return True
        # By hand instead of by recursion: tasks that wait for each other may be a chain of any length. The last
        # iterator in `left` goes over what the last one in `path` waits on.
        path: dict[int, Any] = {}
        left: list[Iterator[Any]] = [iter((task,))]
        while left:
            for one in left[-1]:
                key = id(one)
                if key in self.known_idle or is_done(one):
                    continue
                # In a circle they wait for each other: nobody's business but theirs.
                awaited = None if key in path else self.waits_on(one)
                if awaited is None:
                    if key in path:
                        self.blocked_on = one
                    self.chain = WaitChain(
                        one,
                        [
                            (it, getattr(it, "_fut_waiter", None))
                            for it in path.values()
                            if is_task(it)
                        ],
                    )
                    return True
                path[key] = one
                left.append(iter(awaited))
                break
            else:
                left.pop()
                if path:
                    key, one = path.popitem()
                    self.known_idle[key] = one
        return False

    def waits_on(self, one: Any) -> Iterable[Any] | None:
        """What an unfinished task or future waits on, which is nothing for a read of an event that is not there.

        None when it is at work, or waits on something else; `blocked_on` then says what it depends on.
        """
        self.blocked_on = _RUNNABLE
        waited: Any = one
        if isinstance(one, DrainFuture):
            return () if one.idle else None
        if is_task(one):
            waited = getattr(one, "_fut_waiter", None)
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
        members = inner_futures(waited)
        if members is None and waited is not one:
            members = helper_futures(one)
        if members is None:
            self.blocked_on = waited
        # None left: it has yet to hear of the last one's end.
        return members or None

    def child_at_work(self) -> bool:
        """Whether a task is at work that one of those which were visited has started in a TaskGroup, at any depth."""
        every: dict[int, list[Any]] | None = None
        # What handles events for us is between two of them, and has none.
        left = [key for key, one in self.visited.items() if is_task(one) and not is_own_code(one)]
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
        """What an idle task waits on, and was not told yet: each read, with the task that waits on it.

        Given the group to which it belongs, a task of another group is that group's business. Whichever task waits for
        it is told with None.
        """
        left: list[tuple[Any, Task[Any]]] = [(task, task)]
        while left:
            one, waiting = left.pop()
            if id(one) in self.visited or is_done(one):
                continue
            if is_task(one):
                if group is not None and one is not task and group_of(one) not in (None, group):
                    yield waiting, None
                    continue
                waiting = one
                waited = getattr(one, "_fut_waiter", None)
                if isinstance(waited, Receive) and waited.channel is not None:
                    self.visited[id(waited)] = waited
                    self.visited[id(one)] = one
                    yield one, waited
                    continue
                if waited is not None and not is_task(waited):
                    self.between.append(waited)
            self.visited[id(one)] = one
            left.extend((other, waiting) for other in self.waits_on(one) or ())

    def call_when_changed(self, call: Callable[..., object]) -> Callable[[], object]:
        """Have it called when what was found has had a chance to go on; returns what withdraws that."""
        if self.blocked_on is _RUNNABLE:
            loop = asyncio.get_running_loop()
            if self.chain is not None and is_running(self.chain.leaf):
                return loop.call_later(_NESTED, call).cancel
            return loop.call_soon(call).cancel
        found = self.blocked_on
        if not self.triggers:
            # Callbacks run in the order in which they were added: the task's own comes first.
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
        """Look again also when one of those through which the chain was reached may wait for it no more."""
        for _, waited in () if chain is None else chain.links:
            # What is a task or a gather does not end before what it waits for: asked for nothing in a long chain.
            if not is_task(waited) and not hasattr(waited, "_children"):
                self.triggers.append(partial(call_when_done, waited))

    async def wait_for_change(self) -> None:
        """Return when what was found has had a chance to go on."""
        changed: Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: object = None) -> None:
            if not changed.done():
                changed.set_result(None)

        remove = self.call_when_changed(wake)
        try:
            await changed
        finally:
            remove()

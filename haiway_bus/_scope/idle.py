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
    behind,
    children,
    is_done,
    is_ours,
    is_task,
    runs,
    told_by,
    until,
)
from haiway_bus._scope.group import ScopeGroup, group_of

__all__ = ("ELSEWHERE", "Activity", "Settling", "Witness")

# What was found where `others` alone tell when to look again.
ELSEWHERE: Final = object()

# How long a task is left alone that runs the loop again in the middle of a step (nest_asyncio), in seconds: nothing
# tells when it goes on.
_NESTED: Final = 0.01

# What stands where otherwise a future stands: for a task that will run in the loop's next turn.
_RUNNABLE: Final = None


class Settling(Future[None]):
    """What a task waits on that ends a scope, until the tasks of that have settled.

    `rests` says that the scope can do nothing but wait for others; else it is about to look at its tasks, or will when
    they are idle, and what comes of that is work.
    """

    __slots__ = ("rests", "tasks", "when_cancelled")

    tasks: Iterable[Task[Any]]
    rests: bool
    when_cancelled: Callable[[], object]

    def cancel(self, msg: Any = None) -> bool:
        """Called by Task.cancel(), when the tasks still stand where they waited: soon they may be gone, too."""
        if not self.done():
            self.when_cancelled()
        return super().cancel(msg)


class Witness:
    """A task, or future, that was found at work: `leaf`, and through which tasks, waiting on what, it was reached.

    While each of these waits on the same, what was reached then still is. So one at work is enough to know.
    """

    __slots__ = ("leaf", "links")

    def __init__(self, leaf: Any, links: Sequence[tuple[Any, Any]] = ()) -> None:
        self.leaf: Any = leaf
        self.links: Sequence[tuple[Any, Any]] = links

    def holds(self, active: Activity) -> bool:
        """Whether it is still at work, or another that the same tasks wait for; then it is that one from now on."""
        if not self.links and self.leaf.done():
            return False
        left = len(self.links)
        for at, (task, waited) in enumerate(self.links):
            if getattr(task, "_fut_waiter", None) is not waited or waited is None or waited.done():
                left = at
                break
        else:
            if isinstance(self.leaf, Settling):
                pass
            elif not is_task(self.leaf):
                active.found = self.leaf
                if not self.leaf.done():
                    return True
            elif self.asks(active, self.leaf, left):
                return True
            left -= 1
        # What others wait for has ended: who did is the next to be asked.
        return any(self.asks(active, self.links[at][0], at) for at in range(left, -1, -1))

    def asks(self, active: Activity, task: Any, at: int) -> bool:
        if not active.found_in(task):
            return False
        if active.witness is not None:
            self.leaf, further = active.witness.leaf, active.witness.links
            self.links = (*self.links[:at], *further) if further else self.links[:at]
        return True


class Activity:
    """One look at what tasks are doing, at one moment: nothing runs between its making and the last question.

    A task is idle if it waits for an event that is not there, or for other tasks that are all idle: by await,
    gather, TaskGroup, wait, wait_for, shield and as_completed, or several of them within each other. Whatever else
    a task waits on counts as activity, so that nothing which is still going on is ever cut off. With `through`, who
    ends a scope is as idle as the tasks of that scope; without, it is at work.

    Invariants: `idle` holds the tasks and futures that are known to be idle, by their id, so that none is looked at
    twice however many wait for it. `walked` holds those whose waits were told, and the waits: a subscription that goes
    with the last read of it goes with this look then, in the context of the scope that looks. `between` are the futures
    of helpers that stood between these tasks and the reads.
    """

    __slots__ = ("between", "found", "idle", "others", "through", "walked", "witness")

    def __init__(self, through: bool = False) -> None:
        self.found: Any = _RUNNABLE
        self.between: list[Any] = []
        self.witness: Witness | None = None
        # What else tells when to look again: each adds a callback, and returns what withdraws it.
        self.others: list[Callable[[Callable[[], object]], Callable[[], object]]] = []
        self.idle: dict[int, Any] = {}
        self.walked: dict[int, Any] = {}
        self.through: bool = through

    def found_in(self, task: Task[Any]) -> bool:
        """Whether the task is neither finished nor idle; `found` then says what its going on depends on."""
        waited: Any = getattr(task, "_fut_waiter", None)
        if task.done() or (isinstance(waited, Receive) and waited.idle):
            return False  # the usual case: itself, for an event
        if type(waited) is Future and not waited.done() and told_by(waited) is behind(task) is None:
            # The other usual case, for which there is no need to go further.
            self.found, self.witness = waited, Witness(task)
            return True
        # By hand instead of by recursion: tasks that wait for each other may be a chain of any length. The last
        # iterator in `left` goes over what the last one in `path` waits on.
        path: dict[int, Any] = {}
        left: list[Iterator[Any]] = [iter((task,))]
        while left:
            for one in left[-1]:
                key = id(one)
                if key in self.idle or is_done(one):
                    continue
                # In a circle they wait for each other: nobody's business but theirs.
                awaited = None if key in path else self.awaited_by(one)
                if awaited is None:
                    if key in path:
                        self.found = one
                    self.witness = Witness(
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
                    self.idle[key] = one
        return False

    def awaited_by(self, one: Any) -> Iterable[Any] | None:
        """What an unfinished task or future waits on, which is nothing for a read of an event that is not there.

        None when it is at work, or waits on something else; `found` then says what it depends on.
        """
        self.found = _RUNNABLE
        waited: Any = one
        if isinstance(one, Settling):
            return () if one.rests else None
        if is_task(one):
            waited = getattr(one, "_fut_waiter", None)
            if isinstance(waited, Receive):
                return () if waited.idle else None
            if waited is None or is_done(waited):
                return None
            if is_task(waited):
                return (waited,)
            if isinstance(waited, Settling):
                if self.through:
                    return (*waited.tasks, waited)
                self.found = waited
                return None
        members = told_by(waited)
        if members is None and waited is not one:
            members = behind(one)
        if members is None:
            self.found = waited
        # None left: it has yet to hear of the last one's end.
        return members or None

    def child_found(self) -> bool:
        """Whether a task is at work that one of those which were walked has started in a TaskGroup, at any depth."""
        every: dict[int, list[Any]] | None = None
        # What handles events for us is between two of them, and has none.
        left = [key for key, one in self.walked.items() if is_task(one) and not is_ours(one)]
        while left:
            if every is None:
                every = children()
            for child in every.get(left.pop(), ()):
                if id(child) not in self.walked:
                    if self.found_in(child):
                        return True
                    known = len(self.walked)
                    for _ in self.waits_of(child):
                        pass
                    left += islice(self.walked, known, None)
        return False

    def waits_of(
        self, task: Task[Any], group: ScopeGroup | None = None
    ) -> Iterator[tuple[Task[Any], Receive | None]]:
        """What an idle task waits on, and was not told yet: each read, with the task that waits on it.

        Given the group to which it belongs, a task of another group is that group's business. Whichever task waits for
        it is told with None.
        """
        left: list[tuple[Any, Task[Any]]] = [(task, task)]
        while left:
            one, waiting = left.pop()
            if id(one) in self.walked or is_done(one):
                continue
            if is_task(one):
                if group is not None and one is not task and group_of(one) not in (None, group):
                    yield waiting, None
                    continue
                waiting = one
                waited = getattr(one, "_fut_waiter", None)
                if isinstance(waited, Receive) and waited.channel is not None:
                    self.walked[id(waited)] = waited
                    self.walked[id(one)] = one
                    yield one, waited
                    continue
                if waited is not None and not is_task(waited):
                    self.between.append(waited)
            self.walked[id(one)] = one
            left.extend((other, waiting) for other in self.awaited_by(one) or ())

    def when_changed(self, call: Callable[..., object]) -> Callable[[], object]:
        """Have it called when what was found has had a chance to go on; returns what withdraws that."""
        if self.found is _RUNNABLE:
            loop = asyncio.get_running_loop()
            if self.witness is not None and runs(self.witness.leaf):
                return loop.call_later(_NESTED, call).cancel
            return loop.call_soon(call).cancel
        found = self.found
        if not self.others:
            # Callbacks run in the order in which they were added: the task's own comes first.
            return until(found, call)

        def done(_: object = None) -> None:
            withdraw_all()
            call()

        def withdraw_all() -> None:
            for withdraw in withdrawals:
                withdraw()

        withdrawals: list[Callable[[], object]] = []
        if found is not ELSEWHERE:
            withdrawals.append(until(found, done))
        withdrawals += [other(done) for other in self.others]
        return withdraw_all

    def watch(self, witness: Witness | None) -> None:
        """Look again also when one of those through which the witness was reached may wait for it no more."""
        for _, waited in () if witness is None else witness.links:
            # What is a task or a gather does not end before what it waits for: asked for nothing in a long chain.
            if not is_task(waited) and not hasattr(waited, "_children"):
                self.others.append(partial(until, waited))

    async def changed(self) -> None:
        """Return when what was found has had a chance to go on."""
        changed: Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: object = None) -> None:
            if not changed.done():
                changed.set_result(None)

        withdraw = self.when_changed(wake)
        try:
            await changed
        finally:
            withdraw()

"""When a scope ends.

An asyncio.TaskGroup waits until its tasks have ended, but a task that reads events does not end by itself. So when the
body is over:

1. The tasks run until each is finished or idle: it waits for an event that is not there, itself or through what it
   awaits (`idle.py`). One task at work is enough to know; what it waits on says when to check again.
2. When all are idle, all tasks of the loop are walked once, to find children that are at work in TaskGroups.
3. Then the reads of the scope's own bus end, one event type a round, those of the latest task first. What the readers
   do then is work, and 1 begins again.
4. Some waits depend on other scopes: `first()` on an answer, a read of another bus on an event. They end only when no
   task is at work on that bus, nor on a bus on which its tasks read. A task that waits for a task of another scope is
   cancelled last.

Tasks that are being cancelled and read on their way out go the same way, but nothing waits in 4 (guarantee 5.5).
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Final

from haiway_bus._bus import Receive
from haiway_bus._bus.first import asking
from haiway_bus._common.printable import described, name_of_type
from haiway_bus._scope.asyncio_waits import call_when_done, cancel_wait
from haiway_bus._scope.bus_scopes import TaskOwner, bus_scopes_of
from haiway_bus._scope.ended_waits import EndedWait
from haiway_bus._scope.idle import TRIGGERS_ONLY, DrainFuture, IdleCheck
from haiway_bus._scope.search import WorkSearch

__all__ = ("Ending",)

# A round ends the reads of one event type, or of a share of the types that are left if there are very many. There are
# hardly more rounds than this.
_ROUNDS: Final = 1024
# So often a task may read the same event type again after its read was ended; then it is cancelled. Code that reads
# several times and then goes on is not cut off.
_ENDS: Final = 8

# By channel, its reads: the task of the scope that waits, the task that reads (often the same), and the read.
Reads = dict[Any, list[tuple[Task[Any], Task[Any], Receive]]]


class Ending:
    """The end of a scope. Callbacks call `step`, until the tasks have ended or `stop` is called.

    It completes `drain` when no task is left. Without a `drain` the tasks are being cancelled, and the task that leaves
    the scope waits in the group: reads on the tasks' way out end, too.

    Invariants:
    - `senders_idle`: at the last check no task was at work that could send what the scope's tasks wait for.
    - `end_counts`: by task, and by the id of an event type, the type and the number of rounds that ended waits for it.
      The waits are the task's own and those of the tasks that it waited for.
    - `just_ended` has the tasks of the last rounds that have yet to wait again, `moved_on` those that then waited for
      something else than an event. Both say where the task had read.
    - `plan` has the reads to end in the next rounds, `resumed` the tasks whose reads were ended, and `wakes` how often
      the bus had woken readers by then.
    """

    __slots__ = (
        "drain",
        "end_counts",
        "just_ended",
        "moved_on",
        "owner",
        "plan",
        "resumed",
        "search",
        "senders_idle",
        "stop",
        "wakes",
    )

    def __init__(self, owner: TaskOwner) -> None:
        self.owner: TaskOwner = owner
        self.drain: DrainFuture | None = None
        self.stop: Callable[[], object] = object
        self.search: WorkSearch = WorkSearch()
        self.senders_idle: bool = False
        self.end_counts: dict[Task[Any], dict[int, tuple[type[Any], int]]] = {}
        self.just_ended: dict[Task[Any], EndedWait] = {}
        self.moved_on: dict[Task[Any], EndedWait] = {}
        self.plan: Reads = {}
        self.resumed: list[Task[Any]] = []
        self.wakes: int = 0

    def start(self, drain: DrainFuture | None) -> None:
        """Check the tasks from the loop's next turn on: a group has yet to cancel them in this one."""
        self.stop()
        self.drain = drain
        self.stop = asyncio.get_running_loop().call_soon(self.step).cancel

    def step(self, _: object = None) -> None:
        drain = self.drain
        if drain is not None and drain.done():
            return
        try:
            if self.owner.tasks:
                self.stop = self.end_idle_waits().call_when_changed(self.step)
            elif drain is not None:
                drain.set_result(None)
        except BaseException as broken:
            if drain is None or drain.done():
                raise
            drain.set_exception(broken)

    def end_idle_waits(self) -> IdleCheck:
        """Check the tasks; when all of them are idle, end what they wait for. The check says when to check again."""
        owner = self.owner
        check = IdleCheck()
        self.set_idle(False)
        # One task at work is enough to know: the others are not checked meanwhile.
        if not self.search.still_at_work(check):
            planned = self.plan_is_current(check)
            if self.search.chain is None and (
                planned or not self.search.any_at_work(owner.tasks, check)
            ):
                check.blocked_on = None
                idle = planned or any(not task.done() for task in owner.tasks)
                if idle and not owner.bus.inbox.deliver():
                    if planned:
                        self.end_round()
                    else:
                        self.plan_rounds(check)
        if check.blocked_on is not None:
            self.senders_idle = False
            if isinstance(check.blocked_on, DrainFuture):
                self.set_idle(True)  # until the scope has ended that a task of this one has opened
            check.watch_chain(self.search.chain)
            self.update_just_ended(check)
        return check

    def set_idle(self, idle: bool) -> None:
        if self.drain is not None:
            self.drain.idle = idle

    def plan_rounds(self, check: IdleCheck) -> None:
        """Find the reads of the idle tasks and end the first round of them, unless a child of the tasks is at work.

        What a reader sends after its loop must still find its own readers. They are best spawned before it, as a
        subscription has to exist before the events are sent. So the reads of the latest task end first, and the others
        when all tasks are idle again.
        """
        owner = self.owner
        own_reads: Reads = {}
        other_reads: Reads = {}
        outside: list[tuple[Task[Any], Task[Any]]] = []
        for task in reversed(owner.tasks):
            for waiting, receive in check.reads_of(task, owner.group):
                if receive is None:
                    outside.append((task, waiting))
                    continue
                channel = receive.channel
                own = self.drain is None or (waiting not in asking and owner.is_own(channel))
                reads = own_reads if own else other_reads
                reads.setdefault(channel, []).append((task, waiting, receive))
        if other_reads and self.senders_at_work(check, other_reads):
            return
        check.blocked_on = None
        if check.child_at_work():
            self.search.chain = check.chain
            return
        if other_reads and not own_reads and not self.senders_idle:
            # Check again in the next turn: another scope may be about to end the reads of its own tasks.
            self.senders_idle = True
            return
        self.set_idle(False)
        self.senders_idle = False
        self.plan, self.resumed = own_reads or other_reads, []
        if self.plan:
            self.end_round()
            if not own_reads:
                self.plan = {}  # check again which tasks could send the other events
            return
        # The tasks that are left wait for tasks of other scopes, which go on reading.
        for task, waiting in outside:
            self.end_counts.setdefault(task, {})
            cancel_wait(waiting)

    def plan_is_current(self, check: IdleCheck) -> bool:
        """Whether the tasks whose reads were ended have finished, and the bus has woken no other reader since.

        Then no task has to be checked again: with very many event types that would take very long. If a task whose read
        was ended is still at work, the search remembers it.
        """
        if self.owner.bus.wakes != self.wakes:
            self.plan = {}
        while self.plan and self.resumed:
            if not self.resumed[-1].done():
                if check.at_work(self.resumed[-1]):
                    self.search.remember(self.resumed[-1], check)
                    return False
                self.plan = {}
            self.resumed.pop()
        return bool(self.plan)

    def end_round(self) -> None:
        """End the planned reads of the first event type, or with very many types of a share of them."""
        name = described(self.owner.name)
        channels = list(islice(self.plan, max(1, len(self.plan) // _ROUNDS)))
        # Before the reads end: what a thread sends from here on would wait for readers that are gone (guarantee 6.2).
        if not self.owner.refuse_threads(channels):
            return
        for channel in channels:
            reads = self.plan.pop(channel)
            for task, waiting, receive in {read[0]: read for read in reads}.values():
                self.resumed.append(task)
                if self.keeps_reading(task, EndedWait.of(task, waiting, receive)):
                    task.cancel(
                        f"the scope {name} is ending, and this task waits again and again for events of"
                        f" {name_of_type(channel.event_type)} that nobody is left to send"
                    )
            for _, _, receive in reads:
                receive.end()
        self.wakes = self.owner.bus.wakes

    def keeps_reading(self, task: Task[Any], ended_wait: EndedWait) -> bool:
        """Count a round that ends a wait of the task. Returns whether the task reads again and again.

        It does if the count is full, or if it waited for something else and now repeats the read before that.
        """
        event_type = ended_wait.channel.event_type
        counts = self.end_counts.setdefault(task, {})
        before = counts.get(id(event_type), (event_type, 0))[1]
        earlier = self.moved_on.pop(task, None)
        self.just_ended[task] = ended_wait
        often = before == _ENDS or (earlier is not None and ended_wait.repeats(earlier))
        counts[id(event_type)] = event_type, 0 if often else before + 1
        return often

    def update_just_ended(self, check: IdleCheck) -> None:
        """Find the tasks of `just_ended` that wait again: those that read are done with, the others have moved on."""
        found = check.blocked_on
        for task in list(self.just_ended):
            if not check.at_work(task):
                del self.just_ended[task]
            elif check.blocked_on is not None:
                self.moved_on[task] = self.just_ended.pop(task)
        check.blocked_on = found

    def senders_at_work(self, check: IdleCheck, reads: Reads) -> bool:
        """Whether a task is at work that could send what these reads wait for, on their buses or through others.

        If so, the check gets triggers: a read gets its event, or no such task is at work any more.
        """
        self.set_idle(True)
        senders = IdleCheck(through_scopes=True)
        left, seen = list(reads), set()
        while left:
            scopes = bus_scopes_of(left.pop().bus)
            if scopes is None or id(scopes) in seen:
                continue
            seen.add(id(scopes))
            if not scopes.any_at_work(senders):
                left += scopes.awaited_channels
                continue
            self.senders_idle = False
            # Nothing changes while one of the reads waits. That of the latest task may have to wait longest.
            channel, latest = next(iter(reads.items()))
            task, waiting, _ = latest[0]
            path = IdleCheck()
            for _ in path.reads_of(task):
                pass
            check.blocked_on = TRIGGERS_ONLY
            check.triggers = [
                partial(scopes.call_when_idle, check=senders),
                partial(call_when_answered, waiting)
                if waiting in asking
                else channel.bus.when_stirred,
                *(partial(call_when_done, future) for future in (*path.between, task)),
            ]
            return True
        return False


def call_when_answered(task: Task[Any], call: Callable[[], object]) -> Callable[[], object]:
    """Call it when the task has its answer from `first()`, or ends; return a function that removes the callback."""
    loop = asyncio.get_running_loop()

    def told(_: object = None) -> None:
        loop.call_soon(call)

    def remove() -> None:
        if asking.get(task) is told:
            asking[task] = None
        task.remove_done_callback(told)

    if task in asking:
        asking[task] = told
    task.add_done_callback(told)
    return remove

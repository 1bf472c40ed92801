"""When a scope ends. A TaskGroup waits until its tasks are finished, and a reader of events never is. So when the body
is over:

1. The tasks run, until each is finished or idle: waiting for an event that is not there, itself or through what it
   awaits (`idle.py`). One that is known to be at work is enough; what that waits on tells when to look again.
2. All idle: all tasks of the loop are walked once, for children at work in TaskGroups whose body reads.
3. Then the reads of the scope's own bus end, one type of event a round, those of the latest task first. Whatever comes
   of it is at work, and it begins anew with 1.
4. Some wait for others: `first()` for an answer, a read of another bus for an event. Nothing ends while somebody of
   that bus is at work, or of those that these wait for. At last, who waits for a task of another scope is let go.

The same is done for tasks that are being cancelled and read on their way out, but for waiting in 4 (guarantee 5.5).
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
from haiway_bus._scope.asyncio_waits import call_when_done, cancel_wait
from haiway_bus._scope.bus_scopes import TaskOwner, bus_scopes_of
from haiway_bus._scope.ended_waits import EndedWait
from haiway_bus._scope.idle import TRIGGERS_ONLY, DrainFuture, IdleCheck
from haiway_bus._scope.search import WorkSearch
from haiway_bus._values.printable import described, name_of_type

__all__ = ("Ending",)

# The waits of a settled scope end one event type at a time. With very many types that would be very many rounds, so
# that a round then takes its share of those that are left: this many rounds, and some more.
_ROUNDS: Final = 1024
# A loop around a loop that reads comes back for more each time its wait has ended. So often it may, for each type of
# event: code that reads several times and then goes on is not cut off.
_ENDS: Final = 8

# By channel, the reads of it, each with the task of the scope that waits and the task that reads, which are often one.
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
        """Look from now on. Not at once: a group has yet to cancel its tasks."""
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
        """See what the tasks are doing, and end what they wait for when all of them are idle."""
        owner = self.owner
        check = IdleCheck()
        self.set_idle(False)
        # One that is known to be busy is enough to know, so that the others are not looked at meanwhile.
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
                self.set_idle(True)  # until the scope that one of its tasks has opened has ended
            check.watch_chain(self.search.chain)
            self.update_just_ended(check)
        return check

    def set_idle(self, idle: bool) -> None:
        if self.drain is not None:
            self.drain.idle = idle

    def plan_rounds(self, check: IdleCheck) -> None:
        """Find what the idle tasks wait for, and begin to end it, unless a child of theirs is at work.

        What such a reader sends when its loop has ended must still find its own readers. They are best spawned
        before it (a subscription has to stand before the events are sent), so the latest goes first, and the
        others when the scope has settled again.
        """
        owner = self.owner
        waits: Reads = {}
        others: Reads = {}
        outside: list[tuple[Task[Any], Task[Any]]] = []
        for task in reversed(owner.tasks):
            for waiting, receive in check.reads_of(task, owner.group):
                if receive is None:
                    outside.append((task, waiting))
                    continue
                channel = receive.channel
                plain = waiting not in asking and owner.is_own(channel)
                (waits if plain or self.drain is None else others).setdefault(channel, []).append(
                    (task, waiting, receive)
                )
        if others and self.senders_at_work(check, others):
            return
        check.blocked_on = None
        if check.child_at_work():
            self.search.chain = check.chain
            return
        if not waits and others:
            if not self.senders_idle:
                # Once more in the next turn: another scope may be about to end what its own tasks wait for.
                self.senders_idle = True
                return
            waits = others
        self.set_idle(False)
        self.senders_idle = False
        self.plan, self.resumed = waits, []
        if waits:
            self.end_round()
            if waits is others:
                self.plan = {}  # whoever could send it is to be asked again
            return
        # All that is left waits for tasks of other scopes, which go on reading.
        for task, waiting in outside:
            self.end_counts.setdefault(task, {})
            cancel_wait(waiting)

    def plan_is_current(self, check: IdleCheck) -> bool:
        """Whether the plan is as good as new: who was ended by it has finished, and the bus woke nobody else.

        Then nobody needs to be asked again, which for each of very many types would take very long. One of those whom
        it ended may be at work yet: that is found then.
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
        """End the planned waits for the event type that comes first, or with very many types for a share of them."""
        name = described(self.owner.name)
        ending = list(islice(self.plan, max(1, len(self.plan) // _ROUNDS)))
        # Before they are ended: what a thread sends from here on would wait for readers that are gone (guarantee 6.2).
        if not self.owner.refuse_threads(ending):
            return
        for channel in ending:
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
        """Count one that ends waits of the task; say whether it comes back all the time.

        One that has waited for something else meanwhile, and then reads again as it did, does so all the time.
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
        """Whether anybody is at work who could send what is waited for, or what those wait for who could.

        Then it is told when to look again by a task that waits for it, and by the last one at work.
        """
        self.set_idle(True)
        senders = IdleCheck(through_scopes=True)
        left, seen = list(reads), set()
        while left:
            family = bus_scopes_of(left.pop().bus)
            if family is None or id(family) in seen:
                continue
            seen.add(id(family))
            if not family.any_at_work(senders):
                left += family.reads
                continue
            self.senders_idle = False
            # While one question is open there is nothing to see. The latest, which may have to wait longest.
            channel, each = next(iter(reads.items()))
            task, waiting, _ = each[0]
            gone_on = IdleCheck()
            for _ in gone_on.reads_of(task):
                pass
            check.blocked_on = TRIGGERS_ONLY
            check.triggers = [
                partial(family.call_when_idle, check=senders),
                partial(call_when_answered, waiting)
                if waiting in asking
                else channel.bus.when_stirred,
                *(partial(call_when_done, one) for one in (*gone_on.between, task)),
            ]
            return True
        return False


def call_when_answered(task: Task[Any], call: Callable[[], object]) -> Callable[[], object]:
    """Have it called when the task has its answer from `first()`, or ends; returns what withdraws that."""
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

"""When a scope ends. A TaskGroup waits until its tasks are finished, and a reader of events never is. So when the body
is over:

1. The tasks run, until each is finished or idle: waiting for an event that is not there, itself or through what it
   awaits (`activity.py`). One that is known to be at work is enough; what that waits on tells when to look again.
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
from haiway_bus._scope.asyncio_waits import let_go, until
from haiway_bus._scope.idle import ELSEWHERE, Activity, Settling
from haiway_bus._scope.members import Members, family_of
from haiway_bus._scope.search import Search
from haiway_bus._scope.stops import Stop
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
    """The end of a scope: it looks at the tasks by callbacks, until it is withdrawn or they have settled.

    With `settling` it tells that when no task is left. Without, the tasks are being cancelled, and who leaves the scope
    waits in its group: what they read on their way out ends, too.

    Invariants: `rested` says that at the last look nobody was at work who could send what is waited for. `ended` counts
    rounds that ended waits, by the task and by the id of the type, which it keeps beside: waits of the task's own, and
    of those that it waited for. `lately` are the tasks of the last rounds that have yet to wait again; `away` has
    those that then waited for something else than events. Both say where they had read. `plan` has the reads to end in
    the next rounds, `acting` the tasks whose reads it ended, and `wakes` tells whether the bus has woken anybody since.
    """

    __slots__ = (
        "acting",
        "away",
        "ended",
        "lately",
        "members",
        "plan",
        "rested",
        "search",
        "settling",
        "wakes",
        "withdraw",
    )

    def __init__(self, members: Members) -> None:
        self.members: Members = members
        self.settling: Settling | None = None
        self.withdraw: Callable[[], object] = object
        self.search: Search = Search()
        self.rested: bool = False
        self.ended: dict[Task[Any], dict[int, tuple[type[Any], int]]] = {}
        self.lately: dict[Task[Any], Stop] = {}
        self.away: dict[Task[Any], Stop] = {}
        self.plan: Reads = {}
        self.acting: list[Task[Any]] = []
        self.wakes: int = 0

    def begin(self, settling: Settling | None) -> None:
        """Look from now on. Not at once: a group has yet to cancel its tasks."""
        self.withdraw()
        self.settling = settling
        self.withdraw = asyncio.get_running_loop().call_soon(self.look).cancel

    def look(self, _: object = None) -> None:
        settling = self.settling
        if settling is not None and settling.done():
            return
        try:
            if self.members.tasks:
                self.withdraw = self.see().when_changed(self.look)
            elif settling is not None:
                settling.set_result(None)
        except BaseException as broken:
            if settling is None or settling.done():
                raise
            settling.set_exception(broken)

    def see(self) -> Activity:
        """See what the tasks are doing, and end what they wait for when all of them are idle."""
        members = self.members
        active = Activity()
        self.rest(False)
        # One that is known to be busy is enough to know, so that the others are not looked at meanwhile.
        if not self.search.holds(active):
            planned = self.plan_stands(active)
            if self.search.witness is None and (
                planned or not self.search.one_of(members.tasks, active)
            ):
                active.found = None
                idle = planned or any(not task.done() for task in members.tasks)
                if idle and not members.bus.inbox.deliver():
                    if planned:
                        self.end_round()
                    else:
                        self.plan_rounds(active)
        if active.found is not None:
            self.rested = False
            if isinstance(active.found, Settling):
                self.rest(True)  # until the scope that one of its tasks has opened has ended
            active.watch(self.search.witness)
            self.see_who_is_away(active)
        return active

    def rest(self, rests: bool) -> None:
        if self.settling is not None:
            self.settling.rests = rests

    def plan_rounds(self, idle: Activity) -> None:
        """Find what the idle tasks wait for, and begin to end it, unless a child of theirs is at work.

        What such a reader sends when its loop has ended must still find its own readers. They are best spawned
        before it (a subscription has to stand before the events are sent), so the latest goes first, and the
        others when the scope has settled again.
        """
        members = self.members
        waits: Reads = {}
        others: Reads = {}
        stranded: list[tuple[Task[Any], Task[Any]]] = []
        for task in reversed(members.tasks):
            for waiting, receive in idle.waits_of(task, members.group):
                if receive is None:
                    stranded.append((task, waiting))
                    continue
                channel = receive.channel
                plain = waiting not in asking and members.is_own(channel)
                (waits if plain or self.settling is None else others).setdefault(
                    channel, []
                ).append((task, waiting, receive))
        if others and self.others_at_work(idle, others):
            return
        idle.found = None
        if idle.child_found():
            self.search.witness = idle.witness
            return
        if not waits and others:
            if not self.rested:
                # Once more in the next turn: another scope may be about to end what its own tasks wait for.
                self.rested = True
                return
            waits = others
        self.rest(False)
        self.rested = False
        self.plan, self.acting = waits, []
        if waits:
            self.end_round()
            if waits is others:
                self.plan = {}  # whoever could send it is to be asked again
            return
        # All that is left waits for tasks of other scopes, which go on reading.
        for task, waiting in stranded:
            self.ended.setdefault(task, {})
            let_go(waiting)

    def plan_stands(self, active: Activity) -> bool:
        """Whether the plan is as good as new: who was ended by it has finished, and the bus woke nobody else.

        Then nobody needs to be asked again, which for each of very many types would take very long. One of those whom
        it ended may be at work yet: that is found then.
        """
        if self.members.bus.wakes != self.wakes:
            self.plan = {}
        while self.plan and self.acting:
            if not self.acting[-1].done():
                if active.found_in(self.acting[-1]):
                    self.search.found(self.acting[-1], active)
                    return False
                self.plan = {}
            self.acting.pop()
        return bool(self.plan)

    def end_round(self) -> None:
        """End the planned waits for the event type that comes first, or with very many types for a share of them."""
        name = described(self.members.name)
        ending = list(islice(self.plan, max(1, len(self.plan) // _ROUNDS)))
        # Before they are ended: what a thread sends from here on would wait for readers that are gone (guarantee 6.2).
        if not self.members.refuse_threads(ending):
            return
        for channel in ending:
            reads = self.plan.pop(channel)
            for task, waiting, receive in {read[0]: read for read in reads}.values():
                self.acting.append(task)
                if self.too_many(task, Stop.of(task, waiting, receive)):
                    task.cancel(
                        f"the scope {name} is ending, and this task waits again and again for events of"
                        f" {name_of_type(channel.event_type)} that nobody is left to send"
                    )
            for _, _, receive in reads:
                receive.end()
        self.wakes = self.members.bus.wakes

    def too_many(self, task: Task[Any], stop: Stop) -> bool:
        """Count one that ends waits of the task; say whether it comes back all the time.

        One that has waited for something else meanwhile, and then reads again as it did, does so all the time.
        """
        event_type = stop.channel.event_type
        counts = self.ended.setdefault(task, {})
        before = counts.get(id(event_type), (event_type, 0))[1]
        away = self.away.pop(task, None)
        self.lately[task] = stop
        often = before == _ENDS or (away is not None and stop.is_again(away))
        counts[id(event_type)] = event_type, 0 if often else before + 1
        return often

    def see_who_is_away(self, active: Activity) -> None:
        """Of the tasks whose waits ended lately, see which came back at once and which wait for something else."""
        found = active.found
        for task in list(self.lately):
            if not active.found_in(task):
                del self.lately[task]
            elif active.found is not None:
                self.away[task] = self.lately.pop(task)
        active.found = found

    def others_at_work(self, idle: Activity, reads: Reads) -> bool:
        """Whether anybody is at work who could send what is waited for, or what those wait for who could.

        Then it is told when to look again by a task that waits for it, and by the last one at work.
        """
        self.rest(True)
        active = Activity(through=True)
        left, seen = list(reads), set()
        while left:
            family = family_of(left.pop().bus)
            if family is None or id(family) in seen:
                continue
            seen.add(id(family))
            if not family.at_work(active):
                left += family.reads
                continue
            self.rested = False
            # While one question is open there is nothing to see. The latest, which may have to wait longest.
            channel, each = next(iter(reads.items()))
            task, waiting, _ = each[0]
            gone_on = Activity()
            for _ in gone_on.waits_of(task):
                pass
            idle.found = ELSEWHERE
            idle.others = [
                partial(family.wait, active=active),
                partial(tell_of, waiting) if waiting in asking else channel.bus.when_stirred,
                *(partial(until, one) for one in (*gone_on.between, task)),
            ]
            return True
        return False


def tell_of(task: Task[Any], call: Callable[[], object]) -> Callable[[], object]:
    """Have it called when the task has its answer from `first()`, or ends; returns what withdraws that."""
    loop = asyncio.get_running_loop()

    def told(_: object = None) -> None:
        loop.call_soon(call)

    def withdraw() -> None:
        if asking.get(task) is told:
            asking[task] = None
        task.remove_done_callback(told)

    if task in asking:
        asking[task] = told
    task.add_done_callback(told)
    return withdraw

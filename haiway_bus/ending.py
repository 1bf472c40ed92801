"""When a scope ends. A TaskGroup waits until its tasks are finished, and a reader of events never is. So when the body
is over:

1. The tasks run, until each is finished or idle: waiting for an event that is not there, itself or through what it
   awaits (`activity.py`). One that is known to be at work is enough; what that waits on tells when to look again.
2. All idle: all tasks of the loop are walked once, for children at work in TaskGroups whose body reads.
3. Then the reads of the scope's own bus end, one type of event a round, those of the latest task first. Whatever comes
   of it is at work, and it begins anew with 1.
4. What is left waits for others: `first()` for an answer, a read of another bus for an event. It is ended when no task
   of that bus is at work any more. At last, who waits for a task of another scope is let go.

The same is done for tasks that are being cancelled and read on their way out, but for waiting in 4 (guarantee 5.5).
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, islice
from operator import methodcaller
from typing import Any, Final

from haiway_bus.activity import Activity, Settling, Witness, place_of
from haiway_bus.asyncio_helpers import let_go
from haiway_bus.bus import Receive
from haiway_bus.bus._first import asking
from haiway_bus.members import Family, Members, families_of_all
from haiway_bus.printable import described, name_of_type

__all__ = ("Ending",)

# The waits of a settled scope end one event type at a time. With very many types that would be very many rounds, so
# that a round then takes its share of those that are left: this many rounds, and some more.
_ROUNDS: Final = 64
# A loop around a loop that reads comes back for more each time its wait has ended. So often it may, for each type of
# event: code that reads several times and then goes on is not cut off.
_ENDS: Final = 8
# How many of those that were at work lately are asked first when the one that was known to be is not any more.
_RECENT: Final = 8
is_done: Final[Callable[[Task[Any]], bool]] = methodcaller("done")

# By channel, the reads of it, each with the task of the scope that waits and the task that reads, which are often one.
Reads = dict[Any, list[tuple[Task[Any], Task[Any], Receive]]]


class Ending:
    """The end of a scope: it looks at the tasks by callbacks, until it is withdrawn or they have settled.

    With `settling` it tells that when no task is left. Without, the tasks are being cancelled, and who leaves the scope
    waits in its group: what they read on their way out ends, too.

    Invariants: `witness` was at work at the last look, and `recent` are the tasks that were before, the latest first.
    `rested` says that nobody else on the bus was either. `ended` counts rounds that ended waits, by the task and by the
    id of the type, which it keeps beside: waits of the task's own, and of those that it waited for. `lately` are the
    tasks of the last rounds that have yet to wait again; `away` has those that then waited for something else than
    events. Both say where they had read. `plan` has the reads to end in the next rounds.
    """

    __slots__ = (
        "away",
        "ended",
        "lately",
        "members",
        "plan",
        "recent",
        "rested",
        "settling",
        "withdraw",
        "witness",
    )

    def __init__(self, members: Members) -> None:
        self.members: Members = members
        self.settling: Settling | None = None
        self.withdraw: Callable[[], object] = object
        self.witness: Witness | None = None
        self.recent: tuple[Task[Any], ...] = ()
        self.rested: bool = False
        self.ended: dict[Task[Any], dict[int, tuple[type[Any], int]]] = {}
        self.lately: dict[Task[Any], tuple[Any, ...]] = {}
        self.away: dict[Task[Any], tuple[Any, ...]] = {}
        self.plan: Reads = {}

    def begin(self, settling: Settling | None) -> None:
        """Look from now on. Not at once: a group has yet to cancel its tasks."""
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
        # One that is known to be busy is enough to know, so that the others are not looked at meanwhile.
        if self.witness is None or not self.witness.holds(active):
            self.witness = None
            planned = self.plan_stands()
            # Those first that were at work lately. Then the first first, as others may wait for it.
            for task in () if planned else chain(self.recent, members.tasks):
                if active.found_in(task):
                    self.found(active)
                    break
            else:
                active.found = None
                idle = planned or not all(map(is_done, members.tasks))
                if idle and not members.bus.inbox.deliver():
                    if planned:
                        self.end_round()
                    else:
                        self.plan_rounds(active)
        if active.found is not None:
            self.rested = False
            active.watch(self.witness)
            self.see_who_is_away(active)
        return active

    def found(self, active: Activity) -> None:
        """Remember what was found at work."""
        self.witness = active.witness
        if active.witness is not None:
            task = active.witness.links[0][0] if active.witness.links else active.witness.leaf
            if task in self.members.tasks and (not self.recent or self.recent[0] is not task):
                recent = (it for it in self.recent if it is not task and not it.done())
                self.recent = (task, *islice(recent, _RECENT - 1))

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
        if not waits and others and self.others_at_work(idle, others):
            self.rested = False
            return
        idle.found = None
        if idle.child_found():
            self.found(idle)
            return
        if not waits and others:
            if not self.rested:
                # Once more in the next turn: another scope may be about to end what its own tasks wait for.
                self.rested = True
                return
            waits = others
        self.rested = False
        self.plan = waits
        if waits:
            self.end_round()
            if waits is others:
                self.plan = {}  # whoever could send it is to be asked again
            return
        # All that is left waits for tasks of other scopes, which go on reading.
        for task, waiting in stranded:
            self.ended.setdefault(task, {})
            let_go(waiting)

    def plan_stands(self) -> bool:
        """Whether the plan is as good as new: who was ended lately has finished, and nobody else had any event since.

        Then nobody needs to be asked again, which for each of very many types would take very long.
        """
        if (
            self.plan
            and all(map(is_done, self.lately))
            and all(read[2].idle for reads in self.plan.values() for read in reads)
        ):
            self.lately.clear()
            return True
        self.plan = {}
        return False

    def end_round(self) -> None:
        """End the planned waits for the event type that comes first, or with very many types for a share of them."""
        name = described(self.members.name)
        ending = list(islice(self.plan, max(1, len(self.plan) // _ROUNDS)))
        # Before they are ended: what a thread sends from here on would wait for readers that are gone (guarantee 6.2).
        if not self.members.refuse_threads(ending):
            return
        for channel in ending:
            reads = self.plan.pop(channel)
            for task, waiting in {task: waiting for task, waiting, _ in reads}.items():
                if self.too_many(task, waiting, channel.event_type):
                    task.cancel(
                        f"the scope {name} is ending, and this task waits again and again for events of"
                        f" {name_of_type(channel.event_type)} that nobody is left to send"
                    )
            for _, _, receive in reads:
                receive.end()

    def too_many(self, task: Task[Any], waiting: Task[Any], event_type: type[Any]) -> bool:
        """Count one that ends waits of the task; say whether it comes back all the time.

        One that has waited for something else meanwhile, and reads in the same place again, does so all the time.
        """
        counts = self.ended.setdefault(task, {})
        before = counts.get(id(event_type), (event_type, 0))[1]
        place = (event_type, *place_of(task))
        if waiting is not task:
            place += place_of(waiting)
        self.lately[task] = place
        often = before == _ENDS or self.away.pop(task, None) == place
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
        """Whether anybody is at work who could send what is waited for; `idle.found` then says when to look again.

        Those are the tasks of the scopes on the bus, and, for another bus than the scope's own, also the bodies of
        these. Who ends a scope is at work when its tasks are.
        """
        members = self.members
        active = Activity(through=True)
        families: list[Family] = []
        for channel in reads:
            own = members.is_own(channel)
            for family in [members.family] if own else families_of_all():
                if family not in families and (
                    own or any(scope.is_own(channel) for scope in islice(family, 1))
                ):
                    families.append(family)
        for family in families:
            if family.witness is None or not family.witness.holds(active):
                asked: Iterable[Task[Any]] = (
                    task for scope in family if scope is not members for task in scope.tasks
                )
                bodies = (
                    scope.host
                    for scope in family
                    if family is not members.family and not scope.ending and scope.host is not None
                )
                at_work = any(map(active.found_in, asked)) or any(map(active.found_in, bodies))
                family.witness = active.witness if at_work else None
                if not at_work:
                    continue
            idle.found = active.found
            idle.watch(family.witness)
            idle.others += [
                partial(tell_of, waiting) for each in reads.values() for _, waiting, _ in each
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

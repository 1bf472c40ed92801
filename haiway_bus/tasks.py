"""The tasks that belong to a scope: a group (`group.py`) that also knows when its tasks only wait for events.

A group waits until its tasks are finished, and a reader of events never is. So when the body is over:

1. Its tasks run, until each is finished or idle: waiting for an event that is not there, itself or through what it
   awaits (`activity.py`). One that is known to be at work is enough; what that waits on tells when to look again.
2. All idle: all tasks of the loop are walked once, for children at work in TaskGroups whose body reads.
3. Then the reads of the scope's own bus end, one type of event a round, those of the latest task first (`end_waits`).
   Whatever comes of it is at work, and it begins anew with 1.
4. What is left waits for others: `first()` for an answer, a read of another bus for an event. It is ended when no task
   of that bus is at work any more. At last, who waits for a task of another scope is let go.

The same is done for tasks that are being cancelled and read on their way out, but for waiting in 4 (guarantee 5.5).
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from itertools import chain, islice
from operator import methodcaller
from types import FrameType
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from haiway_bus.activity import Activity, Settling, Witness, place_of
from haiway_bus.asyncio_helpers import let_go
from haiway_bus.bus import Bus, Receive
from haiway_bus.bus._first import asking
from haiway_bus.errors import ContextMissing
from haiway_bus.failures import Failures
from haiway_bus.group import ScopeGroup
from haiway_bus.printable import described, name_of_type

__all__ = ("ScopeTasks",)

Result = TypeVar("Result")

# The waits of a settled scope end one event type at a time. With very many types that would be very many rounds, so
# that a round then takes its share of those that are left: this many rounds, and some more.
_ROUNDS: Final = 64
# A loop around a loop that reads comes back for more each time its wait has ended. So often it may, for each type of
# event: code that reads several times and then goes on is not cut off.
_ENDS: Final = 8
# How many of those that were at work lately are asked first when the one that was known to be is not any more.
_RECENT: Final = 8
is_done: Final[Callable[[Task[Any]], bool]] = methodcaller("done")


class Family(dict["ScopeTasks", None]):
    """The open scopes on one bus, and what was at work of theirs when it was last looked at."""

    witness: Witness | None = None

    def __init__(self) -> None:
        _FAMILIES[id(self)] = self


_FAMILIES: Final[WeakValueDictionary[int, Family]] = WeakValueDictionary()


class Rounds:
    """The rounds in which a scope that ends has ended waits.

    Invariants: `ended` counts them by task and by the id of the type, which it keeps beside: of its own waits, and of
    those of tasks that it waited for. `lately` are the tasks of the last rounds that have yet to wait again; `away` has
    those that then waited for something else than events. Both say where they had read.
    """

    __slots__ = ("away", "ended", "lately")

    def __init__(self) -> None:
        self.ended: dict[Task[Any], dict[int, tuple[type[Any], int]]] = {}
        self.lately: dict[Task[Any], tuple[Any, ...]] = {}
        self.away: dict[Task[Any], tuple[Any, ...]] = {}

    def see_who_is_away(self, active: Activity) -> None:
        """Of the tasks whose waits ended lately, see which came back at once and which wait for something else."""
        found = active.found
        for task in list(self.lately):
            if not active.found_in(task):
                del self.lately[task]
            elif active.found is not None:
                self.away[task] = self.lately.pop(task)
        active.found = found

    def too_many(self, task: Task[Any], waiting: Task[Any], event_type: type[Any]) -> bool:
        """Count one that ends waits of the task; say whether it comes back all the time.

        One that has waited for something else meanwhile, and reads in the same place again, does so all the time.
        """
        counts = self.ended.setdefault(task, {})
        before = counts.get(id(event_type), (event_type, 0))[1]
        place = (event_type, place_of(task), place_of(waiting))
        self.lately[task] = place
        often = before == _ENDS or self.away.pop(task, None) == place
        counts[id(event_type)] = event_type, 0 if often else before + 1
        return often


class ScopeTasks:
    """The tasks of one scope, to be entered and left.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `family` is one for all scopes on a bus. `owns_bus` says whether the bus ends with the scope. `watch` is there from
    when the tasks are cancelled until they have ended.
    """

    __slots__ = (
        "bus",
        "closed",
        "ending",
        "family",
        "group",
        "host",
        "name",
        "owns_bus",
        "recent",
        "rested",
        "rounds",
        "tasks",
        "watch",
        "witness",
    )

    bus: Bus
    family: Family

    def __init__(self, name: str) -> None:
        self.name: str = name
        # Whether the bus ends with the scope.
        self.owns_bus: bool = False
        self.group: ScopeGroup = ScopeGroup()
        self.tasks: OrderedDict[Task[Any], None] = self.group.tasks
        self.watch: Watch | None = None
        self.rounds: Rounds | None = None
        # What was at work when it was last looked at, and the tasks that were before, the latest first.
        self.witness: Witness | None = None
        self.recent: tuple[Task[Any], ...] = ()
        # Whether nobody else on the bus was at work either, at the last look.
        self.rested: bool = False
        # The task whose body it is.
        self.host: Task[Any] | None = None
        self.ending: bool = False
        self.closed: bool = False

    def join(self, bus: Bus, outer: ScopeTasks | None) -> None:
        """Be one of the scopes on the bus, which is its own or that of the one around it."""
        self.bus = bus
        self.owns_bus = outer is None
        self.family = Family() if outer is None else outer.family
        self.family[self] = None

    def part(self) -> None:
        """Be none of the scopes on the bus any more."""
        if hasattr(self, "family"):
            self.family.pop(self, None)

    def enter(self, generator: FrameType | None) -> None:
        self.host = self.group.enter(self.broken_off, generator)

    async def leave(self, failures: Failures) -> None:
        """Wait for the tasks: settled first after a body that went well, cancelled after one that did not.

        It raises nothing: what tasks have raised, and what comes meanwhile, is added to the failures.
        """
        group = self.group
        self.ending = True
        group.begin_leaving(failures)
        if self.tasks and failures.outcome is None and not group.aborted:
            # Cancelled from outside, it raises; when a task fails it returns, and the others are being cancelled.
            await failures.attempt(self.settle(), of_tasks=True)
        if failures.outcome is not None:
            group.abort()
        # From here on nobody of the scope reads: its tasks have ended, or are being cancelled.
        self.refuse_threads(None)
        await group.wait(failures)
        self.closed = True
        self.rounds = self.witness = self.host = None
        self.recent = ()
        if self.watch is not None:
            self.watch.withdraw()
            self.watch = None

    def broken_off(self) -> None:
        """The tasks are about to be cancelled: as the body has failed, or in the moment in which one of them has, long
        before the body may come to its end."""
        self.refuse_threads(None)
        if self.owns_bus:
            self.bus.break_off()
        if self.tasks:
            self.watch = Watch(self)

    def spawn(self, coroutine: Coroutine[Any, Any, Result]) -> Task[Result]:
        """Start a task. Raises ContextMissing when the scope's tasks have ended or are being cancelled."""
        if self.closed or (self.ending and not self.tasks):
            coroutine.close()
            raise ContextMissing(
                f"spawn() came after the tasks of the scope {described(self.name)} had ended:"
                " spawn before the end of its body, or from one of its tasks"
            )
        if self.group.aborted:
            coroutine.close()
            raise ContextMissing(
                f"spawn() came while the tasks of the scope {described(self.name)} were being cancelled:"
                " a task that is cancelled can finish its own work, but start no other"
            )
        return self.group.spawn(coroutine)

    def is_ending(self, task: Task[Any] | None) -> bool:
        """Whether a CancelledError in this task is meant for it: it is being cancelled, or waits of it were ended."""
        return task is not None and (
            task.cancelling() > 0 or (self.rounds is not None and task in self.rounds.ended)
        )

    async def settle(self) -> None:
        """Let the tasks run until none is left, ending their waits whenever all of them are idle."""
        if not self.tasks:
            return
        settling = Settling(loop=asyncio.get_running_loop())
        settling.tasks = self.tasks
        self.group.waited = settling  # which is over also when a task fails
        watch = Watch(self, settling)
        try:
            await settling
        finally:
            watch.withdraw()

    def look(self, patient: bool = True) -> Activity:
        """See what the tasks are doing, and end what they wait for when all of them are idle."""
        active = Activity()
        # One that is known to be busy is enough to know, so that the others are not looked at meanwhile.
        if self.witness is None or not self.witness.holds(active):
            self.witness = None
            # Those first that were at work lately. Then the first first, as others may wait for it.
            for task in chain(self.recent, self.tasks):
                if active.found_in(task):
                    self.found(active)
                    break
            else:
                active.found = None
                if not all(map(is_done, self.tasks)) and not self.bus.inbox.deliver():
                    self.end_waits(active, patient)
        if active.found is not None:
            self.rested = False
            active.watch(self.witness)
            if self.rounds is not None and self.rounds.lately:
                self.rounds.see_who_is_away(active)
        return active

    def found(self, active: Activity) -> None:
        """Remember what was found at work."""
        self.witness = active.witness
        if active.witness is not None:
            task = active.witness.links[0][0] if active.witness.links else active.witness.leaf
            if task in self.tasks and (not self.recent or self.recent[0] is not task):
                recent = (it for it in self.recent if it is not task and not it.done())
                self.recent = (task, *islice(recent, _RECENT - 1))

    async def idle(self) -> None:
        """Return when the tasks of all scopes on the bus are finished or idle, but for the one that asks.

        It ends no wait, unlike `settle`: what is idle then is so until somebody sends.
        """
        witness: Witness | None = None
        while True:
            # As in settle(): while one is known to be busy, the others are not looked at.
            active = Activity()
            if witness is None or not witness.holds(active):
                busy = self.busy(active, 1)
                witness = active.witness if busy else None
                if not busy and not self.bus.inbox.deliver():
                    return
            active.watch(witness)
            await active.changed()

    def busy(self, active: Activity, limit: int | None = None) -> list[Task[Any]]:
        """Tasks of the scopes on the bus that are neither finished nor idle, at most `limit`."""
        asking = asyncio.current_task()
        every = (task for scope in self.family for task in scope.tasks if task is not asking)
        return list(islice(filter(active.found_in, every), limit))

    def end_waits(self, idle: Activity, patient: bool) -> None:
        """End the waits for the event type that the latest of the tasks waits for, unless a child of theirs is at work.

        What such a reader sends when its loop has ended must still find its own readers. They are best spawned
        before it (a subscription has to stand before the events are sent), so the latest goes first, and the
        others when the scope has settled again.
        """
        waits: dict[Any, list[tuple[Task[Any], Task[Any], Receive]]] = {}
        others: dict[Any, list[tuple[Task[Any], Task[Any], Receive]]] = {}
        stranded: list[tuple[Task[Any], Task[Any]]] = []
        for task in reversed(self.tasks):
            for waiting, receive in idle.waits_of(task, self.group):
                if receive is None:
                    stranded.append((task, waiting))
                    continue
                channel = receive.channel
                plain = waiting not in asking and self.is_own(channel)
                (waits if plain or not patient else others).setdefault(channel, []).append(
                    (task, waiting, receive)
                )
        if not waits and others and self.at_work(idle, others):
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
        rounds = self.rounds = self.rounds or Rounds()
        share = max(1, len(waits) // _ROUNDS)
        ending = list(islice(waits, share))
        # Before they are ended: what a thread sends from here on would wait for readers that are gone (guarantee 6.2).
        if not self.refuse_threads(ending):
            return
        for channel in ending:
            event_type = channel.event_type
            for task, waiting in {task: waiting for task, waiting, _ in waits[channel]}.items():
                if rounds.too_many(task, waiting, event_type):
                    task.cancel(
                        f"the scope {described(self.name)} is ending, and this task waits again and again for events of"
                        f" {name_of_type(event_type)} that nobody is left to send"
                    )
            for _, _, receive in waits[channel]:
                receive.end()
        if not waits:
            # All that is left waits for tasks of other scopes, which go on reading.
            for task, waiting in stranded:
                rounds.ended.setdefault(task, {})
                let_go(waiting)

    def refuse_threads(self, channels: Iterable[Any] | None) -> bool:
        """Refuse what other threads send on these channels from now on or, given None, on all (guarantee 6.2).

        False, and nothing is refused, when one has just sent. A bus that is not the scope's own goes on, and so do the
        readers that others have on it.
        """
        if not self.owns_bus:
            return True
        if channels is None:
            return self.bus.refuse_threads(None)
        return self.bus.refuse_threads([one.event_type for one in channels if self.is_own(one)])

    def is_own(self, channel: Any) -> bool:
        """Whether it is one of the scope's own bus."""
        return self.bus.table.get(id(channel.event_type)) is channel

    def at_work(self, idle: Activity, reads: dict[Any, list[Any]]) -> bool:
        """Whether anybody is at work who could send what is waited for; `idle.found` then says when to look again.

        Those are the tasks of the scopes on the bus, and, for another bus than the scope's own, also the bodies of
        these. Who ends a scope is at work when its tasks are.
        """
        active = Activity(through=True)
        families: list[Family] = []
        for channel in reads:
            own = self.is_own(channel)
            for family in [self.family] if own else list(_FAMILIES.values()):
                if family not in families and (
                    own or any(scope.is_own(channel) for scope in islice(family, 1))
                ):
                    families.append(family)
        for family in families:
            if family.witness is None or not family.witness.holds(active):
                asked: Iterable[Task[Any]] = (
                    task for scope in family if scope is not self for task in scope.tasks
                )
                bodies = (
                    scope.host
                    for scope in family
                    if family is not self.family and not scope.ending and scope.host is not None
                )
                at_work = any(map(active.found_in, asked)) or any(map(active.found_in, bodies))
                family.witness = active.witness if at_work else None
                if not at_work:
                    continue
            idle.found = active.found
            idle.watch(family.witness)
            idle.others += [Told(waiting) for each in reads.values() for _, waiting, _ in each]
            return True
        return False


class Told:
    """Adds a callback for when a task has its answer from `first()`, or ends; gives what withdraws it."""

    __slots__ = ("task",)

    def __init__(self, task: Task[Any]) -> None:
        self.task: Task[Any] = task

    def __call__(self, call: Callable[[], object]) -> Callable[[], object]:
        loop = asyncio.get_running_loop()

        def told(_: object = None) -> None:
            loop.call_soon(call)

        def withdraw() -> None:
            if asking.get(self.task) is told:
                asking[self.task] = None
            self.task.remove_done_callback(told)

        if self.task in asking:
            asking[self.task] = told
        self.task.add_done_callback(told)
        return withdraw


class Watch:
    """Looks after the tasks by callbacks, until it is withdrawn or they have settled, which it says to whom waits.

    Without anybody who waits it is for tasks that are being cancelled: the task that leaves the scope waits in its
    group meanwhile. What they read on their way out ends, too.
    """

    __slots__ = ("settling", "tasks", "withdraw")

    def __init__(self, tasks: ScopeTasks, settling: Settling | None = None) -> None:
        self.tasks: ScopeTasks = tasks
        self.settling: Settling | None = settling
        # Not at once: a group has yet to cancel them.
        self.withdraw: Callable[[], object] = asyncio.get_running_loop().call_soon(self.look).cancel

    def look(self, _: object = None) -> None:
        settling = self.settling
        if settling is not None and settling.done():
            return
        try:
            if self.tasks.tasks:
                self.withdraw = self.tasks.look(settling is not None).when_changed(self.look)
            elif settling is not None:
                settling.set_result(None)
        except BaseException as broken:
            if settling is None or settling.done():
                raise
            settling.set_exception(broken)

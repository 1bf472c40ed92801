"""The tasks of a scope, and which other scopes are on its bus: what the end of one has to know of them all."""

from __future__ import annotations

from asyncio import Task
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

from haiway_bus._bus import Bus
from haiway_bus._scope.group import ScopeGroup
from haiway_bus._scope.idle import Activity
from haiway_bus._scope.search import Search

__all__ = ("Family", "Members", "families_of_all", "family_of")


class Family(dict["Members", None]):
    """The open scopes on one bus, and whether anybody is at work there who could answer.

    Those are the tasks of the scopes, the bodies that have not ended, and the children of both. Many scopes may wait
    with their ends for the same answer of the same service: one watch serves them all.

    Invariants: while `waiting` has somebody, what `search` found at work is watched, and they are told when nobody is
    at work any more. `reads` are the channels of other buses on which its tasks waited at the last look.
    """

    def __init__(self, bus: Bus) -> None:
        self.search: Search = Search()
        self.reads: dict[Any, None] = {}
        self.waiting: dict[Callable[[], object], None] = {}
        self.withdraw: Callable[[], object] | None = None
        # The calls of `ctx.on` whose workers run, in their order.
        self.handlings: dict[Any, None] = {}
        # By its seconds, what warns of ends that wait (`waiting.py`).
        self.alarms: dict[float, Any] = {}
        _FAMILIES[id(bus)] = self

    def at_work(self, active: Activity) -> bool:
        """Whether anybody is at work; `active.found` then says what that depends on."""
        if self.search.holds(active) or self.search.one_of(self.everyone(), active):
            return True
        reads = [receive for task in self.everyone() for _, receive in active.waits_of(task)]
        self.reads = {one.channel: None for one in reads if one is not None}
        if not active.child_found():
            return False
        self.search.witness = active.witness
        return True

    def everyone(self) -> Iterator[Task[Any]]:
        """The tasks of the scopes, and those whose bodies these are. Who ends a scope is as idle as its tasks."""
        for scope in list(self):
            yield from scope.tasks
            if scope.host is not None:
                yield scope.host

    def wait(self, call: Callable[[], object], active: Activity) -> Callable[[], object]:
        """Have it called when nobody is at work any more, who is now; returns what withdraws that."""
        self.waiting[call] = None
        if self.withdraw is None:
            self.watch(active)
        return partial(self.leave, call)

    def leave(self, call: Callable[[], object]) -> None:
        self.waiting.pop(call, None)
        if not self.waiting and self.withdraw is not None:
            self.withdraw()
            self.withdraw = None

    def watch(self, active: Activity) -> None:
        active.watch(self.search.witness)
        self.withdraw = active.when_changed(self.look)

    def look(self, _: object = None) -> None:
        self.withdraw = None
        active = Activity(through=True)
        if self.waiting and self.at_work(active):
            self.watch(active)
        else:
            calls, self.waiting = self.waiting, {}
            for call in calls:
                call()


_FAMILIES: Final[WeakValueDictionary[int, Family]] = WeakValueDictionary()


def families_of_all() -> list[Family]:
    """That of each bus which has an open scope."""
    return list(_FAMILIES.values())


def family_of(bus: Bus) -> Family | None:
    """The open scopes on the bus, if there are any."""
    return _FAMILIES.get(id(bus))


class Members:
    """The tasks of one scope, as its end sees them.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `family` is one for all scopes on a bus. `owns_bus` says whether the bus ends with the scope. `host` is the task
    whose body the scope is, `ending` says that the body is over; `since` when the scope began to wait for its tasks
    then, in the time of the loop, and None before and after.
    """

    __slots__ = ("bus", "ending", "family", "group", "host", "name", "owns_bus", "since", "tasks")

    bus: Bus
    family: Family

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.owns_bus: bool = False
        self.group: ScopeGroup = ScopeGroup()
        self.tasks: OrderedDict[Task[Any], None] = self.group.tasks
        self.host: Task[Any] | None = None
        self.ending: bool = False
        self.since: float | None = None

    def join(self, bus: Bus, outer: Members | None) -> None:
        """Be one of the scopes on the bus, which is its own or that of the one around it."""
        self.bus = bus
        self.owns_bus = outer is None
        self.family = Family(bus) if outer is None else outer.family
        self.family[self] = None

    def is_own(self, channel: Any) -> bool:
        """Whether it is one of the scope's own bus."""
        return self.bus.table.get(id(channel.event_type)) is channel

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

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
from haiway_bus._scope.idle import IdleCheck
from haiway_bus._scope.search import WorkSearch

__all__ = ("BusScopes", "TaskOwner", "all_bus_scopes", "bus_scopes_of")


class BusScopes(dict["TaskOwner", None]):
    """The open scopes on one bus, and whether anybody is at work there who could answer.

    Those are the tasks of the scopes, the bodies that have not ended, and the children of both. Many scopes may wait
    with their ends for the same answer of the same service: one watch serves them all.

    Invariants: while `callbacks` has somebody, what `search` found at work is watched, and they are told when nobody is
    at work any more. `reads` are the channels of other buses on which its tasks waited at the last look.
    """

    def __init__(self, bus: Bus) -> None:
        self.search: WorkSearch = WorkSearch()
        self.reads: dict[Any, None] = {}
        self.callbacks: dict[Callable[[], object], None] = {}
        self.unwatch: Callable[[], object] | None = None
        # The calls of `ctx.on` whose workers run, in their order.
        self.handlings: dict[Any, None] = {}
        # By its seconds, what warns of ends that wait (`waiting.py`).
        self.alarms: dict[float, Any] = {}
        _BY_BUS[id(bus)] = self

    def any_at_work(self, check: IdleCheck) -> bool:
        """Whether anybody is at work; `check.blocked_on` then says what that depends on."""
        if self.search.still_at_work(check) or self.search.any_at_work(self.all_tasks(), check):
            return True
        reads = [receive for task in self.all_tasks() for _, receive in check.reads_of(task)]
        self.reads = {one.channel: None for one in reads if one is not None}
        if not check.child_at_work():
            return False
        self.search.chain = check.chain
        return True

    def all_tasks(self) -> Iterator[Task[Any]]:
        """The tasks of the scopes, and those whose bodies these are. Who ends a scope is as idle as its tasks."""
        for scope in list(self):
            yield from scope.tasks
            if scope.host is not None:
                yield scope.host

    def call_when_idle(self, call: Callable[[], object], check: IdleCheck) -> Callable[[], object]:
        """Have it called when nobody is at work any more, who is now; returns what withdraws that."""
        self.callbacks[call] = None
        if self.unwatch is None:
            self.watch(check)
        return partial(self.drop_callback, call)

    def drop_callback(self, call: Callable[[], object]) -> None:
        self.callbacks.pop(call, None)
        if not self.callbacks and self.unwatch is not None:
            self.unwatch()
            self.unwatch = None

    def watch(self, check: IdleCheck) -> None:
        check.watch_chain(self.search.chain)
        self.unwatch = check.call_when_changed(self.recheck)

    def recheck(self, _: object = None) -> None:
        self.unwatch = None
        check = IdleCheck(through_scopes=True)
        if self.callbacks and self.any_at_work(check):
            self.watch(check)
        else:
            calls, self.callbacks = self.callbacks, {}
            for call in calls:
                call()


_BY_BUS: Final[WeakValueDictionary[int, BusScopes]] = WeakValueDictionary()


def all_bus_scopes() -> list[BusScopes]:
    """That of each bus which has an open scope."""
    return list(_BY_BUS.values())


def bus_scopes_of(bus: Bus) -> BusScopes | None:
    """The open scopes on the bus, if there are any."""
    return _BY_BUS.get(id(bus))


class TaskOwner:
    """The tasks of one scope, as its end sees them.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `family` is one for all scopes on a bus. `owns_bus` says whether the bus ends with the scope. `host` is the task
    whose body the scope is, `body_done` says that the body is over; `since` when the scope began to wait for its tasks
    then, in the time of the loop, and None before and after.
    """

    __slots__ = (
        "body_done",
        "bus",
        "family",
        "group",
        "host",
        "name",
        "owns_bus",
        "since",
        "tasks",
    )

    bus: Bus
    family: BusScopes

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.owns_bus: bool = False
        self.group: ScopeGroup = ScopeGroup()
        self.tasks: OrderedDict[Task[Any], None] = self.group.tasks
        self.host: Task[Any] | None = None
        self.body_done: bool = False
        self.since: float | None = None

    def join(self, bus: Bus, outer: TaskOwner | None) -> None:
        """Be one of the scopes on the bus, which is its own or that of the one around it."""
        self.bus = bus
        self.owns_bus = outer is None
        self.family = BusScopes(bus) if outer is None else outer.family
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

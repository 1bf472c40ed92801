"""The open scopes on one bus and their tasks: what the end of a scope has to know of them."""

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
    """The open scopes on one bus, and whether any task is at work there that could send an event.

    Such a task belongs to a scope, runs the body of a scope, or is a child of one of these. The ends of many scopes may
    wait for the same service: one watch serves them all.

    Invariants:
    - `callbacks` are called when no task is at work any more. While there are any, what `search` found at work is
      watched; `unwatch` ends that.
    - `awaited_channels` are those for whose events the tasks waited at the last check, on this bus and on others.
    - `handlings` are the calls of `ctx.on` whose workers run, in their order.
    - `warn_timers` warn of ends that wait, by the seconds after which they warn (`waiting.py`).
    """

    def __init__(self, bus: Bus) -> None:
        self.search: WorkSearch = WorkSearch()
        self.awaited_channels: dict[Any, None] = {}
        self.callbacks: dict[Callable[[], object], None] = {}
        self.unwatch: Callable[[], object] | None = None
        self.handlings: dict[Any, None] = {}
        self.warn_timers: dict[float, Any] = {}
        _BY_BUS[id(bus)] = self

    def any_at_work(self, check: IdleCheck) -> bool:
        """Whether any task is at work. If so, `check.blocked_on` is what it waits on."""
        if self.search.still_at_work(check) or self.search.any_at_work(self.all_tasks(), check):
            return True
        reads = [receive for task in self.all_tasks() for _, receive in check.reads_of(task)]
        self.awaited_channels = {receive.channel: None for receive in reads if receive is not None}
        if not check.child_at_work():
            return False
        self.search.chain = check.chain
        return True

    def all_tasks(self) -> Iterator[Task[Any]]:
        """The tasks of the scopes, and the tasks that run their bodies."""
        for scope in list(self):
            yield from scope.tasks
            if scope.host is not None:
                yield scope.host

    def call_when_idle(self, call: Callable[[], object], check: IdleCheck) -> Callable[[], object]:
        """Call it once, when no task is at work any more; return a function that removes the callback.

        Args:
            call: the callback.
            check: the one in which `any_at_work` was true.
        """
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
    """The open scopes of each bus that has any."""
    return list(_BY_BUS.values())


def bus_scopes_of(bus: Bus) -> BusScopes | None:
    """The open scopes on this bus; None when it has none."""
    return _BY_BUS.get(id(bus))


class TaskOwner:
    """One scope as the owner of tasks.

    Invariants:
    - `tasks` has every task that has not been seen to end, in the order in which they were spawned.
    - `bus_scopes` has all open scopes on the bus, this one included. `owns_bus`: the bus ends with the scope.
    - `host` is the task that runs the body. `body_done`: the body is over.
    - `since` is when the scope began to wait for its tasks at its end, in the loop's time; None before and after.
    """

    __slots__ = (
        "body_done",
        "bus",
        "bus_scopes",
        "group",
        "host",
        "name",
        "owns_bus",
        "since",
        "tasks",
    )

    bus: Bus
    bus_scopes: BusScopes

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.owns_bus: bool = False
        self.group: ScopeGroup = ScopeGroup()
        self.tasks: OrderedDict[Task[Any], None] = self.group.tasks
        self.host: Task[Any] | None = None
        self.body_done: bool = False
        self.since: float | None = None

    def join_bus(self, bus: Bus, outer: TaskOwner | None) -> None:
        """Join the scopes on the bus: a new bus if `outer` is None, else the bus of `outer`, the scope around it."""
        self.bus = bus
        self.owns_bus = outer is None
        self.bus_scopes = BusScopes(bus) if outer is None else outer.bus_scopes
        self.bus_scopes[self] = None

    def is_own(self, channel: Any) -> bool:
        """Whether the channel belongs to the scope's bus."""
        return self.bus.table.get(id(channel.event_type)) is channel

    def refuse_threads(self, channels: Iterable[Any] | None) -> bool:
        """Refuse what other threads send on these channels from now on, or on all if None (guarantee 6.2).

        Returns False, and refuses nothing, when a thread has just sent. A bus that the scope does not own refuses
        nothing: other scopes go on reading there.
        """
        if not self.owns_bus:
            return True
        if channels is None:
            return self.bus.refuse_threads(None)
        return self.bus.refuse_threads(
            [channel.event_type for channel in channels if self.is_own(channel)]
        )

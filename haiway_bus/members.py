"""The tasks of a scope, and which other scopes are on its bus: what the end of one has to know of them all."""

from __future__ import annotations

from asyncio import Task
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakValueDictionary

from haiway_bus.activity import Witness
from haiway_bus.asyncio_helpers import ScopeGroup
from haiway_bus.bus import Bus

__all__ = ("Family", "Members", "families_of_all")


class Family(dict["Members", None]):
    """The open scopes on one bus, and what was at work of theirs when it was last looked at."""

    witness: Witness | None = None

    def __init__(self) -> None:
        _FAMILIES[id(self)] = self


_FAMILIES: Final[WeakValueDictionary[int, Family]] = WeakValueDictionary()


def families_of_all() -> list[Family]:
    """That of each bus which has an open scope."""
    return list(_FAMILIES.values())


class Members:
    """The tasks of one scope, as its end sees them.

    Invariants: `tasks` holds, in the order in which they were spawned, every task that has not been seen to end.
    `family` is one for all scopes on a bus. `owns_bus` says whether the bus ends with the scope. `host` is the task
    whose body the scope is, `ending` says that the body is over; `since` when the scope
    began to wait for its tasks then, in the time of the loop, and None before and after.
    """

    __slots__ = ("bus", "ending", "family", "group", "host", "name", "owns_bus", "since", "tasks")

    bus: Bus
    family: Family

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.owns_bus: bool = False
        self.group: ScopeGroup = ScopeGroup()
        # Ordered, as a plain dict is walked from its first entry on, those included that were taken out.
        self.tasks: OrderedDict[Task[Any], None] = OrderedDict()
        self.host: Task[Any] | None = None
        self.ending: bool = False
        self.since: float | None = None

    def join(self, bus: Bus, outer: Members | None) -> None:
        """Be one of the scopes on the bus, which is its own or that of the one around it."""
        self.bus = bus
        self.owns_bus = outer is None
        self.family = Family() if outer is None else outer.family
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

"""The bus without its hot path: statistics, flush, drops and its end, once for both backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn, TypeVar
from weakref import WeakSet

from haiway_bus._bus.backend import BusCore, SubscriptionCore, current, publish
from haiway_bus._bus.drops import Dropped, Losses, tell_rest
from haiway_bus._bus.flush import flush
from haiway_bus._bus.reads import no_copy
from haiway_bus._bus.refusals import TURN, apart_from, check_timeout, check_type, no_scope
from haiway_bus._bus.stats import EventStats, Observer, look, subscriptions_of
from haiway_bus._bus.subscription import Subscription
from haiway_bus._bus.watch import open_buses
from haiway_bus._common.by_type import ByType
from haiway_bus._common.printable import described

__all__ = ("Bus", "subscribe")

Event = TypeVar("Event")


@publish
class Bus(BusCore):
    """The bus of a root or isolated scope. It belongs to the loop and the thread in which it was made."""

    __slots__ = (
        "forgotten",
        "instead",
        "kept",
        "losses",
        "lost",
        "observer",
        "open_buses",
        "parted",
    )

    ended: bool
    stirred: list[Callable[[], object]] | None
    strict: bool
    subscription_class: type[SubscriptionCore]

    def __init__(self, name: str, turn: float = TURN) -> None:
        super().__init__(name, turn)
        # `subscribe` makes instances of it. It comes from here, as a second import of the package has another one.
        self.subscription_class = Subscription
        # The drop callback, called in the loop.
        self.observer: Callable[[Dropped], None] | None = None
        # Reports of drops that are due, by the id of the type.
        self.losses: dict[int, Losses] = {}
        # The callback for a type that has lost its last subscription: (event_type, stats).
        self.forgotten: Callable[[type[Any], EventStats], None] | None = None
        # The bus to use instead, for code whose context still has this one after its end (guarantee 5.14).
        self.instead: Bus | None = None
        # (type, number) of unread events in subscriptions that closed after the scope was cancelled. None before that.
        self.parted: list[tuple[type[Any], int]] | None = None
        # Why it ended before its scope, and the table that it had then.
        self.lost: str = ""
        self.kept: dict[int, Any] = {}
        # The open buses of the loop: they end when the loop is closed, or the process is forked.
        self.open_buses: WeakSet[Any] = open_buses(self.loop).buses
        self.open_buses.add(self)

    def refuse_threads(self, event_types: Iterable[type[Any]] | None) -> bool:
        """Refuse events of these types that other threads send from now on; None stands for all types (guarantee 6.2).

        Called at a scope's end, before its readers are ended: what has come is delivered first. False, and nothing is
        refused, when a thread has just sent, so that those readers have work to do.
        """
        self.strict = True
        if event_types is None:
            self.inbox.deliver(close=True)
            return True
        return self.inbox.refuse(event_types)

    async def flush(
        self,
        event_type: type[Any],
        timeout: float | None = None,
        without: Iterable[Subscription[Any]] = (),
    ) -> None:
        """Wait until every subscription of the type is done with all events sent before (guarantee 4.4)."""
        self.check("flush()")
        check_type("flush()", event_type)
        check_timeout("flush()", timeout)
        apart = apart_from(event_type, without, self, Subscription)
        self.inbox.deliver()
        channel = self.table.get(id(event_type))
        if channel is not None:
            await flush(channel, timeout, apart)

    def when_stirred(self, call: Callable[[], object]) -> Callable[[], object]:
        """Have the loop call a function after it has resumed reads again. Returns a function that withdraws this."""
        if self.stirred is None:
            self.stirred = []
        self.stirred.append(call)

        def withdraw() -> None:
            if self.stirred is not None and call in self.stirred:
                self.stirred.remove(call)

        return withdraw

    def events(self, observer: Observer | None = None) -> ByType[EventStats]:
        """The statistics of each type, for this observer (guarantee 8.3)."""
        return ByType(
            [(channel.event_type, look(channel, observer)) for channel in list(self.table.values())]
        )

    def unread(self) -> list[tuple[type[Any], int]]:
        """The number of waiting events of each type, in subscriptions that no task reads."""
        if not self.table:
            return []
        put_off = {
            id(one.subscription)
            for one in (*self.ready, *(self.batch or ()))
            if one is not None and one.yielded
        }
        waiting = [
            (
                channel.event_type,
                sum(
                    one._pending
                    for one in subscriptions_of(channel)
                    if one._head is None and id(one) not in put_off
                ),
            )
            for channel in list(self.table.values())
        ]
        return [(event_type, number) for event_type, number in waiting if number]

    def break_off(self) -> None:
        """The scope cancels its tasks: from now on, count the unread events of subscriptions that close."""
        if self.parted is None:
            self.parted = []

    def close(self) -> None:
        """End the bus. Waiting reads end, and `send` and `subscribe` raise (guarantee 5.6)."""
        self.refuse_threads(None)
        self.open_buses.discard(self)
        self.ended = True
        self.parted = None
        channels = list(self.clear().values())
        for channel in channels:
            channel.ended = True
            if channel.parked and not self.loop.is_closed():
                channel.wake_all()
            for subscription in subscriptions_of(channel):
                if subscription._work is not None:
                    subscription._work.end()
        # Last, so that an observer that raises leaves nothing half ended.
        if channels or self.losses:
            tell_rest(self, channels)

    def abandon(self, reason: str) -> None:
        """End the bus where it stands, as its loop is closed or this process was forked. No reader is woken.

        What it holds is kept where `send` does not find it: to free a parked read would end its task, here.
        """
        self.lost = reason
        self.ended = self.strict = True
        self.retire()
        self.observer = self.forgotten = None
        self.inbox.abandon()
        self.kept = self.clear()
        for channel in self.kept.values():
            channel.ended = True

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def __repr__(self) -> str:
        state = "ended" if self.ended else f"types={len(self.table)}"
        return f"<Bus {described(self.name)} {state}>"


def subscribe(
    event_type: type[Event],
    /,
    *,
    limit: int | None = None,
    overflow: Literal["drop_oldest", "drop_newest", "raise"] | None = None,
    name: str | None = None,
) -> Subscription[Event]:
    """Subscribe to the events of exactly this type on the bus of the current scope.

    The subscription exists when the call returns: it receives every event that is sent afterwards.

    Args:
        event_type: The class of the events. Subclasses do not count.
        limit: The maximal number of waiting events. By default there is no limit.
        overflow: What happens to an event that comes at the limit. "drop_oldest", the default, drops the oldest waiting
            event. "drop_newest" drops the new event. "raise" drops the new event too, and the reader gets
            SubscriptionOverflow in place of the events that were dropped; it can read on after that.
        name: The name of the subscription in logs and errors. By default, it has none, or in asyncio's debug mode the
            file and line of this call.

    Returns:
        The subscription.

    Raises:
        ContextMissing: There is no current scope, or it has ended.
        TypeError: `event_type` cannot be the class of an event, or `limit` or `name` has the wrong type.
        ValueError: The limit is below 1, the overflow is unknown, or the name is empty.
        RuntimeError: The caller runs in another loop or thread than the scope.
    """
    bus = current.get()
    if bus is None:
        raise no_scope("subscribe()")
    subscription: Subscription[Event] = bus.subscribe(event_type, limit, overflow, name)
    return subscription

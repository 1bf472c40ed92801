"""For the tests of services that use the bus: what was sent, and when nothing is in flight any more.

The pytest plugin gives these as fixtures; they work without it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from haiway_bus._bus import Subscription
from haiway_bus._bus.refusals import check_timeout
from haiway_bus._scope.context import current
from haiway_bus._values.by_type import ByType
from haiway_bus._values.printable import described, name_of_type, written
from haiway_bus.ctx import ctx

__all__ = ("EventRecorder", "record_events", "settle")

Event = TypeVar("Event")


async def settle(timeout: float | None = 5.0) -> None:
    """Return when nothing is in flight on the bus of the current scope.

    Everything that was sent before has been handled then, what its handlers sent included; their tasks wait for the
    next event. A task that sleeps or waits for something else than events is waited for.

    Raises TimeoutError after `timeout` seconds, which names the tasks that are still at work; ContextMissing
    outside a scope (contract 5.2), RuntimeError in another loop or thread than the scope's (contract 6.1).
    """
    check_timeout("settle()", timeout)
    scope = current("settle()").scope
    try:
        async with asyncio.timeout(timeout):
            await scope.settled()
    except TimeoutError:
        busy = scope.tasks.tasks_at_work()
        names = ", ".join(f"{task.get_name()} ({_where(task)})" for task in busy[:5])
        more = f" and {len(busy) - 5} more" if len(busy) > 5 else ""
        raise TimeoutError(
            f"the scope {described(scope.name)} did not settle within {timeout} s. Still at work:"
            f" {names or 'readers that no scope spawned'}{more}. End what repeats itself, or give settle() more time"
        ) from None


def record_events(*event_types: type[Any]) -> EventRecorder:
    """Record every event of exactly these types that is sent on the bus of the current scope from now on.

    Raises TypeError without a type or for what is no class of events (contract 1.4), ContextMissing outside a
    scope (contract 5.2).
    """
    if not event_types:
        raise TypeError(
            "record_events() takes the types of the events to record: name at least one"
        )
    return EventRecorder(event_types)


class EventRecorder:
    """What `record_events(...)` returns: the events of these types, as far as the bus has delivered them.

        recorder = record_events(OrderCreated, Paid)
        ...
        await settle()
        assert recorder.of(Paid) == [Paid(order_id="A1")]
        assert recorder == [OrderCreated(order_id="A1"), Paid(order_id="A1")]

    A bus keeps order within a type and promises none between types (contract 2.1); so does `==`: a recorder equals
    a list when for each type both have the same events in the same order.

    Raises RuntimeError when it is asked while events wait that were sent but not delivered yet: an assertion that
    came too early would otherwise pass or fail by chance.
    """

    __slots__ = ("_events", "_subscriptions")

    def __init__(self, event_types: Sequence[type[Any]]) -> None:
        self._events: list[Any] = []
        self._subscriptions: ByType[Subscription[Any]] = ByType(
            (event_type, ctx.on(event_type, self._events.append, errors="raise"))
            for event_type in _each_once(event_types)
        )

    @property
    def all(self) -> list[Any]:
        """All of them, in the order of their delivery: an event stands after the one whose handling sent it."""
        self._check()
        return list(self._events)

    def of(self, event_type: type[Event]) -> list[Event]:
        """Those of one type, in the order sent. Raises LookupError for a type that it does not record."""
        if event_type not in self._subscriptions:
            raise LookupError(
                f"events of {described(event_type)} are not recorded: give record_events() the type, beside"
                f" {self._names()}"
            )
        return [event for event in self.all if type(event) is event_type]

    def clear(self) -> None:
        """Forget what was recorded until now, and go on."""
        self._check()
        self._events.clear()

    def explain(self, expected: Sequence[Any]) -> list[str]:
        """By type, where it differs from a list: what pytest shows when `assert recorder == [...]` fails."""
        lines = ["recorder == expected, compared by type"]
        for event_type in _each_once((*self._subscriptions, *map(type, expected))):
            name = name_of_type(event_type)
            wanted = [event for event in expected if type(event) is event_type]
            if event_type not in self._subscriptions:
                lines.append(f"{name}: expected [{_listed(wanted)}], but not recorded")
                continue
            found = self.of(event_type)
            if found == wanted:
                lines.append(f"{name}: {len(found)} as expected")
                continue
            at = next(
                (at for at, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other),
                min(len(found), len(wanted)),
            )  # fmt: skip
            lines += [
                f"{name}: {len(found)} recorded, {len(wanted)} expected, different from [{at}] on",
                f"  recorded: {_listed(found[at:])}",
                f"  expected: {_listed(wanted[at:])}",
            ]
        return lines

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EventRecorder):
            other = other.all
        if not isinstance(other, list | tuple):
            return NotImplemented
        return _by_type(self.all) == _by_type(other)

    def __len__(self) -> int:
        self._check()
        return len(self._events)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all)

    def __repr__(self) -> str:
        return f"<EventRecorder of {self._names()}: {_listed(self._events)}>"

    def _names(self) -> str:
        return ", ".join(map(name_of_type, self._subscriptions))

    def _check(self) -> None:
        for event_type, subscription in self._subscriptions.items():
            if subscription.pending and not subscription.closed:
                raise RuntimeError(
                    f"{subscription.pending} events of {name_of_type(event_type)} were sent and not delivered yet:"
                    " `await settle()` before asking what was recorded"
                )


def _by_type(events: Sequence[Any]) -> dict[int, list[Any]]:
    # By the id of the type: the events keep it alive.
    found: dict[int, list[Any]] = {}
    for event in events:
        found.setdefault(id(type(event)), []).append(event)
    return found


def _each_once(event_types: Iterable[type[Any]]) -> list[type[Any]]:
    return list({id(event_type): event_type for event_type in event_types}.values())


def _listed(events: Sequence[Any]) -> str:
    shown = ", ".join(map(written, events[:10])) or "none"
    return f"{shown}, and {len(events) - 10} more" if len(events) > 10 else shown


def _where(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    return str(getattr(coroutine, "__qualname__", coroutine))

"""Helpers for tests of code that uses the bus: record what was sent, and wait until everything has been handled.

The pytest plugin has them as fixtures. They work without it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from haiway_bus._bus import Subscription
from haiway_bus._bus.refusals import check_timeout
from haiway_bus._common.by_type import ByType
from haiway_bus._common.printable import described, name_of_type, written
from haiway_bus._scope.context import current
from haiway_bus.ctx import ctx

__all__ = ("EventRecorder", "record_events", "settle")

Event = TypeVar("Event")


async def settle(timeout: float | None = 5.0) -> None:
    """Wait until nothing is in flight on the bus of the current scope.

    Then every event that was sent has been handled, also the events that its handlers sent, and the handlers' tasks
    wait for the next event. A task that sleeps, or waits for anything but events, counts as at work.

    Args:
        timeout: How many seconds to wait; None for no limit.

    Raises:
        TimeoutError: Tasks are still at work after `timeout` seconds. The error names them.
        ContextMissing: No scope is current.
        RuntimeError: This is not the loop or the thread of the scope.
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
            f" {names or 'readers that no scope spawned'}{more}. End what goes on for ever, or give settle() more time"
        ) from None


def record_events(*event_types: type[Any]) -> EventRecorder:
    """Record every event of these types that is sent on the bus of the current scope from now on.

    Events of subclasses are not recorded, as with `ctx.subscribe`.

    Args:
        event_types: The types, at least one.

    Raises:
        TypeError: There is no type, or a type cannot be subscribed to.
        ContextMissing: No scope is current.
    """
    if not event_types:
        raise TypeError(
            "record_events() takes the types of the events to record: name at least one"
        )
    return EventRecorder(event_types)


class EventRecorder:
    """The events that were recorded, as far as the bus has delivered them. `record_events(...)` returns it.

        recorder = record_events(OrderCreated, Paid)
        ...
        await settle()
        assert recorder.of(Paid) == [Paid(order_id="A1")]
        assert recorder == [OrderCreated(order_id="A1"), Paid(order_id="A1")]

    A bus keeps the order of events of the same type and promises no order between types. So does `==`: a recorder
    equals a list if for each type both have the same events in the same order.

    Raises:
        RuntimeError: You ask while events wait that were sent and not delivered yet. Without this error an assertion
            that comes too early would pass or fail by chance.
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
        """All events in the order of their delivery: an event comes after the event whose handler sent it."""
        self._check()
        return list(self._events)

    def of(self, event_type: type[Event]) -> list[Event]:
        """Return the events of a type in the order sent.

        Args:
            event_type: The type.

        Raises:
            LookupError: The type is not recorded.
        """
        if event_type not in self._subscriptions:
            raise LookupError(
                f"events of {described(event_type)} are not recorded: give record_events() the type, beside"
                f" {self._names()}"
            )
        return [event for event in self.all if type(event) is event_type]

    def clear(self) -> None:
        """Forget what was recorded until now, and go on recording."""
        self._check()
        self._events.clear()

    def explain(self, expected: Sequence[Any]) -> list[str]:
        """Return lines that say where the recorder differs from a list, by type.

        pytest shows them when `assert recorder == [...]` fails.

        Args:
            expected: The events that were expected.
        """
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

"""What a scope tells of events that nobody got: those that a limit cost, and those that were left at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from haiway_bus._bus.drops import Dropped
from haiway_bus._bus.stats import EventStats
from haiway_bus._values.printable import described, name_of_type
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("tell_unread", "teller_of_dropped", "teller_of_forgotten")


def tell_unread(
    recorder: Observability, scope: ScopeIdentity, unread: Iterable[tuple[type[Any], int]]
) -> None:
    """Tell once a type how many events were left in subscriptions (guarantee 5.5)."""
    numbers: dict[int, tuple[type[Any], int]] = {}
    for event_type, number in unread:
        before = numbers.get(id(event_type), (event_type, 0))[1]
        numbers[id(event_type)] = event_type, before + number
    for event_type, number in numbers.values():
        recorder.log(
            scope,
            logging.WARNING,
            "events of %s left unread at the end of the scope: %s",
            (name_of_type(event_type), number),
            None,
        )


def teller_of_dropped(recorder: Observability, scope: ScopeIdentity) -> Callable[[Dropped], None]:
    """What a bus calls when subscriptions with a limit have lost events (guarantee 4.2)."""
    return partial(_tell_dropped, recorder, scope)


def _tell_dropped(recorder: Observability, scope: ScopeIdentity, dropped: Dropped) -> None:
    event_type, *numbers, name, limit, overflow = dropped
    which = "one" if name is None else described(name)
    recorder.log(
        scope,
        logging.WARNING,
        "events of %s dropped: %s, in %s of %s subscriptions; the most, %s, in %s with limit=%s, overflow=%r",
        (name_of_type(event_type), *numbers, which, limit, overflow),
        None,
    )


def teller_of_forgotten(
    recorder: Observability, scope: ScopeIdentity
) -> Callable[[type[Any], EventStats], None] | None:
    """What tells a recorder that wants to know it of the types that the scope's bus forgets."""
    told = getattr(type(recorder), "type_forgotten", None)
    return None if told is None else partial(told, recorder, scope)

"""What a scope reports of events that nobody got: those that a limit dropped, and those left unread at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from haiway_bus._bus.drops import Dropped
from haiway_bus._bus.stats import EventStats
from haiway_bus._common.printable import described, name_of_type
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("drop_callback", "forgotten_callback", "log_unread")


def log_unread(
    recorder: Observability, scope: ScopeIdentity, unread: Iterable[tuple[type[Any], int]]
) -> None:
    """Log once for each event type how many events were left in subscriptions (guarantee 5.5)."""
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


def drop_callback(recorder: Observability, scope: ScopeIdentity) -> Callable[[Dropped], None]:
    """What a bus is to call when subscriptions with a limit have dropped events (guarantee 4.2)."""
    return partial(_log_dropped, recorder, scope)


def _log_dropped(recorder: Observability, scope: ScopeIdentity, dropped: Dropped) -> None:
    event_type, *numbers, name, limit, overflow = dropped
    which = "one" if name is None else described(name)
    recorder.log(
        scope,
        logging.WARNING,
        "events of %s dropped: %s, in %s of %s subscriptions; the most, %s, in %s with limit=%s, overflow=%r",
        (name_of_type(event_type), *numbers, which, limit, overflow),
        None,
    )


def forgotten_callback(
    recorder: Observability, scope: ScopeIdentity
) -> Callable[[type[Any], EventStats], None] | None:
    """What the scope's bus is to call for each event type that it forgets; None if the recorder has no use for it."""
    method = getattr(type(recorder), "type_forgotten", None)
    return None if method is None else partial(method, recorder, scope)

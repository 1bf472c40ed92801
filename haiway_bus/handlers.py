"""Handlers: a function for each event, in tasks of a scope (contract 2.11)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, Literal, TypeAlias, TypeVar

from haiway_bus.bus import Subscription
from haiway_bus.errors import SubscriptionOverflow
from haiway_bus.scope import Scope

__all__ = ("ErrorPolicy", "Handler", "handle")

Event = TypeVar("Event")
Handler: TypeAlias = Callable[[Event], Awaitable[object] | object]
ErrorPolicy: TypeAlias = Literal["log", "raise"]
ERROR_POLICIES: Final = ("log", "raise")


def handle(
    scope: Scope,
    subscription: Subscription[Event],
    handler: Handler[Event],
    workers: int,
    errors: ErrorPolicy,
) -> None:
    """Spawn the workers that run the handler for each event of the subscription."""
    if workers > 1:
        # So that flush() waits for each of them, also when they were never in line together.
        subscription.share_work()
    for _ in range(workers):
        task = scope.spawn(work, (scope, subscription, handler, errors), {})
        # What asyncio's debug mode says of a handler that blocks the loop.
        task.set_name(f"{name_of(handler)} of {subscription.event_type.__qualname__}")


def check(handler: object, workers: object, errors: object) -> None:
    """Raise TypeError or ValueError for what `ctx.on` cannot work with."""
    if not callable(handler):
        raise TypeError(f"on() takes a function of one event, plain or async, not {handler!r}")
    if not isinstance(workers, int) or isinstance(workers, bool):
        raise TypeError(f"on() takes a number of workers, not {workers!r}")
    if workers < 1:
        raise ValueError(f"on() takes at least one worker, not {workers}")
    if errors not in ERROR_POLICIES:
        raise ValueError(f"on() knows the error policies 'log' and 'raise', not {errors!r}")


async def work(
    scope: Scope, subscription: Subscription[Any], handler: Handler[Any], errors: ErrorPolicy
) -> None:
    """Handle events until the subscription ends. Losses of a full subscription are told like a handler's errors."""
    while True:
        try:
            async for event in subscription:
                try:
                    result = handler(event)
                    if isawaitable(result):
                        await result
                except Exception as error:
                    if errors == "raise":
                        raise
                    tell(scope, "%s failed to handle an event of %s", handler, subscription, error)
                # A worker that waits for the next event holds nothing of this one (contract 3.2).
                event = result = None
        except SubscriptionOverflow as overflow:
            if errors == "raise":
                raise
            tell(scope, "%s was too slow for the events of %s", handler, subscription, overflow)
        else:
            return


def tell(
    scope: Scope,
    message: str,
    handler: Handler[Any],
    subscription: Subscription[Any],
    error: Exception,
) -> None:
    names = (name_of(handler), subscription.event_type.__qualname__)
    scope.observability.log(scope.identity, logging.ERROR, message, names, error)


def name_of(handler: Handler[Any]) -> str:
    return str(getattr(handler, "__qualname__", None) or repr(handler))

"""Handlers: `ctx.on` calls a function for each event, in tasks of a scope (guarantee 2.11)."""

from __future__ import annotations

import asyncio
import logging
from asyncio import CancelledError, Task
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from operator import index
from time import perf_counter
from types import CoroutineType, coroutine
from typing import Any, Final, Literal, TypeAlias, TypeVar

from haiway_bus._bus import Subscription
from haiway_bus._bus.flush import share_work
from haiway_bus._bus.refusals import check_type
from haiway_bus._common.arguments import can_be_awaited, is_class, offered_by
from haiway_bus._common.printable import described, name_of_function, name_of_type
from haiway_bus._common.signatures import called, check_takes_event, is_plain
from haiway_bus._scope.context import OpenScope
from haiway_bus._scope.vitals import Handling, handler_callback
from haiway_bus._scope.within import DONE, Within
from haiway_bus.errors import SubscriptionOverflow

__all__ = ("ErrorPolicy", "Handler", "handle")

Event = TypeVar("Event")
Handler: TypeAlias = Callable[[Event], Awaitable[object] | object]
ErrorPolicy: TypeAlias = Literal["log", "raise"]
ERROR_POLICIES: Final = ("log", "raise")
HANDLER: Final = "a function of one event, plain or async"
# Each worker is a task. A larger number is a mistake, which would show only when the memory is used up.
MOST_WORKERS: Final = 100_000


def handle(
    scope: OpenScope,
    subscription: Subscription[Event],
    handler: Handler[Event],
    workers: int,
    errors: ErrorPolicy,
) -> None:
    """Spawn the workers that run the handler for each event of the subscription."""
    if workers > 1:
        # flush() then waits for each worker, even if they never waited together.
        share_work(subscription)
    name = name_of_function(handler)
    told = handler_callback(scope.observability, scope.identity, name, subscription.event_type)
    handling = Handling(name, subscription, told)
    handlings, working = scope.tasks.bus_scopes.handlings, handling.working
    # Kept until the last worker has ended, so that the events left then can be counted.
    kept = [subscription]

    def ended(task: Task[None]) -> None:
        working.discard(task)
        if working:
            return
        handlings.pop(handling, None)
        left = kept.pop()
        # The bus goes on, and would keep each further event for a subscription that nobody reads.
        if not scope.owns_bus:
            if scope.tasks.group.aborted and scope.bus.parted is None and left.pending:
                scope.unread.append((left.event_type, left.pending))
            left.close()

    for _ in range(workers):
        task = scope.spawn(work, scope, subscription, handler, errors, handling)
        # asyncio's debug mode names the task when a handler blocks the loop.
        task.set_name(f"{name} of {name_of_type(subscription.event_type)}")
        working.add(task)
        handlings[handling] = None
        task.add_done_callback(ended)


def check(event_type: Any, handler: Any, workers: Any, errors: Any) -> None:
    """Raise TypeError or ValueError for arguments that `ctx.on` cannot use."""
    if is_class(handler) and callable(event_type) and not is_class(event_type):
        name = name_of_function(event_type)
        raise TypeError(
            "on() takes the class of the events first, and then the function:"
            f" write on({name_of_type(handler)}, {name})"
        )
    check_type("on()", event_type)
    if not is_plain(handler, or_async=True):
        check_handler(handler)
    if not issubclass(type(workers), int) or type(workers) is bool:
        raise TypeError(f"on() takes a number of workers, not {described(workers)}")
    if not 1 <= index(workers) <= MOST_WORKERS:
        few = "at least one worker" if index(workers) < 1 else f"at most {MOST_WORKERS:,} workers"
        raise ValueError(f"on() takes {few}, not {described(workers)}")
    if not issubclass(type(errors), str) or str.__str__(errors) not in ERROR_POLICIES:
        raise ValueError(
            f"on() knows the error policies 'log' and 'raise', not {described(errors)}"
        )


def check_handler(handler: Any) -> None:
    """Raise TypeError for a handler that can do nothing with an event."""
    made = called(handler).function
    if is_class(made) and not offered_by(made, "__await__"):
        name = name_of_type(made)
        raise TypeError(
            f"on() takes {HANDLER}, not the class {name}: a call of it makes an instance, which nobody gets; give a"
            f" method of one, or a function that does something with it, lambda event: ...({name}(event))"
        )
    check_takes_event("on()", HANDLER, handler)


async def work(
    scope: OpenScope,
    subscription: Subscription[Any],
    handler: Handler[Any],
    errors: ErrorPolicy,
    handling: Handling | None = None,
) -> None:
    """Handle events until the subscription ends. The error policy applies to lost events, too."""
    if handling is None:
        handling = Handling(name_of_function(handler), subscription, None)
    steps = handle_each(scope, subscription, handler, errors, handling)
    step, within = steps.send, Within(steps)
    step(None)
    while True:
        try:
            async for event in subscription:
                # Context variables that the handler sets for this event are not seen by the next.
                context = copy_context()
                waited = context.run(step, event)
                if waited is not DONE:
                    await within.until_done(context, waited)
                # A worker that waits for the next event does not keep this one alive (guarantee 3.2).
                del event, context, waited
        except SubscriptionOverflow as overflow:
            if errors == "raise":
                raise
            tell(scope, "%s was too slow for the events of %s", handler, subscription, overflow)
        else:
            return


@coroutine
def handle_each(
    scope: OpenScope,
    subscription: Subscription[Any],
    handler: Handler[Any],
    errors: ErrorPolicy,
    handling: Handling,
) -> Generator[Any, Any, None]:
    """A generator that is sent the events. For each it yields what the handler waits on, and then DONE."""
    told = handling.told
    event = yield DONE
    while True:
        began = 0.0 if told is None else perf_counter()
        try:
            result: Any = handler(event)
            kind: Any = type(result)
            if kind is CoroutineType:
                yield from result
            elif result is not None and can_be_awaited(result):
                yield from awaited(result)
        except Exception as error:
            handling.fail(began, error)
            if errors == "raise":
                raise
            tell(scope, "%s failed to handle an event of %s", handler, subscription, error)
        except CancelledError as error:
            if scope.tasks.is_ending(asyncio.current_task()):
                raise
            # What the handler awaited was cancelled, and not this task: an error of the handler.
            handling.fail(began, error)
            if errors == "raise":
                raise cancelled(handler, subscription) from error
            tell(scope, "%s failed to handle an event of %s", handler, subscription, error)
        else:
            if told is not None:
                told(perf_counter() - began, None)
        event = result = None
        event = yield DONE


async def awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def cancelled(handler: Handler[Any], subscription: Subscription[Any]) -> RuntimeError:
    # A task that raises CancelledError counts as cancelled and would not fail the scope.
    return RuntimeError(
        f"{name_of_function(handler)} failed to handle an event of {name_of_type(subscription.event_type)}: what it"
        " awaited was cancelled, and it was not; catch CancelledError around that `await` if this may happen"
    )


def tell(
    scope: OpenScope,
    message: str,
    handler: Handler[Any],
    subscription: Subscription[Any],
    error: BaseException,
) -> None:
    names = (name_of_function(handler), name_of_type(subscription.event_type))
    scope.observability.log(scope.identity, logging.ERROR, message, names, error)

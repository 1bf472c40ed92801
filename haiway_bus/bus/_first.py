"""Waiting for one event of a subscription (contract 2.12). A cold path: both twins use this one."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, iscoroutine
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from haiway_bus.bus._rules import check_timeout, first_timed_out, subscription_closed

__all__ = ("asking", "first_of")

# The tasks that wait in `first_of`, and who is to be told when they no longer do: a scope that waits with its end for
# the answer, or nobody.
asking: WeakKeyDictionary[Any, Callable[[], object] | None] = WeakKeyDictionary()


async def first_of(
    subscription: Any, where: Callable[[Any], object] | None, timeout: float | None
) -> Any:
    """The next event of the subscription for which `where` holds; closes the subscription in any case."""
    check_timeout("first()", timeout)
    task = asyncio.current_task()
    async with subscription:
        try:
            async with asyncio.timeout(timeout) as limit:
                asking[task] = None
                async for event in subscription:
                    if where is None or holds(where(event)):
                        return event
        except TimeoutError:
            if limit.expired():
                raise first_timed_out(subscription, timeout) from None
            raise
        finally:
            if task is not None and (told := asking.pop(task, None)) is not None:
                told()
        if subscription.closed:
            raise subscription_closed(subscription)
        # The scope of this task is ending and nobody is left who could send it: what ends is the wait, and with
        # it the task, as any task that is no longer needed.
        raise CancelledError("the scope ended before the event came")


def holds(found: object) -> bool:
    """What `where` says of an event. Raises TypeError for a coroutine, which would hold for every one."""
    if iscoroutine(found):
        found.close()
        raise TypeError(
            "first() takes a plain function for where, not an async one: it answers at once"
        )
    return bool(found)

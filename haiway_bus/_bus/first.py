"""`first`: wait for a single event of a subscription (guarantee 2.12). A cold path: both twins use it."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, Final
from weakref import WeakKeyDictionary

from haiway_bus._bus.refusals import check_timeout, first_timed_out, subscription_closed
from haiway_bus._common.arguments import can_be_awaited, is_class, is_coroutine, is_number
from haiway_bus._common.printable import described
from haiway_bus._common.signatures import check_takes_event, is_async, is_plain

__all__ = ("asking", "first_of")

# The tasks that wait in `first_of`. The value is a callback for the end of the wait, set by a scope whose end waits for
# the reply, or None.
asking: WeakKeyDictionary[Any, Callable[[], object] | None] = WeakKeyDictionary()


_WHERE: Final = "a plain function for where"
_NOT_ASYNC: Final = f"first() takes {_WHERE}, not an async one: it answers at once"


def first_of(
    subscription: Any, where: Callable[[Any], object] | None, timeout: float | None
) -> Coroutine[Any, Any, Any]:
    """Check the arguments at the call, not at the `await`, and return the coroutine that waits."""
    if where is not None and not is_plain(where):
        if is_number(where):
            shown = described(where)
            raise TypeError(
                f"first() takes {_WHERE}, not {shown}: for a time-out write first(timeout={shown})"
            )
        # The arguments of a class are unknown: `where=bool` is allowed.
        if not is_class(where):
            check_takes_event("first()", _WHERE, where)
        if is_async(where):
            raise TypeError(_NOT_ASYNC)
    check_timeout("first()", timeout)
    return waiting_for_first(subscription, where, timeout)


async def waiting_for_first(
    subscription: Any, where: Callable[[Any], object] | None, timeout: float | None
) -> Any:
    """Return the next event for which `where` is true. Close the subscription in any case."""
    subscription._check()  # before `async with`, which closes it
    task = asyncio.current_task()
    async with subscription:
        if task is not None:
            asking[task] = None
        try:
            # asyncio.timeout needs a current task, which tasks of other classes than asyncio's may not be.
            async with nullcontext() if timeout is None else asyncio.timeout(timeout) as limit:
                async for event in subscription:
                    if where is None or holds(where(event)):
                        return event
        except TimeoutError:
            if limit is not None and limit.expired():
                raise first_timed_out(subscription, timeout) from None
            raise
        finally:
            if task is not None and (told := asking.pop(task, None)) is not None:
                told()
        if subscription.closed:
            raise subscription_closed(subscription)
        # The scope is ending, and no task is left that could send the event. So the wait ends, and with it the task.
        raise CancelledError("the scope ended before the event came")


def holds(found: Any) -> bool:
    """The result of `where` as a bool. Raise TypeError for an awaitable, which would be true for every event."""
    if found is not True and found is not False and can_be_awaited(found):
        if is_coroutine(found):
            found.close()
        raise TypeError(_NOT_ASYNC)
    return bool(found)

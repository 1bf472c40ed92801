"""Waiting for one event of a subscription (guarantee 2.12). A cold path: both twins use this one."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, Final
from weakref import WeakKeyDictionary

from haiway_bus._bus.refusals import check_timeout, first_timed_out, subscription_closed
from haiway_bus._values.arguments import can_be_awaited, is_class, is_coroutine, is_number
from haiway_bus._values.printable import described
from haiway_bus._values.signatures import check_takes_event, is_async, is_plain

__all__ = ("asking", "first_of")

# The tasks that wait in `first_of`, and who is to be told when they no longer do: a scope that waits with its end for
# the answer, or nobody.
asking: WeakKeyDictionary[Any, Callable[[], object] | None] = WeakKeyDictionary()


_WHERE: Final = "a plain function for where"
_NOT_ASYNC: Final = f"first() takes {_WHERE}, not an async one: it answers at once"


def first_of(
    subscription: Any, where: Callable[[Any], object] | None, timeout: float | None
) -> Coroutine[Any, Any, Any]:
    """What `first` returns. What is wrong with the arguments is said at the call, and not at the `await`."""
    if where is not None and not is_plain(where):
        if is_number(where):
            shown = described(where)
            raise TypeError(
                f"first() takes {_WHERE}, not {shown}: for a time-out write first(timeout={shown})"
            )
        # Of a class nothing is known: bool may be asked of each event.
        if not is_class(where):
            check_takes_event("first()", _WHERE, where)
        if is_async(where):
            raise TypeError(_NOT_ASYNC)
    check_timeout("first()", timeout)
    return waiting_for_first(subscription, where, timeout)


async def waiting_for_first(
    subscription: Any, where: Callable[[Any], object] | None, timeout: float | None
) -> Any:
    """The next event of the subscription for which `where` holds; closes the subscription in any case."""
    subscription._check()  # before it is entered, as it is closed with that
    task = asyncio.current_task()
    async with subscription:
        if task is not None:
            asking[task] = None
        try:
            # A task of another class than asyncio's own may not be the current one, and could have no time limit.
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
        # The scope of this task is ending and nobody is left who could send it: what ends is the wait, and with
        # it the task, as any task that is no longer needed.
        raise CancelledError("the scope ended before the event came")


def holds(found: Any) -> bool:
    """What `where` says of an event. Raises TypeError for what is to be awaited, which would hold for every one."""
    if found is not True and found is not False and can_be_awaited(found):
        if is_coroutine(found):
            found.close()
        raise TypeError(_NOT_ASYNC)
    return bool(found)

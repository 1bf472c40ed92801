"""What `ctx.subscribe` returns, once for both backends: the public classes over their cores.

The cores have what is on the way of an event, and nothing here is. `dir()` of these classes shows what is documented:
the names in the cores begin with an underscore, but for `receive_nowait`, which is quick and stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from haiway_bus._bus.backend import BatchesCore, SubscriptionCore, publish
from haiway_bus._bus.first import first_of
from haiway_bus._bus.reads import no_copy
from haiway_bus._values.printable import described, name_of_type

__all__ = ("Batches", "Subscription")

Event = TypeVar("Event")


@publish
class Subscription(SubscriptionCore, Generic[Event]):
    """What `ctx.subscribe(T)` returns: the events of exactly the type T sent from then on, once each, in order.

    Iterate it with `async for`, or take one event with `await anext(subscription)`. Several tasks may do so at
    once: each event goes to one of them, and those that wait are served in the order in which they came. It ends with
    `close()`, at the end of an `async with` block over it, when the last reference to it is dropped, and with its
    scope.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __aiter__(self) -> Subscription[Event]: ...

        def __anext__(self) -> Coroutine[Any, Any, Event]: ...

        def receive_nowait(self) -> Event: ...

    @property
    def event_type(self) -> type[Event]:
        """The type whose events it receives."""
        return cast("type[Event]", self._channel.event_type)

    @property
    def name(self) -> str | None:
        """What repr, logs and errors call it: what `name=` gave, or None."""
        return self._name

    @property
    def pending(self) -> int:
        """The number of events that wait to be taken."""
        return self._pending

    @property
    def dropped(self) -> int:
        """The number of events that its limit cost it; none without a limit."""
        return 0 if self._bound is None else self._bound.lost()

    @property
    def limit(self) -> int | None:
        """The most events that wait for it at a time; None without a limit."""
        return None if self._bound is None else self._bound.limit

    @property
    def closed(self) -> bool:
        """Whether no further event will reach it. What waits can still be read after the end of its scope."""
        return self._node is None or self._channel.ended

    def batches(self, limit: int = 1024) -> Batches[Event]:
        """Iterate over lists of the events that wait: at least one event each, and at most `limit`.

        Cheaper for each event than `async for` over the subscription. The two mix: each event goes to one reader.

        Args:
            limit: the most events in a list.

        Raises:
            TypeError: when `limit` is no number.
            ValueError: when `limit` is below one.
        """
        return Batches(self, limit)

    def first(
        self, where: Callable[[Event], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Event]:
        """Wait for the next event for which `where` holds; the subscription is closed afterwards.

        Subscribe before you send the request, or you can miss the answer. At the end of a scope, a task that waits here
        for an event which nobody is left to send is cancelled.

        Args:
            where: a plain function of one event; every event will do, unless given.
            timeout: how many seconds to wait at most; without end, unless given.

        Returns:
            The event.

        Raises:
            TimeoutError: when no such event came in time.
            SubscriptionClosed: when the subscription ended before.
            TypeError: at the call, when `where` is no plain function of one event or `timeout` no number.
            ValueError: at the call, when `timeout` is no number of seconds.
        """
        return first_of(self, where, timeout)

    def close(self) -> None:
        """End the subscription: free what waits, and end the loops that read it.

        Events that are sent later are no longer kept for it. A second call does nothing.

        Raises:
            RuntimeError: in another thread than the bus's own.
        """
        self._close()

    async def __aenter__(self) -> Subscription[Event]:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def __repr__(self) -> str:
        state = "closed" if self._node is None else "ended" if self._channel.ended else "open"
        dropped = f" dropped={self.dropped}" if self._bound is not None else ""
        name = "" if self._name is None else f" {described(self._name)}"
        kind = name_of_type(self.event_type)
        return f"<Subscription {kind}{name} pending={self._pending}{dropped} {state}>"


@publish
class Batches(BatchesCore, Generic[Event]):
    """What `subscription.batches(limit)` returns: an iterator over lists of waiting events."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __aiter__(self) -> Batches[Event]: ...

        def __anext__(self) -> Coroutine[Any, Any, list[Event]]: ...

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

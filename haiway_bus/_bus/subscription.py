"""`Subscription`, which `ctx.subscribe` returns, and `Batches`: public classes over the core of either backend.

Nothing here is on the hot path of an event: that is in the cores. `dir()` of these classes shows the documented
names. The names in the cores begin with an underscore, except `receive_nowait`, which is on the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from haiway_bus._bus.backend import BatchesCore, SubscriptionCore, publish
from haiway_bus._bus.first import first_of
from haiway_bus._bus.reads import no_copy
from haiway_bus._common.printable import described, name_of_type

__all__ = ("Batches", "Subscription")

Event = TypeVar("Event")


@publish
class Subscription(SubscriptionCore, Generic[Event]):
    """The events of exactly one type that are sent after `ctx.subscribe(T)`, once each, in order.

    Iterate over it with `async for`, or read the next event with `await anext(subscription)`. Several tasks may read
    it at once. Each event then goes to one of them, and waiting tasks are served in the order in which they came.

    The subscription ends with `close()`, at the end of an `async with` block over it, when its last reference is
    gone, and with its scope.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __aiter__(self) -> Subscription[Event]: ...

        def __anext__(self) -> Coroutine[Any, Any, Event]: ...

        def receive_nowait(self) -> Event: ...

    @property
    def event_type(self) -> type[Event]:
        """The class of its events."""
        return cast("type[Event]", self._channel.event_type)

    @property
    def name(self) -> str | None:
        """The name that `subscribe` was given, or None. repr, logs and errors show it."""
        return self._name

    @property
    def pending(self) -> int:
        """The number of waiting events."""
        return self._pending

    @property
    def dropped(self) -> int:
        """The number of events that it lost to its limit."""
        return 0 if self._bound is None else self._bound.lost()

    @property
    def limit(self) -> int | None:
        """The maximal number of waiting events, or None."""
        return None if self._bound is None else self._bound.limit

    @property
    def closed(self) -> bool:
        """Whether it receives no more events. Waiting events can still be read after the end of its scope."""
        return self._node is None or self._channel.ended

    def batches(self, limit: int = 1024) -> Batches[Event]:
        """Iterate over lists of waiting events.

        This costs less for each event than `async for` over the subscription. Other tasks may read the subscription
        at the same time: each event goes to one reader.

        Args:
            limit: The maximal number of events in a list. A list has at least one.

        Returns:
            An iterator for `async for`.

        Raises:
            TypeError: The limit is not a whole number.
            ValueError: The limit is below 1.
        """
        return Batches(self, limit)

    def first(
        self, where: Callable[[Event], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Event]:
        """Wait for the next event for which `where` is true, and close the subscription.

        Subscribe before you send the request, or you can miss the reply. At the end of a scope, the wait is cancelled
        when no task is left that could send the event.

        Args:
            where: A plain function of one event. By default the next event is returned.
            timeout: Seconds to wait at most. None waits without limit.

        Returns:
            The event.

        Raises:
            TimeoutError: The time is over.
            SubscriptionClosed: The subscription ends before the event comes.
            TypeError: At the call: `where` is not a plain function of one event, or `timeout` is not a number.
            ValueError: At the call: `timeout` is not a number of seconds.
        """
        return first_of(self, where, timeout)

    def close(self) -> None:
        """End the subscription: free its waiting events, and end the loops that read it.

        It receives no later events. A second call does nothing.

        Raises:
            RuntimeError: The caller runs in another thread than the bus.
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
    """An iterator over lists of waiting events. `subscription.batches(limit)` returns it."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __aiter__(self) -> Batches[Event]: ...

        def __anext__(self) -> Coroutine[Any, Any, list[Event]]: ...

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

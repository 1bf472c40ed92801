"""Buses that are broken on purpose, to show that the explorer finds it out.

`Toy` is a right one in the plainest way: a queue and a line of futures for each subscription. Each of the others
differs from it by one mistake that real event buses made.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, QueueEmpty
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from .models_cancelling import CANCELLING
from .models_reading import READING

__all__ = (
    "BROKEN",
    "MODELS",
    "Doubled",
    "HandedOver",
    "LostWakeup",
    "Overtaking",
    "SharedFuture",
    "Toy",
    "package",
)


class Toy:
    """A subscription whose readers stand in line, each with a future. Only the first is woken, and takes.

    Invariant: while an event waits, or it is closed, the first in line is woken, or about to leave and wake the next.
    """

    def __init__(self, event_type: type[Any]) -> None:
        self.event_type = event_type
        self.events: deque[Any] = deque()
        self.line: deque[Future[Any]] = deque()
        self.closed = False
        self.dropped = 0

    @property
    def pending(self) -> int:
        return len(self.events)

    def put(self, event: Any) -> None:
        self.events.append(event)
        self.wake()

    def wake(self) -> None:
        if self.line and not self.line[0].done():
            self.line[0].set_result(None)

    def close(self) -> None:
        self.events.clear()
        self.end()

    def end(self) -> None:
        self.closed = True
        self.wake()

    def __aiter__(self) -> Toy:
        return self

    async def __anext__(self) -> Any:
        if self.line or not (self.events or self.closed):
            future = asyncio.get_running_loop().create_future()
            self.line.append(future)
            try:
                await future
                return self.take()
            finally:
                self.line.remove(future)
                if self.events or self.closed:
                    self.wake()
        return self.take()

    def take(self) -> Any:
        if self.events:
            return self.events.popleft()
        raise StopAsyncIteration

    def receive_nowait(self) -> Any:
        if self.line or not self.events:
            raise QueueEmpty
        return self.events.popleft()

    async def batches(self, limit: int) -> AsyncIterator[list[Any]]:
        async for event in self:
            yield [event]


class SharedFuture(Toy):
    """All readers wait on one future: cancelling one of them cancels it, and so the others."""

    shared: Future[None] | None = None

    def wake(self) -> None:
        if self.shared is not None and not self.shared.done():
            self.shared.set_result(None)

    async def __anext__(self) -> Any:
        while not (self.events or self.closed):
            if self.shared is None or self.shared.done():
                self.shared = asyncio.get_running_loop().create_future()
            await self.shared
        return self.take()


class HandedOver(Toy):
    """The event is given to the waiting future: a reader that is cancelled in the same turn takes it along.

    An event on its way still counts as pending, so that the books are right as long as nobody is cancelled.
    """

    @property
    def pending(self) -> int:
        return len(self.events) + sum(
            future.done() and not future.cancelled() for future in self.line
        )

    def put(self, event: Any) -> None:
        for future in self.line:
            if not future.done():
                future.set_result(event)
                return
        self.events.append(event)

    def end(self) -> None:
        self.closed = True
        for future in self.line:
            if not future.done():
                future.cancel("closed")

    async def __anext__(self) -> Any:
        if self.events or self.closed:
            return self.take()
        future = asyncio.get_running_loop().create_future()
        self.line.append(future)
        try:
            return await future
        except asyncio.CancelledError as cancelled:
            if cancelled.args == ("closed",):
                raise StopAsyncIteration from None
            raise
        finally:
            self.line.remove(future)


class LostWakeup(Toy):
    """A reader that is cancelled when it was woken already does not wake the next one."""

    async def __anext__(self) -> Any:
        if self.line or not (self.events or self.closed):
            future = asyncio.get_running_loop().create_future()
            self.line.append(future)
            try:
                await future
            except asyncio.CancelledError:
                self.line.remove(future)
                raise
            self.line.remove(future)
            event = self.take() if self.events else None
            if self.events or self.closed:
                self.wake()
            if event is not None:
                return event
        return self.take()


class Overtaking(Toy):
    """Who comes while an event is waiting takes it, though others stand in line for it."""

    async def __anext__(self) -> Any:
        while not (self.events or self.closed):
            try:
                return await super().__anext__()
            except StopAsyncIteration:
                if self.closed:
                    raise
        return self.take()


class Doubled(Toy):
    """The event is looked at before a wait and removed after it."""

    async def __anext__(self) -> Any:
        while not self.events:
            if self.closed:
                raise StopAsyncIteration
            await asyncio.sleep(1)
        event = self.events[0]
        await asyncio.sleep(0)
        return self.events.popleft() and event


# The models whose scope, of one bus and no tasks, the toys have.
MODELS = tuple(model.__name__ for model in (*READING, *CANCELLING) if model.__name__ != "forgotten")
BROKEN = (SharedFuture, HandedOver, LostWakeup, Overtaking, Doubled)


def package(kind: type[Toy]) -> Any:
    """Something that a `World` takes for the package, with one bus and subscriptions of this kind."""
    subscriptions: list[Toy] = []

    @asynccontextmanager
    async def scope(name: str, **options: Any) -> AsyncIterator[None]:
        subscriptions.clear()
        yield
        for subscription in subscriptions:
            subscription.end()

    def subscribe(event_type: type[Any]) -> Toy:
        subscription = kind(event_type)
        subscriptions.append(subscription)
        return subscription

    def send(event: Any) -> None:
        for subscription in subscriptions:
            if subscription.event_type is type(event) and not subscription.closed:
                subscription.put(event)

    return SimpleNamespace(
        ctx=SimpleNamespace(scope=scope, subscribe=subscribe, send=send),
        _bus=SimpleNamespace(current=SimpleNamespace(get=lambda: kind)),
    )

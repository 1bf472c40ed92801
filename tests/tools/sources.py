"""Where the readers get their events from: the bus, or what is built in and has to look the same to every tool."""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Self
from weakref import ref

import haiway_bus
from haiway_bus import ctx

BACKEND = "pure" if os.environ.get("HAIWAY_BUS_PURE") else "compiled"
if haiway_bus.backend != BACKEND:
    raise SystemExit(f"{BACKEND} was asked for, and {haiway_bus.backend} was imported")


class Event:
    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<event {self.number}>"


# What was sent on the bus and has to be gone when nobody holds it any more.
SENT: list[ref[Event]] = []


class OfTheBus:
    """A scope; what it gives to read are subscriptions."""

    beside: Any = None  # opened and closed with each scope

    async def __aenter__(self) -> Self:
        # Under a tool reads take long, and the sources that this is compared to never give the loop a turn.
        outermost = haiway_bus._bus.current.get() is None
        self.scope = ctx.scope("tools", turn=math.inf if outermost else None)
        await self.scope.__aenter__()
        if OfTheBus.beside is not None:
            OfTheBus.beside.open()
        return self

    async def __aexit__(self, *failure: object) -> None:
        if OfTheBus.beside is not None:
            OfTheBus.beside.close()
        await self.scope.__aexit__(*failure)

    def subscribe(self) -> Any:
        return ctx.subscribe(Event)

    def batches(self, events: Any) -> Any:
        return events.batches()

    def first(self, events: Any, where: Callable[[Event], bool]) -> Any:
        return events.first(where)

    def on(self, handler: Callable[[Event], Any]) -> None:
        self.handled = ctx.on(Event, handler)

    def send(self, *numbers: int) -> None:
        for number in numbers:
            ctx.send(event := Event(number))
            SENT.append(ref(event))

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return ctx.spawn(function, *arguments)


class BuiltIn:
    """A TaskGroup; what it gives to read are async generators."""

    async def __aenter__(self) -> Self:
        self.waiting: deque[Event] = deque()
        self.wakeup: asyncio.Future[None] | None = None
        self.ended = False
        self.group = asyncio.TaskGroup()
        await self.group.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.ended = True
        self.wake()
        await self.group.__aexit__(*failure)

    def wake(self) -> None:
        if self.wakeup is not None and not self.wakeup.done():
            self.wakeup.set_result(None)

    def subscribe(self) -> Any:
        return self.generate()

    async def generate(self) -> AsyncIterator[Event]:
        while self.waiting or not self.ended:
            while self.waiting:
                yield self.waiting.popleft()
            if not self.ended:
                self.wakeup = asyncio.get_running_loop().create_future()
                await self.wakeup

    async def batches(self, events: Any) -> AsyncIterator[list[Event]]:
        async for event in events:
            batch = [event, *self.waiting]
            self.waiting.clear()
            yield batch

    async def first(self, events: Any, where: Callable[[Event], bool]) -> Event:
        async for event in events:
            if where(event):
                return event
        raise AssertionError

    def on(self, handler: Callable[[Event], Any]) -> None:
        async def serve() -> None:
            async for event in self.generate():
                await handler(event)

        self.group.create_task(serve())

    def send(self, *numbers: int) -> None:
        self.waiting.extend(map(Event, numbers))
        self.wake()

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.group.create_task(function(*arguments))


SOURCES = {"bus": OfTheBus, "built-in": BuiltIn}

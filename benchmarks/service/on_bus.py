"""The service on the bus."""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from haiway_bus import State, Subscription, ctx
from haiway_bus.integrations.asgi import ScopeMiddleware
from haiway_bus.integrations.sse import EventStream
from service.feed import Feed
from service.shape import Shape
from service.wire import frame_of

__all__ = ("OnBus",)


class Tick(State):
    number: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    number: int
    answered: Future[int]


def encode(tick: Tick) -> bytes:
    return frame_of(tick.text)


async def answer(asked: Asked) -> None:
    if not asked.answered.done():
        asked.answered.set_result(asked.number * 2)


class OnBus:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.service = ScopeMiddleware(self.serve, name="ticks", grace=shape.drain)
        self.app = self.service
        self.left_dropped = 0
        self.feed: Feed[Tick] = Feed(
            shape, lambda number, text: Tick(number=number, text=text), ctx.send, ctx.send
        )
        self.feeding: Task[None] | None = None

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "websocket":
            await self.socket(receive, send)
        else:
            subscription = ctx.subscribe(Tick, limit=self.shape.limit)
            hello = f"hello {self.feed.last}"
            try:
                await EventStream(subscription, encode, greeting=hello)(scope, receive, send)
            finally:
                self.left_dropped += subscription.dropped

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        ctx.on(Asked, answer, workers=4)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def socket(self, receive: Any, send: Any) -> None:
        await receive()
        subscription = ctx.subscribe(Tick, limit=self.shape.limit)
        hello = f"hello {self.feed.last}"
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": hello})
        leaving = asyncio.Event()
        forwarding = ctx.spawn(self.forward, subscription, leaving, send)
        while (message := await receive())["type"] == "websocket.receive":
            what, _, number = message["text"].partition(" ")
            if what == "ask":
                asked = Asked(int(number), asyncio.get_running_loop().create_future())
                ctx.send(asked)
                text = f"got {number} {await asked.answered}"
                await send({"type": "websocket.send", "text": text})
            else:
                leaving.set()
                if not subscription.pending:
                    subscription.close()
                delivered = await forwarding
                text = f"bye {delivered} {subscription.dropped}"
                await send({"type": "websocket.send", "text": text})
        subscription.close()

    async def forward(
        self, subscription: Subscription[Tick], leaving: asyncio.Event, send: Any
    ) -> int:
        delivered = 0
        with suppress(OSError):  # the client has gone
            async for ticks in subscription.batches(256):
                text = "\n".join([tick.text for tick in ticks])
                await send({"type": "websocket.send", "text": text})
                delivered += len(ticks)
                if leaving.is_set() and not subscription.pending:
                    break
        return delivered

    def begin(self, seconds: float | None) -> Task[None]:
        with self.service.scope.attach():
            self.feeding = ctx.spawn(self.feed.run, seconds)
        return self.feeding

    async def end(self) -> None:
        """The service is about to stop: no more ticks, and the clients get what waits for them."""
        if self.feeding is not None:
            self.feeding.cancel()
            with suppress(asyncio.CancelledError):
                await self.feeding
        with self.service.scope.attach(), suppress(TimeoutError):
            await ctx.flush(Tick, timeout=self.shape.drain)
        self.service.announce_shutdown()

    def counts(self) -> dict[str, int]:
        with self.service.scope.attach():
            stats = ctx.events()[Tick]
        return {
            "delivered": stats.delivered,
            "dropped": stats.dropped,
            "left_dropped": self.left_dropped,
        }

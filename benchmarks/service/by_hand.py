"""The same service by hand: one asyncio.Queue a client, with a limit, of which the oldest give way."""

from __future__ import annotations

import asyncio
from asyncio import Future, Queue, Task
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.feed import Feed
from service.shape import Shape
from service.wire import frame_of

__all__ = ("ByHand", "Client", "Tick")


@dataclass(frozen=True, slots=True, eq=False)
class Tick:
    number: int
    text: str
    frame: bytes  # encoded once for all streams


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    number: int
    answered: Future[int]


class Client:
    """What waits for one client. None in the queue ends it."""

    __slots__ = ("delivered", "dropped", "forwarding", "queue")

    def __init__(self) -> None:
        # Without a size of its own, so that the end always has a place.
        self.queue: Any = Queue()
        self.dropped = 0
        self.delivered = 0
        self.forwarding: Task[Any] | None = None


class ByHand:
    client = Client

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.app = self.serve
        self.clients: set[Client] = set()
        self.present: set[Client] = set()  # those that are leaving, too
        self.delivered = self.dropped = self.left_dropped = 0
        self.asked: Queue[Asked] = Queue()
        self.from_threads: deque[Tick] = deque()
        self.woken = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.feed: Feed[Tick] = Feed(
            shape,
            lambda number, text: Tick(number, text, frame_of(text)),
            self.publish,
            self.publish_from_thread,
        )
        self.feeding: Task[None] | None = None

    def publish(self, tick: Tick) -> None:
        limit = self.shape.limit
        for client in self.clients:
            queue = client.queue
            if queue.qsize() >= limit:
                queue.get_nowait()
                client.dropped += 1
            queue.put_nowait(tick)

    def publish_from_thread(self, tick: Tick) -> None:
        assert self.loop is not None
        self.from_threads.append(tick)
        if not self.woken:  # one wake-up for a burst
            self.woken = True
            self.loop.call_soon_threadsafe(self.publish_those)

    def publish_those(self) -> None:
        self.woken = False
        while self.from_threads:
            self.publish(self.from_threads.popleft())

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "websocket":
            await self.socket(receive, send)
        else:
            await self.stream(receive, send)

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        self.loop = asyncio.get_running_loop()
        workers = [asyncio.create_task(self.answer()) for _ in range(4)]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self) -> None:
        while True:
            asked = await self.asked.get()
            if not asked.answered.done():
                asked.answered.set_result(asked.number * 2)

    def enter(self) -> Client:
        client = self.client()
        self.clients.add(client)
        self.present.add(client)
        return client

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        self.present.remove(client)
        self.delivered += client.delivered
        self.dropped += client.dropped

    async def take(self, client: Client) -> tuple[list[Tick], bool]:
        """What waits, at most 256; and whether that was the end."""
        queue = client.queue
        ticks: list[Tick] = []
        tick = await queue.get()
        while tick is not None:
            ticks.append(tick)
            if queue.empty() or len(ticks) == 256:
                break
            tick = queue.get_nowait()
        client.delivered += len(ticks)
        return ticks, tick is None

    async def socket(self, receive: Any, send: Any) -> None:
        await receive()
        client = self.enter()
        hello = f"hello {self.feed.last}"
        try:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": hello})
            forwarding = client.forwarding = asyncio.create_task(self.forward(client, send))
            while (message := await receive())["type"] == "websocket.receive":
                what, _, number = message["text"].partition(" ")
                if what == "ask":
                    asked = Asked(int(number), asyncio.get_running_loop().create_future())
                    self.asked.put_nowait(asked)
                    text = f"got {number} {await asked.answered}"
                    await send({"type": "websocket.send", "text": text})
                else:
                    self.clients.discard(client)
                    client.queue.put_nowait(None)
                    await forwarding
                    text = f"bye {client.delivered} {client.dropped}"
                    await send({"type": "websocket.send", "text": text})
            forwarding.cancel()
            with suppress(asyncio.CancelledError):
                await forwarding
        finally:
            self.leave(client)

    async def forward(self, client: Client, send: Any) -> None:
        over = False
        with suppress(OSError):  # the client has gone
            while not over:
                ticks, over = await self.take(client)
                if ticks:
                    text = "\n".join([tick.text for tick in ticks])
                    await send({"type": "websocket.send", "text": text})

    async def stream(self, receive: Any, send: Any) -> None:
        client = self.enter()
        greeting = f"data: hello {self.feed.last}\n\n".encode()
        client.forwarding = asyncio.create_task(self.send_stream(client, greeting, send))
        gone = asyncio.create_task(self.disconnected(receive))
        try:
            await asyncio.wait([client.forwarding, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (client.forwarding, gone):
                task.cancel()
            await asyncio.gather(client.forwarding, gone, return_exceptions=True)
            self.leave(client)
            self.left_dropped += client.dropped

    async def disconnected(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def send_stream(self, client: Client, greeting: bytes, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": greeting, "more_body": True})
        over = False
        while not over:
            try:
                async with asyncio.timeout(15):
                    ticks, over = await self.take(client)
            except TimeoutError:
                body = b": still here\n\n"
            else:
                body = b"".join([tick.frame for tick in ticks])
            await send({"type": "http.response.body", "body": body, "more_body": not over})

    def begin(self, seconds: float | None) -> Task[None]:
        self.feeding = asyncio.create_task(self.feed.run(seconds))
        return self.feeding

    async def end(self) -> None:
        """The service is about to stop: no more ticks, and the clients get what waits for them."""
        if self.feeding is not None:
            self.feeding.cancel()
            with suppress(asyncio.CancelledError):
                await self.feeding
        await asyncio.sleep(0)  # for what a thread has sent
        for client in self.clients:
            client.queue.put_nowait(None)
        forwarding = [client.forwarding for client in self.clients if client.forwarding]
        if forwarding:
            await asyncio.wait(forwarding, timeout=self.shape.drain)

    def counts(self) -> dict[str, int]:
        return {
            "delivered": self.delivered + sum(client.delivered for client in self.present),
            "dropped": self.dropped + sum(client.dropped for client in self.present),
            "left_dropped": self.left_dropped,
        }

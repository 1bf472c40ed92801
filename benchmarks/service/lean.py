"""The service by hand once more, as one would who found `asyncio.Queue` in the profile: a deque and a future."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque

from service.by_hand import ByHand, Client, Tick

__all__ = ("Lean",)


class Waiting:
    """What waits for one client, with one reader. `reader` is what that waits on, None when it does not."""

    __slots__ = ("reader", "ticks")

    def __init__(self) -> None:
        self.ticks: deque[Tick | None] = deque()
        self.reader: Future[None] | None = None

    def wake(self) -> None:
        reader, self.reader = self.reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    def put_nowait(self, tick: Tick | None) -> None:
        self.ticks.append(tick)
        self.wake()


class LeanClient(Client):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.queue = Waiting()


class Lean(ByHand):
    client = LeanClient

    def publish(self, tick: Tick) -> None:
        limit = self.shape.limit
        for client in self.clients:
            waiting: Waiting = client.queue
            ticks = waiting.ticks
            if len(ticks) >= limit:
                ticks.popleft()
                client.dropped += 1
            ticks.append(tick)
            if waiting.reader is not None:
                waiting.wake()

    async def take(self, client: Client) -> tuple[list[Tick], bool]:
        waiting: Waiting = client.queue
        waits = waiting.ticks
        while not waits:
            waiting.reader = asyncio.get_running_loop().create_future()
            await waiting.reader
        ticks: list[Tick] = []
        tick = None
        while waits and len(ticks) < 256:
            tick = waits.popleft()
            if tick is None:
                break
            ticks.append(tick)
        client.delivered += len(ticks)
        return ticks, tick is None

"""What the services tell their clients: ticks, every other burst of them from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

from service.shape import Shape
from service.wire import text_of

__all__ = ("Feed",)

Tick = TypeVar("Tick")


class Feed(Generic[Tick]):
    """Numbers the ticks from 1 on. `last` is the number of the latest, which is set before it is sent."""

    def __init__(
        self,
        shape: Shape,
        make: Callable[[int, str], Tick],
        send: Callable[[Tick], object],
        send_from_thread: Callable[[Tick], object],
    ) -> None:
        self.shape = shape
        self.make = make
        self.send = send
        self.send_from_thread = send_from_thread
        self.last = 0
        self.executor = ThreadPoolExecutor(1)

    def some(self, number: int, send: Callable[[Tick], object]) -> None:
        for _ in range(number):
            self.last += 1
            send(self.make(self.last, text_of(self.last)))

    async def run(self, seconds: float | None) -> None:
        """Bursts at their times, whatever the loop is doing, and single ticks between; for ever when None."""
        loop = asyncio.get_running_loop()
        context = copy_context()
        start = loop.time()
        shape = self.shape
        pause = shape.burst_every / (shape.singles + 1)
        step = 0
        while seconds is None or step * pause < seconds:
            await asyncio.sleep(max(0.0, start + step * pause - loop.time()))
            turn, single = divmod(step, shape.singles + 1)
            if single:
                self.some(1, self.send)
            elif turn % 2:
                await loop.run_in_executor(
                    self.executor, context.run, self.some, shape.burst, self.send_from_thread
                )
            else:
                self.some(shape.burst, self.send)
            step += 1

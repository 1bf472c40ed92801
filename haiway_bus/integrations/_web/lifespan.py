"""The conversation of a lifespan: what the server says, what the application answers, and when each hears of it."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from haiway_bus.integrations._web.protocol import (
    ASGIApplication,
    ASGIMessage,
    ASGIReceive,
    ASGISend,
)

__all__ = ("Lifespan",)


class Lifespan:
    """The messages of a lifespan, between the server and the application.

    Attributes:
        wind_up: What to wait for when the server has asked for the shutdown, before the application hears of it.
        asked: The application has asked for a message, so it takes part in the lifespan.
        started: The server knows that the startup is complete.
        stopping: The server has asked for the shutdown.
        answer: The last answer of the application. It is held back until the scope has ended, because the server stops
            the loop after it.
    """

    def __init__(
        self, wind_up: Callable[[], Awaitable[None]], receive: ASGIReceive, send: ASGISend
    ) -> None:
        self.wind_up = wind_up
        self.server_receive = receive
        self.server_send = send
        self.asked = False
        self.started = False
        self.stopping = False
        self.answer: ASGIMessage = {"type": "lifespan.shutdown.complete"}

    async def run(self, app: ASGIApplication, scope: Any) -> None:
        """Run the application's lifespan, or wait for the shutdown in its place."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            # By the ASGI specification, an application without a lifespan raises at once. If it has asked for a
            # message it has a lifespan, and this is an error in it.
            if self.asked:
                raise
        if self.answer["type"] == "lifespan.startup.failed":
            return
        if not self.started:
            await self.send({"type": "lifespan.startup.complete"})
        if not self.stopping:
            self.asked = True
            await self.receive()

    async def receive(self) -> ASGIMessage:
        """Return the next message for the application."""
        if not self.asked:
            self.asked = True
            return {"type": "lifespan.startup"}
        message = await self.server_receive()
        if message["type"] == "lifespan.shutdown":
            self.stopping = True
            await self.wind_up()
        return message

    async def send(self, message: ASGIMessage) -> None:
        """Take a message of the application: the startup goes to the server, the last answer is held back."""
        if message["type"] == "lifespan.startup.complete":
            self.started = True
            await self.server_send(message)
        else:
            self.answer = message

    async def fail(self, error: BaseException) -> None:
        """Tell the server that startup or shutdown failed."""
        phase = "shutdown" if self.started else "startup"
        text = "".join(traceback.format_exception(error))
        await self.server_send({"type": f"lifespan.{phase}.failed", "message": text})

    async def finish(self) -> None:
        """Tell the server the last answer of the application."""
        await self.server_send(self.answer)

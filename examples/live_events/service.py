"""Live events in the browser: every open page is a bounded subscription to the bus of the service.

python examples/live_events/service.py --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from haiway_bus import State, ctx
from haiway_bus.integrations.asgi import ScopeMiddleware
from haiway_bus.integrations.sse import EventStream, ServerSentEvent

PAGE = Path(__file__).with_name("page.html")
DISHES = ("Flat white", "Espresso", "Cardamom bun", "Lemon tart", "Oat cappuccino", "Rye toast")


class Happened(State):
    """The event that every open page shows. `pages` is the number of open pages."""

    number: int
    source: str
    text: str
    pages: int


class Settings(State):
    """`limit`: the most events that wait for a page. `interval`: seconds between two orders, None for no orders."""

    limit: int = 100
    interval: float | None = 1.0


class Journal:
    """Numbers the events, so that a page can tell whether an event is missing."""

    def __init__(self) -> None:
        self.last = 0

    def tell(self, source: str, text: str) -> int:
        self.last += 1
        listening = ctx.events().get(Happened)
        pages = 0 if listening is None else listening.subscriptions
        ctx.send(Happened(number=self.last, source=source, text=text, pages=pages))
        return self.last


async def take_orders(journal: Journal, interval: float) -> None:
    """The background producer."""
    while True:
        await asyncio.sleep(interval)
        dish, table = random.choice(DISHES), random.randint(1, 12)  # noqa: S311 - no secret
        journal.tell("kitchen", f"{dish} for table {table}")


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE.read_text(encoding="utf-8"))


async def listen(request: Request) -> EventStream[Happened]:
    subscription = ctx.subscribe(
        Happened, limit=ctx.state(Settings).limit, overflow="drop_oldest"
    )  # fmt: skip
    journal: Journal = request.app.state.journal

    def encode(event: Happened) -> ServerSentEvent:
        # With the event, the page gets the number of events that it has missed so far.
        told = {**event.to_mapping(), "dropped": subscription.dropped}
        return ServerSentEvent(json.dumps(told), id=str(event.number))

    # The subscription is there already, so the page sees every event after this number.
    hello = ServerSentEvent(json.dumps({"last": journal.last}), event="hello")
    return EventStream(subscription, encode, greeting=hello)


async def tell(request: Request) -> Response:
    """Accept {"text": "..."}, which every open page then shows."""
    try:
        text = (await request.json())["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        return JSONResponse({"error": 'post {"text": "..."}, and not an empty one'}, 422)
    number = request.app.state.journal.tell("a visitor", text.strip()[:200])
    return JSONResponse({"number": number}, 202)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    interval = ctx.state(Settings).interval
    if interval is None:
        yield
        return
    producer = ctx.spawn(take_orders, app.state.journal, interval)
    yield
    # A producer that sleeps between its events keeps the scope open, and this producer never ends.
    producer.cancel()


def make_service(settings: Settings | None = None) -> ScopeMiddleware:
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/events", listen),
            Route("/events", tell, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    app.state.journal = Journal()
    return ScopeMiddleware(app, settings or Settings(), name="live_events")


class Server(uvicorn.Server):
    """Ends the streams when the server stops. uvicorn by itself waits for the browsers to go."""

    def __init__(self, config: uvicorn.Config, service: ScopeMiddleware) -> None:
        super().__init__(config)
        self.service = service

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self.service.announce_shutdown()
        await super().shutdown(sockets)


def make_server(service: ScopeMiddleware, port: int, log_level: str = "info") -> Server:
    config = uvicorn.Config(
        service,
        host="127.0.0.1",
        port=port,
        log_level=log_level,
        access_log=False,
        # Without a lifespan there is no scope, so a failure in it must stop the service.
        lifespan="on",
        # A client may not even read the end of its stream.
        timeout_graceful_shutdown=5,
    )
    return Server(config, service)


def main() -> None:
    parser = argparse.ArgumentParser(description="Live events in the browser.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two orders")
    given = parser.parse_args()
    service = make_service(Settings(interval=given.interval))
    # When uvicorn has stopped in good order, it raises the Ctrl+C that stopped it again.
    with suppress(KeyboardInterrupt):
        make_server(service, given.port).run()


if __name__ == "__main__":
    main()

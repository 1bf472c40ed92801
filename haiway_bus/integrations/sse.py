"""A subscription as a stream of server-sent events: what a browser's `EventSource` reads. Pure ASGI, no extra."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from haiway_bus import State, Subscription, ctx
from haiway_bus.arguments import is_number, is_seconds
from haiway_bus.integrations.asgi import SCOPE_KEY, Receive, Send, ShuttingDown
from haiway_bus.printable import described, name_of_type
from haiway_bus.signatures import check_takes_event

__all__ = ("EventStream", "ServerSentEvent")

Event = TypeVar("Event")


class ServerSentEvent(NamedTuple):
    """One message of the stream: `data`, and if given the `event` that listeners are registered for, an `id` that
    the browser sends as Last-Event-ID when it comes back, and after how many milliseconds it `retry`s."""

    data: str
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """The bytes on the wire. Raises ValueError for a line break in `event` or `id`, which would forge a field."""
        lines = []
        for field in ("event", "id", "retry"):
            value = getattr(self, field)
            if value is not None:
                if "\n" in str(value) or "\r" in str(value):
                    raise ValueError(
                        f"the {field} of a server-sent event is one line, not {described(value)}"
                    )
                lines.append(f"{field}: {value}")
        # Not splitlines(): it breaks at characters (U+2028 among them) that are ordinary ones here.
        text = self.data.replace("\r\n", "\n").replace("\r", "\n")
        lines += [f"data: {line}" for line in text.split("\n")]
        # The stream is UTF-8, in which a surrogate without its other half has no bytes: a "?" stands for it.
        return ("\n".join(lines) + "\n\n").encode(errors="replace")


Encoded: TypeAlias = ServerSentEvent | str


def as_json(event: Any) -> ServerSentEvent:
    """A State as JSON. Raises TypeError for other events."""
    if not issubclass(type(event), State):
        raise TypeError(
            "EventStream sends State as JSON by itself;"
            f" for {name_of_type(type(event))} give it encode="
        )
    # A lone surrogate, which UTF-8 cannot hold, is written as JSON escapes it: the reader gets the text that was sent.
    return ServerSentEvent(event.to_json().encode(errors="backslashreplace").decode())


class EventStream(Generic[Event]):
    """An ASGI response that sends what a subscription receives, until the client goes or the service stops.

        async def events(request):
            return EventStream(ctx.subscribe(Price, limit=100))

    It ends, and closes the subscription: when the client disconnects, also one to which nothing is sent just then;
    after as many events as were waiting, when the service is about to stop (`ScopeMiddleware.announce_shutdown`),
    though ever more are sent; when the subscription ends. Give the subscription a limit: a client that reads slowly,
    or not at all, then costs at most that many events, and older ones give way (contract 4).

    It has to be served inside a `ScopeMiddleware`. SubscriptionOverflow (overflow="raise") breaks the response off.
    """

    def __init__(
        self,
        subscription: Subscription[Event],
        encode: Callable[[Event], Encoded] = as_json,
        *,
        greeting: Encoded | None = None,
        ping: float = 15.0,
    ) -> None:
        """
        Arguments:
            subscription: what to send; nobody else should read it.
            encode: makes a message, or its data alone, of an event. Called when the event is taken.
            greeting: a message to begin with.
            ping: after how many seconds without an event a comment is sent, so that proxies keep the connection.

        Raises ValueError for a ping that is not above zero, TypeError for what is no subscription, or no function of
        one event.
        """
        if not is_number(ping) or not is_seconds(ping) or ping <= 0:
            raise ValueError(f"ping is a number of seconds above 0, not {described(ping)}")
        if not issubclass(type(subscription), Subscription):
            given = described(subscription)
            raise TypeError(
                f"EventStream sends what a subscription receives, not {given}: give it ctx.subscribe(...)"
            )
        check_takes_event("EventStream", "a function of one event for encode", encode)
        self._subscription = subscription
        self._encode = encode
        self._greeting = greeting
        self._ping = ping
        # How many events are still to be taken; None while the service is not about to stop.
        self._left: int | None = None
        self._gone = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Send the response (ASGI 3). Raises ContextMissing outside a scope."""
        watcher = ctx.spawn(self._watch, receive)
        announced = ctx.on(ShuttingDown, self._end)
        # It may have been announced before this was listening.
        middleware = scope.get(SCOPE_KEY)
        if middleware is not None and middleware.shutting_down:
            self._end()
        try:
            async with self._subscription:
                await self._stream(send)
        except OSError:
            # By ASGI 2.4, what send() raises when the client has gone.
            self._gone = True
        finally:
            watcher.cancel()
            announced.close()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._subscription.close()

    def _end(self, _: object = None) -> None:
        # A number, since there is always something waiting where the feed is faster than the client.
        if self._left is None:
            self._left = self._subscription.pending
        if not self._subscription.pending:
            self._subscription.close()

    async def _stream(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-store"),
                    (
                        b"x-accel-buffering",
                        b"no",
                    ),  # nginx would otherwise collect what should be live
                ],
            }
        )
        await _body(
            send, b": events follow\n\n" if self._greeting is None else _bytes(self._greeting)
        )
        batches = self._subscription.batches(256)
        while self._left is None or (self._left > 0 and self._subscription.pending):
            try:
                async with asyncio.timeout(self._ping):
                    # What has gathered goes in one piece: a burst costs one write.
                    events = await anext(batches, None)
            except TimeoutError:
                await _body(send, b": still here\n\n")
                continue
            if events is None:
                break
            if self._left is not None:
                self._left -= len(events)
            await _body(send, b"".join([_bytes(self._encode(event)) for event in events]))
            events = None  # held by nobody while it waits (contract 3.2)
        if not self._gone:
            await _body(send, b"", more=False)


async def _body(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _bytes(message: Encoded) -> bytes:
    return (ServerSentEvent(message) if isinstance(message, str) else message).encode()

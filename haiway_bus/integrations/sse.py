"""A subscription as a stream of server-sent events: what a browser's `EventSource` reads. Pure ASGI, no extra."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from haiway_bus import State, Subscription, ctx
from haiway_bus._values.arguments import is_coroutine, is_number, is_seconds
from haiway_bus._values.printable import described, name_of_type
from haiway_bus._values.signatures import check_takes_event, is_async
from haiway_bus.integrations._web.open_streams import Share, streams_of
from haiway_bus.integrations._web.patience import Patience
from haiway_bus.integrations.asgi import SCOPE_KEY, Receive, Send, ShuttingDown

__all__ = ("EventStream", "ServerSentEvent")

Event = TypeVar("Event")

_NOT_ASYNC: Final = (
    "EventStream takes a plain function for encode, not an async one: it answers at once"
)
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


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


Encoded: TypeAlias = ServerSentEvent | str | bytes


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

    All streams that are given one `encode` share its results: each event is encoded once, in the scope of the service.
    So `encode` depends on the event alone. What depends on the client is put into a function of the client's own, that
    uses variables of its handler or is a `functools.partial`.

    It has to be served inside a `ScopeMiddleware`. SubscriptionOverflow (overflow="raise") and what `encode` raises
    break the response off, after the events before; no other stream is harmed.
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
            encode: makes of an event a message; or a str, the data of a message; or bytes, which are sent as they are:
                whole messages, each with the blank line that ends it, or nothing. Called when the event is taken.
            greeting: a message to begin with.
            ping: after how many seconds without an event a comment is sent, so that proxies keep the connection.

        Raises ValueError for a ping that is not above zero, TypeError for what is no subscription, or no plain function
        of one event.
        """
        if not is_number(ping) or not is_seconds(ping) or ping <= 0:
            raise ValueError(f"ping is a number of seconds above 0, not {described(ping)}")
        if not issubclass(type(subscription), Subscription):
            given = described(subscription)
            raise TypeError(
                f"EventStream sends what a subscription receives, not {given}: give it ctx.subscribe(...)"
            )
        check_takes_event("EventStream", "a function of one event for encode", encode)
        if is_async(encode):
            raise TypeError(_NOT_ASYNC)
        self._subscription = subscription
        self._encode = encode
        self._greeting = greeting
        self._ping = ping
        # How many events are still to be taken; None while the service is not about to stop.
        self._left: int | None = None
        self._gone = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Send the response (ASGI 3). Raises ContextMissing outside a scope."""
        middleware = scope.get(SCOPE_KEY)
        streams = streams_of(None if middleware is None else middleware._root)
        share = streams.join(self._subscription, self._encode, _bytes, ShuttingDown, self._end)
        try:
            # It may have been announced before this was listening.
            if middleware is not None and middleware.shutting_down:
                self._end()
            watcher = ctx.spawn(self._watch, receive)
            try:
                async with self._subscription:
                    await self._stream(share, send)
            finally:
                watcher.cancel()
        finally:
            streams.leave(share)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        self._subscription.close()

    def _end(self) -> None:
        # A number, since there is always something waiting where the feed is faster than the client.
        if self._left is None:
            self._left = self._subscription.pending
        if not self._subscription.pending:
            self._subscription.close()

    async def _stream(self, share: Share, send: Send) -> None:
        await self._send(
            send,
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-store"),
                    # nginx would otherwise collect what should be live.
                    (b"x-accel-buffering", b"no"),
                ],
            },
        )
        await self._send_body(
            send, b": events follow\n\n" if self._greeting is None else _bytes(self._greeting)
        )
        batches = self._subscription.batches(256)
        patience = Patience(self._ping)
        parts: list[bytes] = []
        try:
            while self._left is None or (self._left > 0 and self._subscription.pending):
                try:
                    patience.begin()
                    # What has gathered goes in one piece: a burst costs one write.
                    events = await batches.__anext__()
                except StopAsyncIteration:
                    break
                except CancelledError:
                    if not patience.ended():
                        raise
                    await self._send_body(send, b": still here\n\n")
                    continue
                finally:
                    patience.since = None
                if self._left is not None:
                    self._left -= len(events)
                try:
                    share.add_to(parts, events)
                finally:
                    events = []  # held by nobody while it waits (contract 3.2)
                    body = b"".join(parts)
                    parts.clear()
                    if body:
                        await self._send_body(send, body)
        finally:
            patience.stop()
        await self._send_body(send, b"", more=False)

    async def _send_body(self, send: Send, body: bytes, *, more: bool = True) -> None:
        await self._send(send, {"type": "http.response.body", "body": body, "more_body": more})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        if not self._gone:
            try:
                await send(message)
            except OSError:
                # By ASGI 2.4, what send() raises when the client has gone.
                self._leave()


def _bytes(message: Any) -> bytes:
    kind = type(message)
    if issubclass(kind, str):
        message = ServerSentEvent(message)
    if issubclass(kind, (str, ServerSentEvent)):
        return cast("ServerSentEvent", message).encode()
    if not issubclass(kind, bytes):
        if is_coroutine(message):
            message.close()
            raise TypeError(_NOT_ASYNC)
        raise TypeError(
            f"encode gives a ServerSentEvent, a str or bytes for EventStream, not {described(message)}"
        )
    if message and not message.endswith(_BLANK_LINES):
        raise ValueError(
            "EventStream sends bytes as they are, and a message ends with a blank line,"
            f" which {described(message)} does not: for data alone give a str or a ServerSentEvent"
        )
    return cast("bytes", message)

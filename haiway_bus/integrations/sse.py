"""A subscription as server-sent events, for a browser's `EventSource`. It is pure ASGI and needs no extra."""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from haiway_bus import State, StateError, Subscription, ctx
from haiway_bus._common.arguments import is_coroutine, is_number, is_seconds
from haiway_bus._common.printable import described, name_of_type
from haiway_bus._common.signatures import check_takes_event, is_async
from haiway_bus.integrations._web.open_streams import Share, streams_of
from haiway_bus.integrations._web.patience import Patience
from haiway_bus.integrations._web.protocol import SCOPE_KEY, ASGIReceive, ASGISend
from haiway_bus.integrations.asgi import ShuttingDown

__all__ = ("EventStream", "ServerSentEvent")

Event = TypeVar("Event")

_NOT_ASYNC: Final = (
    "EventStream takes a plain function for encode, not an async function: encode answers at once"
)
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class ServerSentEvent(NamedTuple):
    """A message of the stream.

    Attributes:
        data: The text of the message.
        event: The name that listeners in the browser are registered for.
        id: The id that the browser sends as Last-Event-ID when it connects again.
        retry: After how many milliseconds the browser connects again.
    """

    data: str
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """Return the bytes of the message.

        Raises:
            ValueError: `event` or `id` has a line break, which would begin another field.
        """
        lines = []
        for field in ("event", "id", "retry"):
            value = getattr(self, field)
            if value is not None:
                if "\n" in str(value) or "\r" in str(value):
                    raise ValueError(
                        f"the {field} of a server-sent event is a single line, not {described(value)}"
                    )
                lines.append(f"{field}: {value}")
        # Not splitlines(): it also breaks at characters that are ordinary here, such as U+2028.
        text = self.data.replace("\r\n", "\n").replace("\r", "\n")
        lines += [f"data: {line}" for line in text.split("\n")]
        # UTF-8 has no bytes for half a surrogate pair: write a "?" for it.
        return ("\n".join(lines) + "\n\n").encode(errors="replace")


Encoded: TypeAlias = ServerSentEvent | str | bytes


def as_json(event: Any) -> ServerSentEvent:
    """Return a State as a message with JSON in it.

    Raises:
        TypeError: The event is no State.
        StateError: JSON cannot carry a value of the event.
    """
    if not issubclass(type(event), State):
        raise TypeError(
            "EventStream makes JSON of State events only:"
            f" for {name_of_type(type(event))} give it encode="
        )
    try:
        return ServerSentEvent(event.to_json())
    except StateError:
        # UTF-8 has no bytes for half a surrogate pair. JSON can escape it, so that the reader gets the text that was
        # sent. Whatever else is wrong with the event, `to_mapping` says.
        return ServerSentEvent(json.dumps(event.to_mapping(), separators=(",", ":")))


class EventStream(Generic[Event]):
    """An ASGI response that sends what a subscription receives, until the client goes or the service stops.

        async def events(request):
            return EventStream(ctx.subscribe(Price, limit=100))

    The response ends, and closes the subscription, in three cases:

    - The client disconnects, even when there is nothing to send.
    - The service is about to stop (see `ScopeMiddleware.announce_shutdown`). The events that wait at that moment are
      sent first; later events are not.
    - The subscription ends.

    Give the subscription a limit. Then a client that reads slowly, or not at all, costs at most that many events, and
    older events are dropped for newer.

    All streams with the same `encode` share its results: each event is encoded once, in the scope of the service. So
    `encode` must depend on the event alone. If the message depends on the client, give each client a function of its
    own: a closure over variables of its handler, or a `functools.partial`.

    Serve it inside a `ScopeMiddleware`. SubscriptionOverflow (with overflow="raise") and an exception of `encode` break
    the response off, after the events before. Other streams go on.
    """

    def __init__(
        self,
        subscription: Subscription[Event],
        encode: Callable[[Event], Encoded] = as_json,
        *,
        greeting: Encoded | None = None,
        ping: float = 15.0,
    ) -> None:
        """Make a response.

        Args:
            subscription: What to send. Nobody else should read it.
            encode: A function that turns an event into a ServerSentEvent, into a str (the data of a message), or into
                bytes that are sent as they are: whole messages, each ending with a blank line, or nothing. It is called
                when the event is taken.
            greeting: The first message.
            ping: After how many seconds without an event to send a comment, so that proxies keep the connection.

        Raises:
            ValueError: `ping` is no number of seconds above 0.
            TypeError: `subscription` is no subscription, or `encode` is no plain function of a single event.
            StateError: The events have a union whose members JSON cannot tell apart.
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
        if encode is as_json and issubclass(subscription.event_type, State):
            subscription.event_type.__state__.ready()
        self._subscription = subscription
        self._encode = encode
        self._greeting = greeting
        self._ping = ping
        # How many events are still to be taken; None while the service is not about to stop.
        self._left: int | None = None
        self._gone = False

    async def __call__(self, scope: Any, receive: ASGIReceive, send: ASGISend) -> None:
        """Send the response (ASGI 3).

        Raises:
            ContextMissing: No scope is current.
        """
        middleware = scope.get(SCOPE_KEY)
        streams = streams_of(None if middleware is None else middleware._root)
        share = streams.join(self._subscription, self._encode, _bytes, ShuttingDown, self._end)
        try:
            # The shutdown may have been announced before this stream was listening.
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

    async def _watch(self, receive: ASGIReceive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        self._subscription.close()

    def _end(self) -> None:
        # Count what waits now. Waiting for an empty subscription would never end with a feed faster than the client.
        if self._left is None:
            self._left = self._subscription.pending
        if not self._subscription.pending:
            self._subscription.close()

    async def _stream(self, share: Share, send: ASGISend) -> None:
        await self._send(
            send,
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-store"),
                    # Otherwise nginx buffers the response.
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
                    # Send all that has gathered together: a burst costs a single write.
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
                    events = []  # hold no event while waiting (guarantee 3.2)
                    body = b"".join(parts)
                    parts.clear()
                    if body:
                        await self._send_body(send, body)
        finally:
            patience.stop()
        await self._send_body(send, b"", more=False)

    async def _send_body(self, send: ASGISend, body: bytes, *, more: bool = True) -> None:
        await self._send(send, {"type": "http.response.body", "body": body, "more_body": more})

    async def _send(self, send: ASGISend, message: dict[str, Any]) -> None:
        if not self._gone:
            try:
                await send(message)
            except OSError:
                # ASGI 2.4: send() raises this when the client has gone.
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
            f"encode returns a ServerSentEvent, a str or bytes for EventStream, not {described(message)}"
        )
    if message and not message.endswith(_BLANK_LINES):
        raise ValueError(
            "EventStream sends bytes as they are, and a message must end with a blank line,"
            f" which {described(message)} does not: to send data alone, return a str or a ServerSentEvent"
        )
    return cast("bytes", message)

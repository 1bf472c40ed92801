"""What the open streams of a service share: each event is encoded once, and a single task listens for the shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import islice
from types import FunctionType, MethodType
from typing import Any, Final

from haiway_bus import ContextMissing, Scope, Subscription, ctx

__all__ = ("Share", "Streams", "streams_of")

# How many bytes of encoded events to keep for each encoding function, and what an event costs besides its bytes.
MOST_BYTES: Final = 4 * 1024 * 1024
OVERHEAD: Final = 256

# How often to look for encoded events that no stream will take.
LOOK_SECONDS: Final = 0.1


class Made:
    """An encoded event.

    Attributes:
        data: Its bytes.
        event: The event itself, held so that no other object gets its `id`.
        left: How many streams have yet to take it.
        number: How many events its encoder had encoded then, this event included.
    """

    __slots__ = ("data", "event", "left", "number")

    def __init__(self, event: Any, data: bytes, left: int, number: int) -> None:
        self.event: Any = event
        self.data: bytes = data
        self.left: int = left
        self.number: int = number


class Encoder:
    """Encodes each event once for all streams of a type with the same function (see `identity`).

    The streams take the same events in the same order, but at different times. So an encoded event is kept, by the
    identity of the event, until as many streams have taken it as there were. Some streams never take it: those that
    have left, and those that dropped the event because of their limit. No stream is further behind than the number of
    events that wait in it. So ten times a second, keep as many of the newest as wait in the slowest stream, and let go
    the others.

    Invariants: `size` is what `made` takes, and at most MOST_BYTES, or the newest event alone. `timer` runs while
    anything is kept.
    """

    __slots__ = ("context", "encode", "key", "made", "number", "shares", "size", "timer")

    def __init__(
        self, key: tuple[object, ...], encode: Callable[[Any], bytes], context: Context
    ) -> None:
        self.key: tuple[object, ...] = key
        self.encode: Callable[[Any], bytes] = encode
        self.context: Context = context
        self.shares: dict[Share, None] = {}
        self.made: dict[int, Made] = {}
        self.number: int = 0
        self.size: int = 0
        self.timer: asyncio.TimerHandle | None = None

    def make(self, event: Any) -> bytes:
        """Encode an event, and keep the result if there are other streams."""
        # All streams share the result, so it must not see the context of any of them. Each event gets a copy of the
        # context, as in a handler.
        data = self.context.copy().run(self.encode, event)
        self.forget(id(event))
        self.number += 1
        others = len(self.shares) - 1
        if others > 0:
            self.made[id(event)] = Made(event, data, others, self.number)
            self.size += len(data) + OVERHEAD
            while self.size > MOST_BYTES and len(self.made) > 1:
                self.keep(len(self.made) // 2)
            if self.timer is None:
                self.watch()
        return data

    def forget(self, key: int) -> None:
        """Let go the encoded event with this identity."""
        found = self.made.pop(key, None)
        if found is not None:
            self.size -= len(found.data) + OVERHEAD

    def keep(self, newest: int) -> None:
        """Let go all but the newest, so many of them."""
        for key in list(islice(self.made, max(0, len(self.made) - newest))):
            self.forget(key)

    def watch(self) -> None:
        """Look again after a while."""
        self.timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self.look)

    def look(self) -> None:
        """Let go what no stream will take."""
        self.rest()
        self.keep(max(share.subscription.pending for share in self.shares))
        if self.made:
            self.watch()

    def rest(self) -> None:
        """Look no more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def leave(self, share: Share) -> None:
        """Forget a stream. A single stream needs nothing kept."""
        del self.shares[share]
        if len(self.shares) < 2:
            self.keep(0)
            self.rest()


class Share:
    """A stream's part in an encoder.

    Attributes:
        end: What to call when the service is about to stop.
        last: The number of the encoded event that the stream took last.
    """

    __slots__ = ("encoder", "end", "last", "subscription")

    def __init__(
        self, encoder: Encoder, subscription: Subscription[Any], end: Callable[[], object]
    ) -> None:
        self.encoder: Encoder = encoder
        self.subscription: Subscription[Any] = subscription
        self.end: Callable[[], object] = end
        self.last: int = 0

    def add_to(self, parts: list[bytes], events: list[Any]) -> None:
        """Append the bytes of each event. If the encoding function raises, the events before are appended."""
        encoder = self.encoder
        made = encoder.made
        for event in events:
            found = made.get(id(event))
            # An event that this stream has taken before was sent again. It may have changed, so encode it again.
            if found is None or found.number <= self.last:
                parts.append(encoder.make(event))
                self.last = encoder.number
                continue
            self.last = found.number
            parts.append(found.data)
            found.left -= 1
            if not found.left:
                encoder.forget(id(event))


class Streams:
    """The open streams in the scope of a lifespan; without a lifespan, a single stream.

    The task that listens for the shutdown and the context for encoding belong to that scope, and to no stream.
    """

    __slots__ = ("context", "encoders", "heard", "root", "shares")

    def __init__(self, root: Scope | None) -> None:
        self.root: Scope | None = root
        self.shares: dict[Share, None] = {}
        self.encoders: dict[tuple[object, ...], Encoder] = {}
        self.context: Context = copy_context()
        self.heard: Subscription[Any] | None = None

    def join(
        self,
        subscription: Subscription[Any],
        encode: Callable[[Any], Any],
        to_bytes: Callable[[Any], bytes],
        news: type[Any],
        end: Callable[[], object],
    ) -> Share:
        """Count a stream as open.

        Args:
            subscription: What the stream sends.
            encode: The user's encoding function.
            to_bytes: Turns its result into bytes.
            news: The type of the event that announces the shutdown.
            end: What to call at that event; called at once if the service has ended already.

        Returns:
            The stream's part in the encoder.
        """
        over = False
        if self.heard is None or self.heard.closed:
            if self.root is None:
                self.heard = ctx.on(news, self.tell)
            else:
                try:
                    # An empty context: what the first stream's request has set in its own is not for the others.
                    Context().run(self.listen, self.root, news)
                except ContextMissing:
                    over = True  # the service has ended, or is failing
        key = (id(subscription.event_type), *identity(encode))
        encoder = self.encoders.get(key)
        if encoder is None:
            encoder = Encoder(key, lambda event: to_bytes(encode(event)), self.context)
            self.encoders[key] = encoder
        share = Share(encoder, subscription, end)
        encoder.shares[share] = self.shares[share] = None
        if self.root is not None:
            _within[self.root] = self
        if over:
            end()
        return share

    def listen(self, root: Scope, news: type[Any]) -> None:
        """Listen for the shutdown in the scope of the lifespan."""
        with root.attach():
            self.context = copy_context()
            self.heard = ctx.on(news, self.tell)

    def tell(self, news: object) -> None:
        """End all streams."""
        for share in list(self.shares):
            share.end()

    def leave(self, share: Share) -> None:
        """Forget a stream. After the last stream, stop listening."""
        del self.shares[share]
        share.encoder.leave(share)
        if not share.encoder.shares:
            del self.encoders[share.encoder.key]
        if not self.shares:
            if self.root is not None:
                _within.pop(self.root, None)
            if self.heard is not None:
                self.heard.close()


_within: Final[dict[Scope, Streams]] = {}


def streams_of(root: Scope | None) -> Streams:
    """Return the open streams in the scope of a lifespan; without a scope, new ones."""
    return Streams(root) if root is None or root not in _within else _within[root]


def identity(function: Any) -> tuple[object, ...]:
    """Return a key that is equal only for functions with equal results. Its parts live as long as the function.

    A method is a new object at each use, and so is a function that is written in the handler of a request. Two such
    functions are the same if they have the same code, the same closure, and the same defaults.
    """
    if type(function) is MethodType:
        return id(function.__self__), id(function.__func__)
    if type(function) is not FunctionType or function.__dict__:
        return (id(function),)
    return (
        id(function.__code__),
        id(function.__globals__),
        tuple(map(id, function.__closure__ or ())),
        tuple(map(id, function.__defaults__ or ())),
        tuple((name, id(value)) for name, value in (function.__kwdefaults__ or {}).items()),
    )

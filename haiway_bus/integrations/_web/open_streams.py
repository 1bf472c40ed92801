"""What the open streams of a service share: each event encoded once, and one ear for the news of the shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import islice
from types import FunctionType, MethodType
from typing import Any, Final

from haiway_bus import ContextMissing, Scope, Subscription, ctx

__all__ = ("Share", "Streams", "streams_of")

# How much encoded events take at most, for each function that encodes them; and what one takes besides its bytes.
MOST_BYTES: Final = 4 * 1024 * 1024
OVERHEAD: Final = 256

# How often it is looked for what no stream needs any more, though not every one of them took it.
LOOK_SECONDS: Final = 0.1


class Made:
    """An event that was encoded, the how manieth, and how many streams have yet to take it.

    The event is held, so that its `id` stays its own.
    """

    __slots__ = ("data", "event", "left", "number")

    def __init__(self, event: Any, data: bytes, left: int, number: int) -> None:
        self.event: Any = event
        self.data: bytes = data
        self.left: int = left
        self.number: int = number


class Encoder:
    """Encodes each event once, for all streams of one type that were given one function (see `identity`).

    The streams take the same events in the same order, but not in lock step. So what was encoded is kept, by the
    identity of the event, until as many streams took it as there were. Some never take it: those that have left, and
    those whose limit cost them the event. No stream is further behind than it has events waiting; what is older than
    the most of these is let go ten times a second.

    Invariants: `size` is what `made` takes, at most MOST_BYTES but for the newest. `timer` runs while anything is kept.
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
        # In the context of no stream, as all of them are given the result. In a copy, as for each event of a handler.
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
        found = self.made.pop(key, None)
        if found is not None:
            self.size -= len(found.data) + OVERHEAD

    def keep(self, newest: int) -> None:
        """Let go all but so many of the newest."""
        for key in list(islice(self.made, max(0, len(self.made) - newest))):
            self.forget(key)

    def watch(self) -> None:
        self.timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self.look)

    def look(self) -> None:
        """Let go what no stream is going to take."""
        self.rest()
        self.keep(max(share.subscription.pending for share in self.shares))
        if self.made:
            self.watch()

    def rest(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def leave(self, share: Share) -> None:
        del self.shares[share]
        if len(self.shares) < 2:
            self.keep(0)
            self.rest()


class Share:
    """A stream's part in an encoder: `last` is the number of what it took last."""

    __slots__ = ("encoder", "end", "last", "subscription")

    def __init__(
        self, encoder: Encoder, subscription: Subscription[Any], end: Callable[[], object]
    ) -> None:
        self.encoder: Encoder = encoder
        self.subscription: Subscription[Any] = subscription
        self.end: Callable[[], object] = end
        self.last: int = 0

    def add_to(self, parts: list[bytes], events: list[Any]) -> None:
        """Append what is sent for each event. Raises what the function raised, after appending those before."""
        encoder = self.encoder
        made = encoder.made
        for event in events:
            found = made.get(id(event))
            # What was taken before is sent again, and may have changed meanwhile.
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
    """The open streams within one scope, that of a lifespan; or one stream alone, where there is no lifespan.

    What belongs to none of them, the task that listens and the context for encoding, belongs to that scope.
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
        """Count a stream as open, and call its `end` when `news` comes, or at once when that cannot be waited for."""
        over = False
        if self.heard is None or self.heard.closed:
            if self.root is None:
                self.heard = ctx.on(news, self.tell)
            else:
                try:
                    # What the request of the first stream set in its context is not for the others.
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
        with root.attach():
            self.context = copy_context()
            self.heard = ctx.on(news, self.tell)

    def tell(self, news: object) -> None:
        for share in list(self.shares):
            share.end()

    def leave(self, share: Share) -> None:
        """Forget a stream, and with the last one listen no longer."""
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
    """Those that are open within the scope; without a scope, new ones."""
    return Streams(root) if root is None or root not in _within else _within[root]


def identity(function: Any) -> tuple[object, ...]:
    """What tells a function from all that may give something else. Its parts live as long as it does.

    A method is made anew for each use, and so is a function that is written in the handler of a request. That one is
    the same each time when it has the same code, takes the same variables from around it, and has the same defaults.
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

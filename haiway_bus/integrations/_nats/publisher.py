"""Publishing with acknowledgement: each letter is sent until the server has it, or has refused it for good."""

from __future__ import annotations

import asyncio
import json
from asyncio import Future
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from haiway_bus import ctx
from haiway_bus.integrations._nats.bridge_errors import NatsBridgeError, NatsPayloadTooLarge
from haiway_bus.integrations._nats.connection import LOST, Connection, backoff
from haiway_bus.integrations._nats.server_streams import Streams

__all__ = ("Letter", "Publisher")

# The stream takes no message of this size: its own limit, below the server's (JSStreamMessageExceedsMaximumErr).
TOO_LARGE_FOR_STREAM: Final = 10054
# No stream takes more than 64 KiB of headers, whatever its limits (JSStreamHeaderExceedsMaximumErr).
HEADERS_TOO_LARGE: Final = 10097
TELL_SECONDS: Final = 10.0


class Letter:
    """A message on its way. `settled` when the server has it, or when `refused` says why it never will."""

    __slots__ = ("event_type", "headers", "payload", "refused", "settled", "size", "subject")

    def __init__(
        self, event_type: type[object], subject: str, payload: bytes, headers: dict[str, str]
    ) -> None:
        self.event_type: type[object] = event_type
        self.subject: str = subject
        self.payload: bytes = payload
        self.headers: dict[str, str] = headers
        # What the server's limit is about: "NATS/1.0", each header's line, an empty line, the payload.
        self.size: int = (
            len(payload)
            + 12
            + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
        )
        self.settled: bool = False
        self.refused: Exception | None = None

    def refuse(self, error: Exception) -> None:
        self.settled = True
        self.refused = error


class Round:
    """One sending of some letters: `done` when each has its answer, or the first answer was "not now"."""

    __slots__ = ("answers", "done", "left", "trouble")

    def __init__(self, number: int) -> None:
        self.left: int = number
        self.answers: int = 0
        self.trouble: str = ""
        self.done: Future[None] = asyncio.get_running_loop().create_future()

    def answered(self) -> None:
        self.left -= 1
        self.answers += 1
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)


class Publisher:
    """Sends letters and waits for their acknowledgements, over however many connections that takes.

    The answers of one connection come to one inbox, one token a letter: nats-py's `publish` makes a future, an id and
    a time-out of its own for each message, and its `publish_async` forgets what a lost connection left unanswered.
    """

    def __init__(self, connection: Connection, streams: Streams, seconds: float) -> None:
        self.duplicates: int = 0
        self.resent: int = 0
        self._connection = connection
        self._streams = streams
        self._seconds = seconds
        self._client: Client | None = None
        self._inbox = ""
        self._tokens = count()
        self._waiting: dict[str, tuple[Letter, Round]] = {}
        self._lock = asyncio.Lock()
        self._told_at = -TELL_SECONDS

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Return when each letter is settled; they are sent in this order, and those left over again in this order.

        Raises NatsBridgeError when the stream on the server cannot be used. Waits for a server as long as it takes.
        """
        left = list(letters)
        attempt = 0
        while left:
            client = await self._connection.ready()
            trouble = "no answer"
            try:
                await self._open(client)
                trouble = await self._round(client, left) or trouble
            except LOST as error:
                trouble = self._connection.redacted(error) or type(error).__name__
            left = [letter for letter in left if not letter.settled]
            if left:
                self.resent += len(left)
                self._tell(f"{len(left)} messages are not acknowledged ({trouble}); trying on")
                await asyncio.sleep(backoff(attempt, 0.05, 2.0))
                attempt += 1

    async def _open(self, client: Client) -> None:
        """Have an inbox on this connection, and the streams there."""
        async with self._lock:
            if self._client is client:
                return
            async with asyncio.timeout(self._seconds):
                await self._streams.ensure(client)
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._answer)
            self._client = client

    async def _round(self, client: Client, letters: Sequence[Letter]) -> str:
        this = Round(len(letters))
        inbox = self._inbox
        tokens: list[str] = []
        try:
            # nats-py waits without end for a flush when the connection breaks in it.
            async with asyncio.timeout(self._seconds):
                for letter in letters:
                    if letter.size > client.max_payload:
                        letter.refuse(
                            NatsPayloadTooLarge(letter.event_type, letter.size, client.max_payload)
                        )
                        this.answered()
                        continue
                    token = str(next(self._tokens))
                    tokens.append(token)
                    self._waiting[token] = (letter, this)
                    await client.publish(
                        letter.subject, letter.payload, f"{inbox}.{token}", letter.headers
                    )
            if not await self._connection.until(this.done, client, self._seconds):
                if not this.answers:
                    reason = f"no acknowledgement within {self._seconds:g} s"
                    return self._connection.doubt(client, reason) or this.trouble
                return this.trouble
        finally:
            for token in tokens:
                self._waiting.pop(token, None)
        return this.trouble

    async def _answer(self, message: Msg) -> None:
        found = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if found is None:
            return
        letter, this = found
        if message.headers and message.headers.get("Status"):
            this.trouble = (
                "no stream answers"  # 503: JetStream is not up yet, or the stream is not there
            )
            self._client = None
            self._streams.forget()
        else:
            self._settle(letter, this, message.data)
        this.answered()

    def _settle(self, letter: Letter, this: Round, data: bytes) -> None:
        answer: Any = None
        with suppress(ValueError):
            answer = json.loads(data)
        error = answer.get("error") if isinstance(answer, dict) else "no JSON"
        if error is None:
            letter.settled = True
            if answer.get("duplicate"):
                self.duplicates += 1
        elif isinstance(error, dict) and error.get("err_code") == TOO_LARGE_FOR_STREAM:
            letter.refuse(
                NatsBridgeError(
                    f"the stream {self._streams.stream!r} takes no message of {letter.size} bytes:"
                    " raise its max_msg_size, or send less"
                )
            )
        elif isinstance(error, dict) and error.get("err_code") == HEADERS_TOO_LARGE:
            letter.refuse(
                NatsBridgeError(
                    f"the headers of this message are {letter.size - len(letter.payload)} bytes, a server takes 64"
                    " KiB: have traceparent= give less"
                )
            )
        else:
            # Full, without a leader, starting: what passes. It is tried again and nothing is lost meanwhile.
            this.trouble = str(error.get("description") if isinstance(error, dict) else error)

    def _tell(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            ctx.log_warning("NATS at %s: %s", self._connection.shown, text)

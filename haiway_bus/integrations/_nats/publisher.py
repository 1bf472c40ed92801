"""Publishing with acknowledgement: each letter is sent again until the server has it or has refused it for good."""

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
from haiway_bus.integrations._nats.connection import Connection
from haiway_bus.integrations._nats.server_errors import LOST, backoff
from haiway_bus.integrations._nats.server_streams import ServerStreams

__all__ = ("Letter", "Publisher")

# The stream takes no message of this size: its own limit, below the server's (JSStreamMessageExceedsMaximumErr).
TOO_LARGE_FOR_STREAM: Final = 10054
# No stream takes more than 64 KiB of headers, whatever its limits (JSStreamHeaderExceedsMaximumErr).
HEADERS_TOO_LARGE: Final = 10097
TELL_SECONDS: Final = 10.0


class Letter:
    """A message to publish.

    Attributes:
        settled: The server has it, or has refused it for good.
        refused: Why the server will never take it, if so.
        size: Its bytes as the server counts them.
    """

    __slots__ = ("event_type", "headers", "payload", "refused", "settled", "size", "subject")

    def __init__(
        self, event_type: type[object], subject: str, payload: bytes, headers: dict[str, str]
    ) -> None:
        self.event_type: type[object] = event_type
        self.subject: str = subject
        self.payload: bytes = payload
        self.headers: dict[str, str] = headers
        # The server counts "NATS/1.0", a line for each header, an empty line and the payload.
        self.size: int = (
            len(payload)
            + 12
            + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
        )
        self.settled: bool = False
        self.refused: Exception | None = None

    def refuse(self, error: Exception) -> None:
        """Settle the letter: it is refused for good, for this reason."""
        self.settled = True
        self.refused = error


class Sending:
    """Letters that were sent together.

    Attributes:
        left: How many have no answer yet.
        answers: How many have one.
        trouble: Why the server did not take a letter, as told last.
        done: Ends when every letter has its answer.
    """

    __slots__ = ("answers", "done", "left", "trouble")

    def __init__(self, number: int) -> None:
        self.left: int = number
        self.answers: int = 0
        self.trouble: str = ""
        self.done: Future[None] = asyncio.get_running_loop().create_future()

    def answered(self) -> None:
        """Count an answer."""
        self.left -= 1
        self.answers += 1
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)


class Publisher:
    """Sends letters and waits for their acknowledgements, over as many connections as that takes.

    All answers of a connection come to the same inbox, where a token tells the letter. nats-py's own ways do not serve:
    `publish` makes a future, an id and a time-out for each message, and `publish_async` forgets the messages that a
    lost connection has left unanswered.
    """

    def __init__(self, connection: Connection, streams: ServerStreams, seconds: float) -> None:
        self.duplicates: int = 0
        self.resent: int = 0
        self._connection = connection
        self._streams = streams
        self._seconds = seconds
        self._client: Client | None = None
        self._inbox = ""
        self._tokens = count()
        self._waiting: dict[str, tuple[Letter, Sending]] = {}
        self._lock = asyncio.Lock()
        self._told_at = -TELL_SECONDS

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Wait until each letter is settled, for as long as there is no server.

        Send the letters in this order. Send those without an acknowledgement again, in the same order.

        Raises:
            NatsBridgeError: The stream on the server cannot be used.
        """
        left = list(letters)
        attempt = 0
        while left:
            client = await self._connection.ready()
            trouble = "no answer"
            try:
                await self._open(client)
                trouble = await self._send(client, left) or trouble
            except LOST as error:
                trouble = self._connection.redacted(error) or type(error).__name__
            left = [letter for letter in left if not letter.settled]
            if left:
                self.resent += len(left)
                self._tell(f"{len(left)} messages are not acknowledged ({trouble}); trying again")
                await asyncio.sleep(backoff(attempt, 0.05, 2.0))
                attempt += 1

    async def _open(self, client: Client) -> None:
        """Make an inbox on this connection, and the streams on the server."""
        async with self._lock:
            if self._client is client:
                return
            async with asyncio.timeout(self._seconds):
                await self._streams.ensure(client)
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._answer)
            self._client = client

    async def _send(self, client: Client, letters: Sequence[Letter]) -> str:
        """Send the letters once and wait for the answers. Return what trouble there was."""
        this = Sending(len(letters))
        inbox = self._inbox
        tokens: list[str] = []
        try:
            # nats-py waits for ever for a flush when the connection breaks meanwhile.
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
            # 503: JetStream has not started yet, or the stream does not exist.
            this.trouble = "no stream answers"
            self._client = None
            self._streams.forget()
        else:
            self._settle(letter, this, message.data)
        this.answered()

    def _settle(self, letter: Letter, this: Sending, data: bytes) -> None:
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
                    f"the headers of this message are {letter.size - len(letter.payload)} bytes, a server takes at most"
                    " 64 KiB: let traceparent= return less"
                )
            )
        else:
            # The stream is full, has no leader or is starting. That passes: try again, nothing is lost meanwhile.
            this.trouble = str(error.get("description") if isinstance(error, dict) else error)

    def _tell(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            ctx.log_warning("NATS at %s: %s", self._connection.shown, text)

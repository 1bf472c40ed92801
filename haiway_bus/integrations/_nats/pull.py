"""Pulling the messages of a consumer: how many to ask for, what has come, and when silence is a fault.

This speaks the server's protocol itself: a request to CONSUMER.MSG.NEXT, answered by messages and status messages.
nats-py's `fetch` makes a task for every message, and waits for ever when the server has forgotten the request.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import Task
from collections import deque
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from haiway_bus.integrations._nats.bridge_tasks import end

__all__ = ("Broken", "Pull", "numbers", "pending")

ACK: Final = "$JS.ACK."
IDLE_HEARTBEAT: Final = "100"
# How many heartbeats may be missing before silence is a fault, and how many heartbeats a request lasts on the server.
MISSED: Final = 2.5
STANDS: Final = 10
CLOSE_SECONDS: Final = 2.0
ENDS: Final = ("consumer deleted", "shutdown", "leadership")
# How a request ends normally: its time is over, or it has brought all messages that it asked for.
ENDED_NORMALLY: Final = ("404", "408")
COMPLETED: Final = ("batch completed", "exceeds maxbytes")


class Broken(Exception):  # noqa: N818 - a signal within the package
    """Raised inside the package when this pull brings nothing more and another is needed.

    Attributes:
        silent: The server says nothing at all.
        refused: The server refuses such requests, and will refuse the next too.
    """

    def __init__(self, reason: str, *, silent: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent
        self.refused = refused


class Pull:
    """Requests for messages, and the messages that came.

    Invariant: `wanted` is how many messages the server still owes, as far as it has told. While it owes any, it sends
    heartbeats when it has nothing else to send. `arrived` holds the messages that came and were not taken.
    """

    def __init__(self, client: Client, request_subject: str, heartbeat: float) -> None:
        self.arrived: deque[Msg] = deque()
        self.wanted: int = 0
        self.heard: bool = False
        self._client = client
        self._subject = request_subject
        self._heartbeat = heartbeat
        # Each pull has an inbox of its own: messages that an earlier pull still asks for stay on the server.
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._news = asyncio.Event()
        self._heard_at = 0.0
        self._broken = ""
        self._refused = False

    async def open(self) -> None:
        """Begin to listen for messages."""
        # No limit in bytes: nats-py drops messages over the limit. The requests bound what can come.
        self._subscription = await self._client.subscribe(
            self._inbox, cb=self._on_message, pending_bytes_limit=0
        )
        self._heard_at = asyncio.get_running_loop().time()

    async def close(self) -> bool:
        """Ask for nothing more. Afterwards `arrived` holds what had arrived and what was on its way.

        Returns:
            Whether the server said in time that this is all. If not, the client is of no further use: nats-py stops
            reading when the answer to a cancelled flush comes.
        """
        self.wanted = 0
        if self._subscription is None or not self._client.is_connected:
            return True
        drained: Task[None] = asyncio.ensure_future(self._subscription.drain())  # type: ignore[no-untyped-call]
        await asyncio.wait({drained}, timeout=CLOSE_SECONDS)
        in_time = drained.done()
        await end(drained)
        if not drained.cancelled():
            drained.exception()  # read and ignored: the connection was lost meanwhile, which is known
        return in_time

    async def top_up(self, free: int, capacity: int) -> None:
        """Ask for as many messages as there is room for, if that is half of the capacity or none is on its way."""
        ask = free - self.wanted
        if ask < 1 or (self.wanted and ask < capacity // 2):
            return
        if not self.wanted:
            self._heard_at = asyncio.get_running_loop().time()
        self.wanted += ask
        request = {
            "batch": ask,
            "expires": int(self._heartbeat * STANDS * 1e9),
            "idle_heartbeat": int(self._heartbeat * 1e9),
        }
        await self._client.publish(self._subject, json.dumps(request).encode(), self._inbox)

    async def take(self, most: int) -> list[Msg]:
        """Return the messages that are here, at most `most`; an empty list if none came within a heartbeat.

        Raises:
            Broken: The server says that no more will come, or says nothing at all.
        """
        if not self.arrived:
            self._news.clear()
            if self._broken:
                raise Broken(self._broken, refused=self._refused)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    await self._news.wait()
        if self.arrived:
            return [self.arrived.popleft() for _ in range(min(most, len(self.arrived)))]
        silence = asyncio.get_running_loop().time() - self._heard_at
        if self.wanted and silence > self._heartbeat * MISSED:
            raise Broken(f"nothing was heard for {silence:.1f} s", silent=True)
        return []

    async def gather(self, number: int, seconds: float) -> list[Msg]:
        """Return so many messages, or those that came within so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.arrived) < number and not self._broken:
                    self._news.clear()
                    await self._news.wait()
        return [self.arrived.popleft() for _ in range(min(number, len(self.arrived)))]

    def wake(self) -> None:
        """Make `take` and `gather` look again."""
        self._news.set()

    async def _on_message(self, message: Msg) -> None:
        self.heard = True
        self._heard_at = asyncio.get_running_loop().time()
        if message.reply.startswith(ACK):
            self.wanted = max(self.wanted - 1, 0)
            self.arrived.append(message)
            self._news.set()
            return
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == IDLE_HEARTBEAT:
            return
        description = headers.get("Description", "")
        left = headers.get("Nats-Pending-Messages", "")
        # A request that ends says how many messages it has not brought. If it says nothing, it has brought none.
        self.wanted = max(self.wanted - int(left), 0) if left.isdigit() else 0
        told = description.lower()
        refused = status[:1] == "4" and status not in ENDED_NORMALLY
        refused = refused and not any(word in told for word in (*COMPLETED, *ENDS))
        if refused or status == "503" or any(word in told for word in ENDS):
            self._broken = f"{status} {description}".strip()
            self._refused = refused
        self._news.set()


def numbers(reply: str) -> tuple[int, int]:
    """Return the sequence in the stream and the number of deliveries, from a message's reply subject."""
    facts = _facts(reply)
    return int(facts[1]), int(facts[0])


def pending(reply: str) -> int:
    """Return how many more messages the consumer had when this message was delivered."""
    return int(_facts(reply)[4])


def _facts(reply: str) -> list[str]:
    # $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer's sequence>.<time>.<pending>. Newer servers put
    # domain and account before the stream, and a token at the end.
    tokens = reply.split(".")
    return tokens[4 if len(tokens) == 9 else 6 :]

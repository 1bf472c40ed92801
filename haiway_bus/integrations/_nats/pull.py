"""Pulling messages of one consumer over one connection: how many are asked for, which have come, and whether silence
is a fault.

The server's own protocol is spoken here (a request to CONSUMER.MSG.NEXT, answered by messages and status messages),
because nats-py's `fetch` makes a task for every message and waits without end when the server forgot the request.
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
# Heartbeats missed until silence is a fault, and how long a request stands with the server, counted in heartbeats.
MISSED: Final = 2.5
STANDS: Final = 10
CLOSE_SECONDS: Final = 2.0
ENDS: Final = ("consumer deleted", "shutdown", "leadership")
# Requests that are over in the ordinary way: after their time, or with all that they asked for.
OVER: Final = ("404", "408")
COMPLETED: Final = ("batch completed", "exceeds maxbytes")


class Broken(Exception):  # noqa: N818 - a signal within the package
    """Raised inside the package when this pull will bring nothing more: begin another.

    `silent`: the server says nothing at all. `refused`: it takes no such request, and the next one neither.
    """

    def __init__(self, reason: str, *, silent: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent
        self.refused = refused


class Pull:
    """Requests for messages, and what has come of them.

    Invariant: `wanted` is how many messages the server still owes, as far as it has told; while there are any, it
    sends a heartbeat when it has nothing else. `arrived` are those that came and were not taken.
    """

    def __init__(self, client: Client, request_subject: str, heartbeat: float) -> None:
        self.arrived: deque[Msg] = deque()
        self.wanted: int = 0
        self.heard: bool = False
        self._client = client
        self._subject = request_subject
        self._heartbeat = heartbeat
        # One inbox a pull: what an earlier one still asks for finds nobody, and stays with the server.
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._news = asyncio.Event()
        self._heard_at = 0.0
        self._broken = ""
        self._refused = False

    async def open(self) -> None:
        # No limit in bytes: nats-py would drop messages over it. Credits bound what can come.
        self._subscription = await self._client.subscribe(
            self._inbox, cb=self._on_message, pending_bytes_limit=0
        )
        self._heard_at = asyncio.get_running_loop().time()

    async def close(self) -> bool:
        """Ask for nothing more. What has arrived, and what was on its way, is in `arrived` afterwards.

        Returns False when the server did not say in time that this is all; the client is of no use then, for nats-py
        stops reading when the answer to a flush comes that was given up.
        """
        self.wanted = 0
        if self._subscription is None or not self._client.is_connected:
            return True
        drained: Task[None] = asyncio.ensure_future(self._subscription.drain())  # type: ignore[no-untyped-call]
        await asyncio.wait({drained}, timeout=CLOSE_SECONDS)
        in_time = drained.done()
        await end(drained)
        if not drained.cancelled():
            drained.exception()  # that of a connection lost meanwhile: it says nothing new
        return in_time

    async def top_up(self, free: int, capacity: int) -> None:
        """Ask for as many messages as there is room for, when that is half of the capacity or nothing is on its way."""
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
        """The messages that are there, none when none came within a heartbeat.

        Raises Broken when the server says that no more will come, or says nothing at all.
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
        """So many messages, or those that came within so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.arrived) < number and not self._broken:
                    self._news.clear()
                    await self._news.wait()
        return [self.arrived.popleft() for _ in range(min(number, len(self.arrived)))]

    def wake(self) -> None:
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
        # A request that is over says how many it has not brought; one that says nothing has brought none.
        self.wanted = max(self.wanted - int(left), 0) if left.isdigit() else 0
        told = description.lower()
        refused = status[:1] == "4" and status not in OVER
        refused = refused and not any(word in told for word in (*COMPLETED, *ENDS))
        if refused or status == "503" or any(word in told for word in ENDS):
            self._broken = f"{status} {description}".strip()
            self._refused = refused
        self._news.set()


def numbers(reply: str) -> tuple[int, int]:
    """The sequence in the stream and the number of deliveries, from a message's reply subject."""
    facts = _facts(reply)
    return int(facts[1]), int(facts[0])


def pending(reply: str) -> int:
    """How many more messages there were for the consumer when this one was delivered."""
    return int(_facts(reply)[4])


def _facts(reply: str) -> list[str]:
    # $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer's sequence>.<time>.<pending>, with domain and account
    # before the stream and a token behind in newer ones.
    tokens = reply.split(".")
    return tokens[4 if len(tokens) == 9 else 6 :]

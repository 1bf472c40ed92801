"""The clients: bare sockets that count. They check that each tick comes once and in order, or counts as lost."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future, Transport
from typing import Any

from service.wire import masked, news_of

__all__ = ("Account", "Client", "Socket", "Stream")

UPGRADE = (
    b"GET /ticks HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
REQUEST = b"GET /ticks HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Account:
    """What all clients found. A latency stands for as many ticks as were between two that were looked at."""

    def __init__(self) -> None:
        self.latencies: list[tuple[float, float]] = []
        self.answers: list[float] = []
        self.received = 0
        self.gaps = 0
        self.faults: list[str] = []


class Client(asyncio.Protocol):
    """Invariant: `received` ticks came and `gaps` did not, of those from `first` to `last`."""

    request: bytes = b""

    def __init__(self, account: Account, fast: bool) -> None:
        self.account = account
        self.fast = fast
        self.transport: Transport | None = None
        self.buffer = b""
        self.opened = False
        self.greeted: Future[None] = asyncio.get_running_loop().create_future()
        self.closed: Future[None] = asyncio.get_running_loop().create_future()
        self.first = self.last = 0
        self.received = self.gaps = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.opened:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = self.buffer[9:12]
            if status not in (b"101", b"200"):
                self.fault(f"was refused: {status!r}")
            self.opened = True
            self.buffer = self.buffer[end + 4 :]
        self.take()

    def take(self) -> None:
        raise NotImplementedError

    def hello(self, number: int) -> None:
        self.last = number
        self.greeted.set_result(None)

    def ticks(self, data: bytes, start: int, end: int) -> None:
        news = news_of(data, start, end)
        now = time.monotonic()
        account = self.account
        if not self.first:
            # The number that was greeted with may be in a thread's hands still, and come; a later one has to.
            self.first = min(news.first, self.last + 1)
            self.last = self.first - 1
        inside = news.last - news.first + 1 - news.count
        before = news.first - self.last - 1
        if inside < 0 or before < 0:
            self.fault(f"has {self.last}, then {news}")
        self.gaps += inside + before
        self.received += news.count
        self.last = news.last
        account.received += news.count
        account.gaps += inside + before
        if self.fast:
            half = news.count / 2
            account.latencies.append((now - news.first_at, half))
            account.latencies.append((now - news.last_at, half))

    def fault(self, what: str) -> None:
        self.account.faults.append(f"{type(self).__name__} {what}")

    def connection_lost(self, _: object) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def stop_reading(self) -> None:
        assert self.transport is not None
        self.transport.pause_reading()

    def read_on(self) -> None:
        assert self.transport is not None
        self.transport.resume_reading()

    def abort(self) -> None:
        assert self.transport is not None
        self.transport.abort()


class Socket(Client):
    """A websocket. It asks for answers, and says when it leaves, so that nothing is on its way then."""

    request = UPGRADE

    def __init__(self, account: Account, fast: bool) -> None:
        super().__init__(account, fast)
        self.asked: dict[int, float] = {}
        self.number = 0

    def take(self) -> None:
        data, at = self.buffer, 0
        while len(data) - at >= 2:
            length, body = data[at + 1], at + 2
            if length > 125:
                width = 2 if length == 126 else 8
                length = int.from_bytes(data[body : body + width], "big")
                body += width
            end = body + length
            if end > len(data):
                break
            if data[at] == 0x81:
                self.message(data, body, end)
            at = end
        self.buffer = data[at:]

    def message(self, data: bytes, start: int, end: int) -> None:
        if data[start] == 0x7B:  # {
            self.ticks(data, start, end)
            return
        what, *numbers = data[start:end].decode().split()
        if what == "hello":
            self.hello(int(numbers[0]))
        elif what == "got":
            asked = self.asked.pop(int(numbers[0]), None)
            if asked is None or int(numbers[1]) != 2 * int(numbers[0]):
                self.fault(f"got {numbers} and had not asked")
            elif self.fast:
                self.account.answers.append(time.monotonic() - asked)
        else:
            if [self.received, self.gaps] != [int(number) for number in numbers]:
                self.fault(
                    f"has received {self.received}, lost {self.gaps}, and was told {numbers}"
                )
            self.abort()

    def ask(self) -> None:
        assert self.transport is not None
        self.number += 1
        self.asked[self.number] = time.monotonic()
        self.transport.write(masked(f"ask {self.number}"))

    def leave(self) -> None:
        assert self.transport is not None
        self.transport.write(masked("bye"))


class Stream(Client):
    """A browser's EventSource, of which an event never stands in two chunks."""

    request = REQUEST

    def take(self) -> None:
        end = self.buffer.rfind(b"\n\n")
        if end < 0:
            return
        data, self.buffer = self.buffer[: end + 2], self.buffer[end + 2 :]
        if not self.greeted.done():
            start = data.index(b"data: hello ") + 12
            over = data.index(b"\n\n", start)
            self.hello(int(data[start:over]))
            data = data[over + 2 :]
        start = data.find(b'{"n":')
        if start >= 0:
            self.ticks(data, start, len(data))

    def leave(self) -> None:
        self.abort()

"""Events from other threads, on their way to the loop of their bus (contract 6.2). Both twins use this one."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context
from threading import RLock
from typing import Any

from haiway_bus.bus._rules import bus_ended, loop_closed

__all__ = ("Inbox",)


class Inbox:
    """What other threads sent and the loop has not delivered yet.

    Invariants, under `lock`: events are in the order in which `put` was called; while there are any, `deliver` is
    scheduled; once `closed`, nothing is put. So an event is delivered before the scope's end, or its send raises.
    """

    __slots__ = ("closed", "context", "events", "lock", "loop", "name", "scheduled", "send")

    def __init__(
        self, name: str, loop: AbstractEventLoop, context: Context, send: Callable[[Any], None]
    ) -> None:
        self.name: str = name
        self.loop: AbstractEventLoop = loop
        self.context: Context = context
        self.send: Callable[[Any], None] = send
        self.events: deque[Any] = deque()
        # One that its holder may take again: the collector may run within `put`, and a finalizer may send.
        self.lock: AbstractContextManager[bool] = RLock()
        self.scheduled: bool = False
        self.closed: bool = False

    def put(self, event: Any) -> None:
        """Called in any thread. Wakes the loop once a burst.

        Raises ContextMissing after the scope's end, RuntimeError when the loop is closed.
        """
        with self.lock:
            if self.closed:
                raise bus_ended("send()", self.name)
            if self.loop.is_closed():
                raise loop_closed("send()", self.name)
            if not self.scheduled:
                try:
                    self.loop.call_soon_threadsafe(self.deliver_some, context=self.context)
                except RuntimeError as error:  # closed meanwhile
                    raise loop_closed("send()", self.name) from error
                self.scheduled = True
            self.events.append(event)

    def deliver_some(self) -> None:
        """Called by the loop: send what has come, a thousand at a time, so that the loop gets its turn."""
        with self.lock:
            self.scheduled = False
            some = [self.events.popleft() for _ in range(min(len(self.events), 1024))]
            if self.events:
                self.loop.call_soon(self.deliver_some, context=self.context)
                self.scheduled = True
        for event in some:
            self.send(event)

    def deliver(self, *, close: bool = False) -> bool:
        """Called in the loop's thread: send all that has come, and say whether that was anything."""
        with self.lock:
            self.closed = self.closed or close
            some = list(self.events)
            self.events.clear()
        for event in some:
            self.send(event)
        return bool(some)

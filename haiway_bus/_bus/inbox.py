"""Events from other threads, on their way to the loop of their bus (guarantee 6.2). Both twins use it."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from asyncio.events import _get_running_loop
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import Context
from threading import RLock, get_ident
from typing import Any, Final
from weakref import ref

from haiway_bus._bus.refusals import elsewhere, loop_closed, readers_ended
from haiway_bus._common.printable import name_of_type

__all__ = ("Inbox",)

# The number of events that are delivered before the loop gets its turn.
TURN: Final = 1024


class Inbox:
    """The events that other threads have sent and the loop has not delivered yet.

    Invariants, under `lock`:
    - `events` are in the order of the calls of `put`. While there are any, the loop is going to call `deliver_some`
      (`due` is the handle), or runs it.
    - `put` refuses events of the types in `refused`, and all events once `closed` is set. So an event is delivered
      while somebody can read it, or its send raises.
    - `delivering` is set during a delivery.
    """

    __slots__ = (
        "accept",
        "closed",
        "context",
        "delivering",
        "due",
        "events",
        "lock",
        "loop",
        "name",
        "refused",
        "thread",
    )

    def __init__(
        self, name: str, loop: AbstractEventLoop, context: Context, accept: Callable[[Any], None]
    ) -> None:
        self.name: str = name
        self.loop: AbstractEventLoop = loop
        self.thread: int = get_ident()
        self.context: Context = context
        # Unlike `send`, it does not check the thread. If the loop runs in another thread than before, `send` would hand
        # the event back to this inbox for ever (guarantee 6.1).
        self.accept: Callable[[Any], None] = accept
        self.events: deque[Any] = deque()
        # Reentrant: the collector may run within `put`, and a finalizer may send.
        self.lock: AbstractContextManager[bool] = RLock()
        self.due: ref[Any] | None = None
        # By the id of the type, as in the bus's table.
        self.refused: dict[int, type[Any]] = {}
        self.closed: bool = False
        self.delivering: bool = False

    def put(self, event: Any) -> None:
        """Add an event. Any thread but the bus's own calls this. It wakes the loop once for each burst.

        Raises:
            ContextMissing: The readers of the scope have ended.
            RuntimeError: The loop is closed, or runs in this thread.
        """
        with self.lock:
            self.check(type(event))
            if self.loop.is_closed():
                raise loop_closed("send()", self.name)
            if _get_running_loop() is self.loop:
                raise elsewhere("send()", self.loop, self.thread, self.loop)
            if self.due is None:
                try:
                    self.ask()
                except RuntimeError as error:  # closed meanwhile
                    raise loop_closed("send()", self.name) from error
            self.events.append(event)

    def ask(self) -> None:
        """Ask the loop to call `deliver_some`."""
        handle = self.loop.call_soon_threadsafe(self.deliver_some, context=self.context)
        self.due = ref(handle, self.ask_again)

    def ask_again(self, due: ref[Any]) -> None:
        """The handle is gone: an exception made the loop drop it just before the call (guarantee 2.16)."""
        with self.lock:
            if self.due is due:
                self.due = None
                if self.events and not self.loop.is_closed():
                    self.ask()

    def check(self, event_type: type[Any]) -> None:
        """Raise if events of this type have no reader any more. Any thread but the bus's own calls this."""
        if self.closed or id(event_type) in self.refused:
            raise readers_ended(f"send() of {name_of_type(event_type)}", self.name)

    def refuse(self, event_types: Iterable[type[Any]]) -> bool:
        """Refuse events of these types from now on, unless events wait here. Return whether it did. In the loop."""
        with self.lock:
            if self.events:
                return False
            self.refused.update((id(event_type), event_type) for event_type in event_types)
            return True

    def deliver_some(self) -> None:
        """The loop calls this. Deliver a thousand events at most, so that the loop gets its turn."""
        self.due = None
        try:
            self.take(min(len(self.events), TURN))
        finally:
            with self.lock:
                if self.events and self.due is None:
                    self.ask()

    def deliver(self, *, close: bool = False) -> bool:
        """Deliver all events, and return whether there were any. In the loop."""
        with self.lock:
            self.closed = self.closed or close
            number = len(self.events)
        return self.take(number)

    def abandon(self) -> None:
        """Refuse all events from now on. After a fork, the lock may be held by a thread that does not exist here."""
        self.lock = RLock()
        self.closed = True

    def take(self, number: int) -> bool:
        # During a delivery the collector may run a finalizer that subscribes, which calls this again. Later events must
        # not overtake the one in hand.
        if self.delivering:
            return False
        self.delivering = True
        try:
            for _ in range(number):
                self.accept(self.events.popleft())
        finally:
            self.delivering = False
        return number > 0

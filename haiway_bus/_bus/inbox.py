"""Events from other threads, on their way to the loop of their bus (guarantee 6.2). Both twins use this one."""

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
from haiway_bus._values.printable import name_of_type

__all__ = ("Inbox",)

# How many events are delivered before the loop gets a turn.
TURN: Final = 1024


class Inbox:
    """What other threads sent and the loop has not delivered yet.

    Invariants, under `lock`: events are in the order in which `put` was called; while there are any, `deliver_some` is
    asked of the loop (`due` is its handle) or running; of the types in `refused` nothing is put, and once `closed`
    nothing at all. So an event is delivered while somebody can read it, or its send raises. `delivering` while one is
    being delivered.
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
        # Does not ask which thread it is in. `send` would, and hand the event back for ever where the loop is run in
        # another thread than before (guarantee 6.1).
        self.accept: Callable[[Any], None] = accept
        self.events: deque[Any] = deque()
        # One that its holder may take again: the collector may run within `put`, and a finalizer may send.
        self.lock: AbstractContextManager[bool] = RLock()
        self.due: ref[Any] | None = None
        # By identity, as in the bus's table.
        self.refused: dict[int, type[Any]] = {}
        self.closed: bool = False
        self.delivering: bool = False

    def put(self, event: Any) -> None:
        """Called in any thread but the bus's own. Wakes the loop once a burst.

        Raises ContextMissing when the scope's readers have ended, RuntimeError when the loop is closed or runs in this
        thread.
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
        """Have the loop call `deliver_some`."""
        handle = self.loop.call_soon_threadsafe(self.deliver_some, context=self.context)
        self.due = ref(handle, self.ask_again)

    def ask_again(self, due: ref[Any]) -> None:
        """The handle is gone: the loop has lost it, to an exception as it was about to call (guarantee 2.16)."""
        with self.lock:
            if self.due is due:
                self.due = None
                if self.events and not self.loop.is_closed():
                    self.ask()

    def check(self, event_type: type[Any]) -> None:
        """Called in any thread but the bus's own: raise when what it sends of this type has no reader any more."""
        if self.closed or id(event_type) in self.refused:
            raise readers_ended(f"send() of {name_of_type(event_type)}", self.name)

    def refuse(self, event_types: Iterable[type[Any]]) -> bool:
        """Called in the loop: put no more events of these types. False, and nothing is refused, when some are here."""
        with self.lock:
            if self.events:
                return False
            self.refused.update((id(event_type), event_type) for event_type in event_types)
            return True

    def deliver_some(self) -> None:
        """Called by the loop: deliver what has come, a thousand at a time, so that the loop gets its turn."""
        self.due = None
        try:
            self.take(min(len(self.events), TURN))
        finally:
            with self.lock:
                if self.events and self.due is None:
                    self.ask()

    def deliver(self, *, close: bool = False) -> bool:
        """Called in the loop: deliver all that has come, and say whether that was anything."""
        with self.lock:
            self.closed = self.closed or close
            number = len(self.events)
        return self.take(number)

    def abandon(self) -> None:
        """Put nothing any more. Also where this process was forked while another thread, not here now, had the lock."""
        self.lock = RLock()
        self.closed = True

    def take(self, number: int) -> bool:
        # Within a delivery the collector may run a finalizer that subscribes, and so asks for this. What follows the
        # event in hand must not overtake it.
        if self.delivering:
            return False
        self.delivering = True
        try:
            for _ in range(number):
                self.accept(self.events.popleft())
        finally:
            self.delivering = False
        return number > 0

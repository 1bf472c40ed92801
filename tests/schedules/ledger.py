"""What must be true after every step of every schedule, kept by doing what the bus does in the plainest way.

Each subscription has an `Account` beside it: the list of the events that should be waiting in it. `World.send` appends
to it, `took` compares what a reader got with its head. As the loop has one thread and each read is entered in the
account by the step that took the event, the two may never differ, not even for one step.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import QueueEmpty, Task
from collections import deque
from typing import Any

__all__ = ("Account", "Event", "Other", "World", "all_taken")


class Event:
    """What models send. Numbers count all events of a schedule, in the order sent."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.number}"


class Other(Event):
    pass


class Quiet:
    """An observability that keeps what it is told, for models to look at."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def scope_entered(self, scope: Any) -> None: ...

    def scope_exited(self, scope: Any, exception: BaseException | None) -> None: ...

    def log(self, *told: Any) -> None:
        self.told.append(told)

    record_attributes = record_event = record_metric = log

    def messages(self) -> list[str]:
        return [told[2] % told[3] for told in self.told]

    def dropped(self) -> int:
        """How many dropped events it was told of."""
        return sum(told[3][1] for told in self.told if "dropped" in str(told[2]))


class Account:
    """The books of one subscription.

    Invariants: `expected` are the events that wait in it, `received + lost + len(expected)` is what was sent since
    it was made (guarantee 2.1, 4.2). `line` are the readers that asked and were not served yet, by the order in
    which they asked. `overflow` and `limit` are as given to `subscribe`.
    """

    def __init__(
        self, world: World, subscription: Any, bus: Any, limit: int, overflow: str
    ) -> None:
        self.world = world
        self.subscription = subscription
        self.event_type = subscription.event_type
        self.bus = bus
        self.limit = limit
        self.overflow = overflow
        self.sent = 0
        self.received: list[Any] = []
        self.lost = 0
        self.expected: deque[Any] = deque()
        self.gaps: dict[int, int] = {}
        self.line: dict[int, Task[Any]] = {}
        self.busy: dict[Task[Any], Any] = {}
        self.tickets = 0
        self.served = -1
        self.closed = False

    def was_sent(self, event: Any) -> None:
        self.sent += 1
        if not self.limit or len(self.expected) < self.limit:
            self.expected.append(event)
        else:
            self.lost += 1
            if self.overflow == "drop_oldest":
                self.expected.popleft()
                self.expected.append(event)
            elif self.overflow == "raise":
                # Refused at the end of the line: the reader hears of it after what waits now.
                at = len(self.received) + len(self.expected)
                self.gaps[at] = self.gaps.get(at, 0) + 1

    def asks(self) -> int:
        """A reader comes for an event: called by its task right before the read."""
        ticket = self.tickets
        self.tickets += 1
        task = asyncio.current_task()
        assert task is not None
        self.line[ticket] = task
        self.busy.pop(task, None)
        return ticket

    def took(self, ticket: int, event: Any) -> None:
        """The reader got the event: called by its task in the step of the read."""
        self.is_next(event)
        self.serves(ticket, event)

    def serves(self, ticket: int, event: Any) -> None:
        # Guarantee 2.4, first come, first served. Who is being cancelled or whose loop is being ended has left the
        # line already, though its task has not run yet to say so; it must not come for an event after all.
        assert ticket > self.served, f"reader {ticket} was overtaken by reader {self.served}"
        self.served = ticket
        self.busy[self.line.pop(ticket)] = event
        if not self.world.ending:
            for other, task in self.line.items():
                assert other > ticket or task.cancelling(), f"{ticket} overtook {other} ({task!r})"

    def took_batch(self, ticket: int, events: list[Any], limit: int) -> None:
        assert 1 <= len(events) <= limit, events
        for event in events:
            self.is_next(event)
        self.serves(ticket, events[0])

    def is_next(self, event: Any) -> None:
        assert not self.closed, f"{event!r} came out of a closed subscription"
        assert self.expected, f"{event!r} came, and none was waiting"
        due = self.expected.popleft()
        assert event is due, f"{event!r} came, and {due!r} was next"
        assert len(self.received) not in self.gaps, f"{event!r} came before the news of a loss"
        self.received.append(event)

    def heard_of_loss(self, ticket: int, lost: int) -> None:
        """The reader got a SubscriptionOverflow in the place of what was lost (guarantee 4.1)."""
        self.is_due(lost)
        # Nothing to be busy with: the news is older than whatever is sent from now on.
        self.serves(ticket, None)

    def is_due(self, lost: int) -> None:
        due = self.gaps.pop(len(self.received), 0)
        assert lost == due, f"heard of {lost} lost here, and {due} were"

    def unfinished(self) -> list[Any]:
        """The events that wait or that a reader has not come back from."""
        busy = [event for task, event in self.busy.items() if event is not None and not task.done()]
        return [] if self.closed else [*busy, *self.expected]

    def leaves(self, ticket: int) -> None:
        """The reader is gone, served or not."""
        self.line.pop(ticket, None)

    def close(self) -> None:
        self.subscription.close()
        self.closed = True

    def check(self) -> None:
        """The accounting of one moment: received + dropped + pending = sent since subscribe."""
        subscription = self.subscription
        if self.closed:
            assert subscription.pending == 0
            return
        pending = subscription.pending
        dropped = subscription.dropped
        if (
            pending != len(self.expected)
            or dropped != self.lost
            or len(self.received) + dropped + pending != self.sent
        ):
            raise AssertionError(
                f"{subscription!r}: received {len(self.received)}, dropped {dropped}, pending {pending},"
                f" sent {self.sent}; should wait: {list(self.expected)}, should be dropped: {self.lost}"
            )
        assert not self.limit or pending <= self.limit

    def settle(self) -> None:
        """At the end, when nobody reads: what waits is what should wait."""
        if self.closed:
            return
        while self.expected or self.gaps:
            try:
                event = self.subscription.receive_nowait()
            except QueueEmpty:
                raise AssertionError(f"{self.subscription!r} kept back {self.expected}") from None
            except Exception as error:
                if not hasattr(error, "lost"):
                    raise
                self.is_due(error.lost)
            else:
                self.is_next(event)
        try:
            extra = self.subscription.receive_nowait()
        except QueueEmpty:
            return
        raise AssertionError(f"{extra!r} was left over")


class World:
    """What a model works with: the package under test, with books kept of all that is sent and read.

    `ending` is set by models whose scope ends while readers wait: a wait that was ended leaves the line before its
    task has run to say so.
    """

    def __init__(self, hb: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.hb = hb
        self.ctx = hb.ctx
        self.loop = loop
        self.accounts: list[Account] = []
        self.observability = Quiet()
        self.number = 0
        self.ending = False

    def scope(self, name: str = "root", **options: Any) -> Any:
        # Time passes at will here: nobody is to be warned of it.
        options.setdefault("warn_after", None)
        if self.hb._bus.current.get() is None or options.get("isolated"):
            options.setdefault("turn", math.inf)  # no clock has a say in the order of things
        return self.ctx.scope(name, observability=self.observability, **options)

    def subscribe(
        self, event_type: type[Event] = Event, limit: int = 0, overflow: str = "drop_oldest"
    ) -> Account:
        options: dict[str, Any] = {"limit": limit, "overflow": overflow} if limit else {}
        subscription = self.ctx.subscribe(event_type, **options)
        return self.enter(subscription, limit, overflow)

    def enter(self, subscription: Any, limit: int = 0, overflow: str = "drop_oldest") -> Account:
        """Keep books of a subscription that stands since this very step."""
        bus = self.hb._bus.current.get()
        account = Account(self, subscription, bus, limit, overflow)
        self.accounts.append(account)
        return account

    def send(self, event_type: type[Event] = Event) -> Any:
        event = event_type(self.number)
        self.ctx.send(event)
        self.number += 1
        bus = self.hb._bus.current.get()
        for account in self.accounts:
            if account.event_type is event_type and account.bus is bus and not account.closed:
                account.was_sent(event)
        return event

    async def flush(self, event_type: type[Event] = Event, timeout: float | None = None) -> None:
        """Guarantee 4.4: when it returns, nothing is unfinished that was sent before the call."""
        sent_before = self.number
        bus = self.hb._bus.current.get()
        await self.ctx.flush(event_type, timeout=timeout)
        for account in self.accounts:
            if account.event_type is event_type and account.bus is bus:
                late = [one for one in account.unfinished() if one.number < sent_before]
                assert not late, f"flushed, and {late} of {account.subscription!r} not finished"

    def check(self) -> None:
        for account in self.accounts:
            account.check()

    def settle(self) -> None:
        for account in self.accounts:
            account.settle()
        lost = sum(account.lost for account in self.accounts)
        assert self.observability.dropped() == lost, "a drop was silent (guarantee 4.2)"


def all_taken(*accounts: Account) -> None:
    """Guarantee 5.4: nothing that was sent by work in progress is lost."""
    for account in accounts:
        assert account.subscription.pending == 0, account.subscription
        assert len(account.received) == account.sent

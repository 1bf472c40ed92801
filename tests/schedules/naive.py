"""The bus in the most naive way, out of lists: what `test_model.py` expects of both backends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ("Ended", "Loss", "NaiveBus", "NaiveSubscription", "NaiveWorker")


@dataclass
class Loss:
    """Stands in a list of waiting events for those that were lost there."""

    number: int


class Ended:
    """What a worker has that came away without an event."""


@dataclass(eq=False)
class NaiveWorker:
    """A task that waits for one event. `depth` is that of the scope it was spawned in, None outside of any."""

    depth: int | None
    outcome: Any = None


@dataclass(eq=False)
class NaiveBus:
    """Which scope it belongs to, by depth, the subscriptions that are open on it, and what it counts by type."""

    depth: int
    ended: bool = False
    subscriptions: list[NaiveSubscription] = field(default_factory=list)
    counted: dict[type[Any], Counter[str]] = field(default_factory=dict)

    def join(self, subscription: NaiveSubscription) -> None:
        self.subscriptions.append(subscription)
        self.counted.setdefault(subscription.event_type, Counter())

    def leave(self, subscription: NaiveSubscription) -> None:
        self.subscriptions.remove(subscription)
        if all(one.event_type is not subscription.event_type for one in self.subscriptions):
            del self.counted[subscription.event_type]

    def count(self, event_type: type[Any], what: str) -> None:
        if event_type in self.counted:
            self.counted[event_type][what] += 1

    def events(self) -> dict[type[Any], tuple[int, ...]]:
        """What `ctx.events()` should tell."""
        told = {}
        for kind, counted in self.counted.items():
            waiting = [one.pending for one in self.subscriptions if one.event_type is kind]
            told[kind] = (
                len(waiting),
                counted["sent"],
                counted["delivered"],
                counted["dropped"],
                sum(waiting),
                max(waiting),
            )
        return told

    def send(self, events: list[Any]) -> None:
        """All of them before any reader runs."""
        for event in events:
            self.count(type(event), "sent")
            for one in self.subscriptions:
                if one.event_type is type(event):
                    one.put(event)
        for one in list(self.subscriptions):
            one.serve()

    def end(self) -> None:
        self.ended = True
        for one in self.subscriptions:
            one.end_waits()
        self.subscriptions.clear()
        self.counted.clear()


@dataclass(eq=False)
class NaiveSubscription:
    """A list of what waits and a list of who waits."""

    bus: NaiveBus
    event_type: type[Any]
    limit: int | None
    overflow: str | None
    waiting: list[Any] = field(default_factory=list)
    workers: list[NaiveWorker] = field(default_factory=list)
    dropped: int = 0
    closed: bool = False

    @property
    def pending(self) -> int:
        return sum(not isinstance(item, Loss) for item in self.waiting)

    @property
    def state(self) -> str:
        return "closed" if self.closed else "ended" if self.bus.ended else "open"

    def put(self, event: Any) -> None:
        if self.limit is not None and self.pending >= self.limit:
            self.dropped += 1
            self.bus.count(self.event_type, "dropped")
            if self.overflow == "raise":
                if not self.waiting or not isinstance(self.waiting[-1], Loss):
                    self.waiting.append(Loss(0))
                self.waiting[-1].number += 1
            if self.overflow in ("raise", "drop_newest"):
                return
            self.waiting.pop(0)
        self.waiting.append(event)

    def take(self) -> Any:
        item = self.waiting.pop(0)
        if not isinstance(item, Loss):
            self.bus.count(self.event_type, "delivered")
        return item

    def serve(self) -> None:
        while self.waiting and self.workers:
            self.workers.pop(0).outcome = self.take()

    def end_waits(self) -> None:
        for worker in self.workers:
            worker.outcome = Ended
        self.workers.clear()

    def close(self) -> None:
        self.closed = True
        self.waiting.clear()
        self.end_waits()
        if self in self.bus.subscriptions:
            self.bus.leave(self)

"""Where a task waited when a scope ended that wait: it tells a loop around the loop from one that goes on."""

from __future__ import annotations

from asyncio import Task
from typing import Any, NamedTuple

from haiway_bus._bus import Receive
from haiway_bus._scope.asyncio_waits import place_of

__all__ = ("Stop",)


class Stop(NamedTuple):
    """Where a task waited for an event when that wait was ended: the place in its code, and the subscription."""

    place: tuple[Any, ...]
    channel: Any
    key: int
    latest: int

    @classmethod
    def of(cls, task: Task[Any], waiting: Task[Any], receive: Receive) -> Stop:
        place = place_of(task) if waiting is task else place_of(task) + place_of(waiting)
        subscription: Any = receive.subscription  # there, as the wait is yet to be ended
        return cls(place, subscription._channel, subscription._key, subscription._channel.joined)

    def is_again(self, before: Stop) -> bool:
        """Whether it is the same place again, with the same subscription or one that was made since.

        A loop over several subscriptions is not that: they were there before.
        """
        return (
            self.place == before.place
            and self.channel.event_type is before.channel.event_type
            and (
                self.channel is not before.channel
                or self.key == before.key
                or self.key > before.latest
            )
        )

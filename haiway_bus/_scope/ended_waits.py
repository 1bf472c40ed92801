"""Where a task waited when a scope ended that wait: this tells a loop that reads again from a task that goes on."""

from __future__ import annotations

from asyncio import Task
from typing import Any, NamedTuple

from haiway_bus._bus import Receive
from haiway_bus._scope.asyncio_waits import position_of

__all__ = ("EndedWait",)


class EndedWait(NamedTuple):
    """A wait for an event that the end of a scope ended: the position in the task's code, and the subscription.

    `channel` and `key` name the subscription. `latest` is the number of subscriptions that its channel had had by then.
    """

    position: tuple[Any, ...]
    channel: Any
    key: int
    latest: int

    @classmethod
    def of(cls, task: Task[Any], reader: Task[Any], receive: Receive) -> EndedWait:
        """The wait of a task for `receive`, which the task awaits itself or through another task, the reader."""
        position = position_of(task) if reader is task else position_of(task) + position_of(reader)
        subscription: Any = receive.subscription  # not None before the wait is ended
        return cls(position, subscription._channel, subscription._key, subscription._channel.joined)

    def repeats(self, before: EndedWait) -> bool:
        """Whether the task waits at the same position again, with the same subscription or with a new one.

        A loop over several subscriptions does not repeat itself: they were there before.
        """
        return (
            self.position == before.position
            and self.channel.event_type is before.channel.event_type
            and (
                self.channel is not before.channel
                or self.key == before.key
                or self.key > before.latest
            )
        )

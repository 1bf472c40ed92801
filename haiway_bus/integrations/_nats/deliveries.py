"""How many times a message was handed to readers of its group, which is what makes it a dead letter in the end.

The server counts deliveries, also those of messages that had only arrived when the readers left or the process died.
Which of them was the fault of the message is the better known the fewer others are handed over with it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from nats.aio.msg import Msg

from haiway_bus.integrations._nats.bridge_errors import Undecodable
from haiway_bus.integrations._nats.pull import numbers

__all__ = ("Tries",)

MOST_SPARED: Final = 100_000
# How many go over together the second time is a quarter of this, the third time a sixteenth...
MOST_TOGETHER: Final = 256
MANY: Final = 2**31


class Tries:
    """Counts the deliveries of one lane's messages that reached its readers.

    Invariant: `_spared` has, by sequence, how many deliveries ended here without a hand-over. It is for this process
    to know; another one, after the end of this, counts them all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._spared: dict[int, int] = {}

    def of(self, message: Msg) -> int:
        """How many times it was handed over, the time that is to come included."""
        sequence, delivered = numbers(message.reply)
        return max(delivered - self._spared.get(sequence, 0), 1)

    def together(self, message: Msg) -> int:
        """How many others like it may be here, and be handed over, with it.

        As many as there are the first time; then the fewer the oftener it was tried, and none for the second half of
        its tries: so that one which ends its process leaves the others behind soon.
        """
        tries = self.of(message)
        if tries > self._most // 2:
            return 1
        return MANY if tries == 1 else max(MOST_TOGETHER >> 2 * (tries - 1), 1)

    def width(self, batch: Sequence[Msg], most: int) -> int:
        """How many messages to have here while these are, `most` if nothing is against it."""
        return min(most, *map(self.together, batch))

    def check(self, message: Msg) -> None:
        """Raise Undecodable for one that has used up its tries."""
        tries = self.of(message)
        if tries > self._most:
            raise Undecodable(
                f"handed to readers of this group {tries - 1} times and never acknowledged: an event that was so"
                f" {self._most} times is taken for one that ends whoever handles it"
            )

    def parts(self, batch: Sequence[Msg]) -> Iterator[list[Msg]]:
        """What is to be handed over together, what was tried the least first.

        What was tried before comes in any order, so that it is not the same one which always goes before the others.
        """
        tried: dict[int, list[Msg]] = {}
        for message in batch:
            tried.setdefault(self.of(message), []).append(message)
        for tries, messages in sorted(tried.items()):
            if tries > 1:
                random.shuffle(messages)
            size = self.together(messages[0])
            for begin in range(0, len(messages), size):
                yield messages[begin : begin + size]

    def spare(self, message: Msg) -> None:
        """This delivery goes back to the server, and no reader had it."""
        sequence, _ = numbers(message.reply)
        self._spared[sequence] = self._spared.pop(sequence, 0) + 1
        if len(self._spared) > MOST_SPARED:
            # Others of the group have it, most likely.
            del self._spared[next(iter(self._spared))]

    def forget(self, message: Msg) -> None:
        """It was acknowledged."""
        self._spared.pop(numbers(message.reply)[0], None)

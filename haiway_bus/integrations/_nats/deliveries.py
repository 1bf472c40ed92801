"""What a lane remembers about messages, by their number in the stream: how often each was tried, and what is done.

The server counts every delivery, also of messages that had only arrived when the readers left or the process died. The
fewer messages are handed over together, the better we know which of them is at fault.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from nats.aio.msg import Msg

from haiway_bus.integrations._nats.decoding import Undecodable
from haiway_bus.integrations._nats.pull import numbers

__all__ = ("StreamPosition", "Tries")

MOST_SPARED: Final = 100_000
# At the second try a quarter of this number goes over together, at the third a sixteenth, and so on.
MOST_TOGETHER: Final = 256
NO_LIMIT: Final = 2**31


class Tries:
    """Counts how often each message of a lane was handed to readers. Too many tries make it a dead letter.

    Invariant: `_spared` has, by sequence, how many deliveries ended here without a hand-over. Only this process knows
    them; the next process counts them as tries.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._spared: dict[int, int] = {}

    def of(self, message: Msg) -> int:
        """Return how many times the message was handed over, the coming time included."""
        sequence, delivered = numbers(message.reply)
        return max(delivered - self._spared.get(sequence, 0), 1)

    def together(self, message: Msg) -> int:
        """Return how many messages with as many tries may be here, and be handed over, together.

        There is no limit at the first try. Each further try lowers it, and in the second half of its tries a message
        goes alone: so a message that ends its process soon leaves the others behind.
        """
        tries = self.of(message)
        if tries > self._most // 2:
            return 1
        return NO_LIMIT if tries == 1 else max(MOST_TOGETHER >> 2 * (tries - 1), 1)

    def width(self, batch: Sequence[Msg], most: int) -> int:
        """Return how many messages may be here while these are here, at most `most`."""
        return min(most, *map(self.together, batch))

    def check(self, message: Msg) -> None:
        """Raise Undecodable for a message that has used up its tries."""
        tries = self.of(message)
        if tries > self._most:
            raise Undecodable(
                f"handed to readers of this group {tries - 1} times and never acknowledged:"
                f" max_deliveries= allows {self._most}. It may be what ends the process that handles it"
            )

    def parts(self, batch: Sequence[Msg]) -> Iterator[list[Msg]]:
        """Yield the messages that are to be handed over together, those with the fewest tries first.

        Messages that were tried before come in random order, so that the same message is not always first.
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
        """Note that this delivery goes back to the server and that no reader had it."""
        sequence, _ = numbers(message.reply)
        self._spared[sequence] = self._spared.pop(sequence, 0) + 1
        if len(self._spared) > MOST_SPARED:
            # Most likely another process of the group has that message by now.
            del self._spared[next(iter(self._spared))]

    def forget(self, message: Msg) -> None:
        """Note that the message was acknowledged."""
        self._spared.pop(numbers(message.reply)[0], None)


class StreamPosition:
    """How far a lane has come in the stream.

    The server forgets a consumer after some time without a pull. The next consumer goes on from here.

    Invariant: `_last` is the last sequence that was acknowledged, or the sequence before the consumer's first. `_open`
    holds the sequences that came and went back.
    """

    def __init__(self) -> None:
        self.begun: bool = False
        self._last = 0
        self._open: set[int] = set()

    @property
    def after(self) -> int | None:
        """The sequence up to which all messages are done; None before there was a consumer."""
        if not self.begun:
            return None
        return min(self._open) - 1 if self._open else self._last

    def begin(self, last: int) -> None:
        """Note that a consumer exists and has delivered the messages up to this sequence.

        It can be behind what we know only when the stream is new and counts from 1 again.
        """
        if self.after is None or last < self.after:
            self._last, self._open = last, set()
        self.begun = True

    def acknowledged(self, sequence: int) -> None:
        """Note that the message with this sequence is done."""
        self._open.discard(sequence)
        self._last = max(self._last, sequence)

    def given_back(self, sequence: int) -> None:
        """Note that the message with this sequence went back to the server."""
        self._open.add(sequence)

"""How far a consumer has come that the server forgets when nobody pulls: so that another can go on where it was."""

from __future__ import annotations

__all__ = ("Progress",)


class Progress:
    """By the messages' numbers in the stream, what is done with.

    Invariant: `_last` is the last that was acknowledged, or before which the consumer began; `_open` are those that
    came and went back.
    """

    def __init__(self) -> None:
        self.begun: bool = False
        self._last = 0
        self._open: set[int] = set()

    @property
    def after(self) -> int | None:
        """The number up to which all is done with; None before there was a consumer."""
        if not self.begun:
            return None
        return min(self._open) - 1 if self._open else self._last

    def begin(self, last: int) -> None:
        """A consumer is there that has brought the messages up to this number.

        It can have brought less than was known only in a stream that was made anew, with the numbers from 1 on.
        """
        if self.after is None or last < self.after:
            self._last, self._open = last, set()
        self.begun = True

    def acknowledged(self, sequence: int) -> None:
        self._open.discard(sequence)
        self._last = max(self._last, sequence)

    def given_back(self, sequence: int) -> None:
        self._open.add(sequence)

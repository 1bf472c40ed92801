"""What is sent. Each event names the one that follows it, so that a reader can check the order at little cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ("Event", "OutOfOrder", "cycle")


class Event:
    """What is sent where any object can be; contenders that demand a class of their own get one with these fields."""

    __slots__ = ("following", "number")

    def __init__(self, *, number: int, following: int) -> None:
        self.number = number
        self.following = following


class OutOfOrder(AssertionError):  # noqa: N818 - what a reader found, and it says so
    """Raised when a reader is given another event than the next one."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"events come in the order sent: expected number {expected}, got {got}")


def cycle(make: Callable[..., Any], size: int) -> list[Any]:
    """Events 0 to size - 1, the last of which is followed by the first: send the list as often as you like."""
    return [make(number=number, following=(number + 1) % size) for number in range(size)]

"""Every exception the package raises of its own, each with the one reason for it."""

from __future__ import annotations

__all__ = (
    "ContextMissing",
    "ContextStateMissing",
    "StateError",
    "SubscriptionClosed",
    "SubscriptionOverflow",
)


class ContextMissing(RuntimeError):
    """Raised when the call needs a scope and none is open here, or the one it had has ended."""


class ContextStateMissing(LookupError):
    """Raised when no scope holds an instance of the asked type and none can be made from defaults."""


class StateError(TypeError, ValueError):
    """Raised when a State class cannot be made as annotated, or a value does not fit its field.

    `problems` lists every wrong place as a pair of path and reason, in the order of the fields:
    `("Order.items[3].price", "expected float, given str 'x'")`. The message says the same.
    """

    problems: tuple[tuple[str, str], ...]

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class SubscriptionClosed(LookupError):
    """Raised when a subscription ended before the one event came that `first()` was waiting for."""


class SubscriptionOverflow(RuntimeError):
    """Raised in a reader at the place where its subscription lost events, having been full.

    `lost` is their number. Reading goes on after it (contract 4.1).
    """

    def __init__(self, message: str, lost: int) -> None:
        super().__init__(message, lost)
        self.lost = lost

    def __str__(self) -> str:
        return str(self.args[0])

"""The exceptions of the package, each with its only reason."""

from __future__ import annotations

__all__ = (
    "ContextMissing",
    "ContextStateMissing",
    "StateError",
    "SubscriptionClosed",
    "SubscriptionOverflow",
)


class ContextMissing(RuntimeError):
    """Raised when a call needs a current scope, and there is none or it has ended."""


class ContextStateMissing(LookupError):
    """Raised when no scope holds an instance of the requested type, and its defaults cannot make one."""


class StateError(TypeError, ValueError):
    """Raised when the annotations of a State class cannot be used, or a value does not fit its field.

    Attributes:
        problems: A pair of path and reason for each wrong value, in the order of the fields, such as
            `("Order.items[3].price", "expected float, given str 'x'")`. The message says the same.
    """

    problems: tuple[tuple[str, str], ...]

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class SubscriptionClosed(LookupError):
    """Raised when a subscription ends before the event comes that `first()` waits for."""


class SubscriptionOverflow(RuntimeError):
    """Raised in a reader in place of the events that its full subscription lost. The next read goes on after them.

    Attributes:
        lost: The number of lost events.
    """

    def __init__(self, message: str, lost: int) -> None:
        super().__init__(message, lost)
        self.lost = lost

    def __str__(self) -> str:
        return str(self.args[0])

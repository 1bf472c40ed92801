"""Every exception the package raises of its own, each with the one reason for it."""

from __future__ import annotations

__all__ = ("ContextMissing", "ContextStateMissing", "StateError")


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

"""Every exception the package raises of its own, each with the one reason for it."""

from __future__ import annotations

__all__ = ("ContextMissing", "ContextStateMissing", "StateError")


class ContextMissing(RuntimeError):
    """Raised when the call needs a scope and none is open here, or the one it had has ended."""


class ContextStateMissing(LookupError):
    """Raised when no scope holds an instance of the asked type and none can be made from defaults."""


class StateError(TypeError, ValueError):
    """Raised when a State class cannot be made as annotated, or a value does not fit its field."""

"""Typed events for asyncio services: sent by a plain call, read with `async for`, kept apart by scopes."""

from typing import TYPE_CHECKING

from haiway_bus._bus import Subscription, backend
from haiway_bus._bus.stats import EventStats
from haiway_bus._scope.disposables import Disposable
from haiway_bus._scope.scope import Scope
from haiway_bus._scope.waiting import WaitingTask
from haiway_bus._state import MISSING, Alias, Default, Epoch, FrozenMap, JsonValue, State
from haiway_bus.ctx import ctx
from haiway_bus.errors import (
    ContextMissing,
    ContextStateMissing,
    StateError,
    SubscriptionClosed,
    SubscriptionOverflow,
)
from haiway_bus.observability import LoggingObservability, Observability, ScopeIdentity

__all__ = (
    "MISSING",
    "Alias",
    "ContextMissing",
    "ContextStateMissing",
    "Default",
    "Disposable",
    "Epoch",
    "EventStats",
    "FrozenMap",
    "JsonValue",
    "LoggingObservability",
    "Observability",
    "Scope",
    "ScopeIdentity",
    "State",
    "StateError",
    "Subscription",
    "SubscriptionClosed",
    "SubscriptionOverflow",
    "WaitingTask",
    "backend",
    "ctx",
)

__version__: str

if not TYPE_CHECKING:  # or any name would be an attribute to a type checker

    def __getattr__(name: str) -> str:
        """The version, out of the metadata: asked for only when somebody wants it, since that takes its time."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("haiway-bus")

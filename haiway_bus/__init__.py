"""Typed events for asyncio services: sent by a plain call, read with `async for`, kept apart by scopes."""

from haiway_bus._bus import Subscription, backend
from haiway_bus._bus.stats import EventStats
from haiway_bus._scope.disposables import Disposable
from haiway_bus._scope.scope import Scope
from haiway_bus._scope.waiting import WaitingTask
from haiway_bus.ctx import ctx
from haiway_bus.errors import (
    ContextMissing,
    ContextStateMissing,
    StateError,
    SubscriptionClosed,
    SubscriptionOverflow,
)
from haiway_bus.observability import LoggingObservability, Observability, ScopeIdentity
from haiway_bus.state import MISSING, Alias, Default, FrozenMap, State

__all__ = (
    "MISSING",
    "Alias",
    "ContextMissing",
    "ContextStateMissing",
    "Default",
    "Disposable",
    "EventStats",
    "FrozenMap",
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

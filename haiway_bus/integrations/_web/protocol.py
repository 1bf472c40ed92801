"""The types of ASGI 3, as far as the web integrations use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

__all__ = ("SCOPE_KEY", "ASGIApplication", "ASGIMessage", "ASGIReceive", "ASGISend")

ASGIMessage: TypeAlias = MutableMapping[str, Any]
ASGIReceive: TypeAlias = Callable[[], Awaitable[ASGIMessage]]
ASGISend: TypeAlias = Callable[[ASGIMessage], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

# The key under which a request's ASGI scope, a dict, holds its ScopeMiddleware.
SCOPE_KEY: Final = "haiway_bus"

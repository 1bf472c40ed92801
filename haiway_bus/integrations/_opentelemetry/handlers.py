"""How long the handlers of `ctx.on` take, and how often they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import Meter

from haiway_bus import ScopeIdentity
from haiway_bus.integrations._opentelemetry.attributes import type_name
from haiway_bus.integrations._opentelemetry.metric_names import EVENT, HANDLER, SCOPE

__all__ = ("HandlerInstruments",)


class HandlerInstruments:
    """A histogram and a counter, by the scope of the handler, its events and its name."""

    __slots__ = ("_errors", "_seconds")

    def __init__(self, meter: Meter) -> None:
        self._seconds = meter.create_histogram(
            "haiway_bus.handler.duration", "s", "How long a handler took for an event"
        )
        self._errors = meter.create_counter(
            "haiway_bus.handler.errors", "{event}", "Events that a handler failed to handle"
        )

    def watch(
        self, scope: ScopeIdentity, handler: str, event_type: type[Any]
    ) -> Callable[[float, BaseException | None], None]:
        """What is to be called after each event of the handler."""
        attributes = {SCOPE: scope.name, EVENT: type_name(event_type), HANDLER: handler}
        self._errors.add(0, attributes)  # so that the first error is seen to be one more

        def told(seconds: float, error: BaseException | None) -> None:
            self._seconds.record(seconds, attributes)
            if error is not None:
                self._errors.add(1, attributes)

        return told

"""The instruments that are written to: those of `ctx.record(metric=...)`, and those of the handlers of `ctx.on`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from opentelemetry.metrics import Meter

from haiway_bus import ScopeIdentity
from haiway_bus.integrations._opentelemetry.attributes import Attribute, type_name
from haiway_bus.integrations._opentelemetry.metric_names import EVENT, HANDLER, SCOPE

__all__ = ("HandlerInstruments", "RecordedInstruments")

Record: TypeAlias = Callable[[float, Mapping[str, Attribute]], Any]

_NOT_IN_A_NAME: Final = re.compile(r"[^-_./a-zA-Z0-9]")
_LONGEST_NAME: Final = 255
_LONGEST_UNIT: Final = 63


class RecordedInstruments:
    """Counters, gauges and histograms by kind, name and unit, each made when it is first recorded."""

    __slots__ = ("_made", "_meter")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._made: dict[tuple[str, str, str | None], Record] = {}

    def record(
        self,
        kind: str,
        metric: str,
        unit: str | None,
        value: float,
        attributes: Mapping[str, Attribute],
    ) -> None:
        """Record a value. OpenTelemetry refuses a negative value for a counter with a logged warning."""
        key = (kind, metric, unit)
        record = self._made.get(key)
        if record is None:
            record = self._made[key] = self._make(kind, metric_name(metric), metric_unit(unit))
        record(value, attributes)

    def _make(self, kind: str, name: str, unit: str) -> Record:
        if kind == "counter":
            return self._meter.create_counter(name, unit).add
        if kind == "gauge":
            return self._meter.create_gauge(name, unit).set
        return self._meter.create_histogram(name, unit).record


def metric_name(metric: str) -> str:
    """Return the name as OpenTelemetry allows it. Recording must not fail, so a name is changed and not refused."""
    name = _NOT_IN_A_NAME.sub("_", metric)
    if not name[:1].isalpha():
        name = f"m{name}"
    return name[:_LONGEST_NAME]


def metric_unit(unit: str | None) -> str:
    """Return the unit; an empty text if OpenTelemetry does not allow it."""
    return unit if unit is not None and unit.isascii() and len(unit) <= _LONGEST_UNIT else ""


class HandlerInstruments:
    """How long handlers take and how often they fail: a histogram and a counter, by scope, event type and handler."""

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
        """Return the function to call after each event of the handler."""
        attributes = {SCOPE: scope.name, EVENT: type_name(event_type), HANDLER: handler}
        self._errors.add(0, attributes)  # begin at 0, so that the first error shows as an increase

        def handled(seconds: float, error: BaseException | None) -> None:
            self._seconds.record(seconds, attributes)
            if error is not None:
                self._errors.add(1, attributes)

        return handled

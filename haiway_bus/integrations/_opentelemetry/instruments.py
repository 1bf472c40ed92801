"""The instruments of `ctx.record(metric=...)`: made when a metric is first recorded, and kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from opentelemetry.metrics import Meter

from haiway_bus.integrations._opentelemetry.attributes import Attribute

__all__ = ("Instruments",)

Record: TypeAlias = Callable[[float, Mapping[str, Attribute]], Any]

_NOT_IN_A_NAME: Final = re.compile(r"[^-_./a-zA-Z0-9]")
_LONGEST_NAME: Final = 255
_LONGEST_UNIT: Final = 63


class Instruments:
    """The counters, gauges and histograms that were recorded to, by kind, name and unit."""

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
        """Add, set or distribute one value. OpenTelemetry refuses a counter's negative value with a logged warning."""
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
    """The name as OpenTelemetry allows it. A recorder must not fail the code that records, so it does not refuse."""
    name = _NOT_IN_A_NAME.sub("_", metric)
    if not name[:1].isalpha():
        name = f"m{name}"
    return name[:_LONGEST_NAME]


def metric_unit(unit: str | None) -> str:
    """The unit, or none if OpenTelemetry would not take it."""
    return unit if unit is not None and unit.isascii() and len(unit) <= _LONGEST_UNIT else ""

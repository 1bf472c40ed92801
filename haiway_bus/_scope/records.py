"""What `ctx` logs and records, handed to the recorder of the current scope."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, overload

from haiway_bus._common.arguments import is_number, offers
from haiway_bus._common.printable import described
from haiway_bus._scope.context import current_or_none
from haiway_bus.observability import LoggingObservability, MetricKind, Observability, ScopeIdentity

__all__ = ("Records",)

_KINDS: Final = ("counter", "gauge", "histogram")

_OUTSIDE: Final = LoggingObservability()


def _observed() -> tuple[Observability, ScopeIdentity | None]:
    here = current_or_none()
    return (_OUTSIDE, None) if here is None else (here.scope.observability, here.scope.identity)


class Records:
    """The part of `ctx` that logs and records."""

    __slots__ = ()

    @staticmethod
    def log_error(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level ERROR to the recorder of the current scope.

        Outside any scope it goes to the logger "haiway_bus".

        Args:
            message: The message, with %-style placeholders.
            args: The arguments for the placeholders.
            exception: An exception whose traceback is logged with the message.
        """
        recorder, scope = _observed()
        recorder.log(scope, logging.ERROR, message, args, exception)

    @staticmethod
    def log_warning(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level WARNING, as `log_error` does at ERROR."""
        recorder, scope = _observed()
        recorder.log(scope, logging.WARNING, message, args, exception)

    @staticmethod
    def log_info(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level INFO, as `log_error` does at ERROR."""
        recorder, scope = _observed()
        recorder.log(scope, logging.INFO, message, args, exception)

    @staticmethod
    def log_debug(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level DEBUG, as `log_error` does at ERROR."""
        recorder, scope = _observed()
        recorder.log(scope, logging.DEBUG, message, args, exception)

    @overload
    @staticmethod
    def record(level: int = ..., /, *, attributes: Mapping[str, Any]) -> None: ...

    @overload
    @staticmethod
    def record(
        level: int = ..., /, *, event: str, attributes: Mapping[str, Any] | None = ...
    ) -> None: ...

    @overload
    @staticmethod
    def record(
        level: int = ...,
        /,
        *,
        metric: str,
        value: float,
        unit: str | None = ...,
        kind: MetricKind = ...,
        attributes: Mapping[str, Any] | None = ...,
    ) -> None: ...

    @staticmethod
    def record(
        level: int = logging.DEBUG,
        /,
        *,
        event: str | None = None,
        metric: str | None = None,
        value: float | None = None,
        unit: str | None = None,
        kind: MetricKind = "counter",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Record an event, a metric, or attributes of the current scope.

        Args:
            level: A level of `logging`; DEBUG by default.
            event: The name of an event.
            metric: The name of a metric.
            value: The value of the metric.
            unit: The unit of the metric.
            kind: The kind of the metric: "counter", "gauge" or "histogram".
            attributes: Attributes of the event or metric; given alone, they are set on the scope.

        Raises:
            TypeError: The call gives none of event, metric and attributes, or event and metric together, or an argument
                of the wrong type.
            ValueError: The kind is not known.
        """
        check_record(level, event, metric, value, unit, kind, attributes)
        recorder, scope = _observed()
        given = attributes if attributes is not None else {}
        if metric is not None and value is not None:
            recorder.record_metric(scope, level, metric, value, unit, kind, given)
        elif event is not None:
            recorder.record_event(scope, level, event, given)
        else:
            recorder.record_attributes(scope, level, given)


def check_record(
    level: Any, event: Any, metric: Any, value: Any, unit: Any, kind: Any, attributes: Any
) -> None:
    """Raise TypeError or ValueError for arguments that `ctx.record` cannot record."""
    if not issubclass(type(level), int):
        raise TypeError(
            f"record() takes the level first, a number as logging has it, not {described(level)}:"
            " name all else, record(event=...)"
        )
    _check_text("event", event)
    _check_text("metric", metric)
    _check_text("unit", unit)
    if attributes is not None and type(attributes) is not dict and not offers(attributes, "items"):
        raise TypeError(
            f"record() takes a mapping of names and values for attributes=, not {described(attributes)}"
        )
    if metric is not None:
        if event is not None:
            raise TypeError(
                "record() takes an event or a metric, not both:"
                f" {described(event)}, {described(metric)}"
            )
        if value is None:
            raise TypeError(f"record() needs a value for the metric {described(metric)}")
        if not is_number(value) and not offers(value, "__float__"):
            raise TypeError(f"record() takes a number for value=, not {described(value)}")
        if not issubclass(type(kind), str) or str.__str__(kind) not in _KINDS:
            raise ValueError(f"record() knows the kinds {', '.join(_KINDS)}, not {described(kind)}")
    elif value is not None or unit is not None:
        raise TypeError("record() takes a value and a unit with a metric only: name the metric")
    elif event is None and attributes is None:
        raise TypeError("record() needs an event, a metric or attributes")


def _check_text(name: str, text: Any) -> None:
    if text is not None and not issubclass(type(text), str):
        raise TypeError(f"record() takes a str for {name}=, not {described(text)}")

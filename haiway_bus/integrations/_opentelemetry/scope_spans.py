"""A scope as a span: from what a scope tells to spans, span events, metrics and logs of OpenTelemetry."""

from __future__ import annotations

import logging
import os
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
)

from haiway_bus import EventStats, LoggingObservability, ScopeIdentity
from haiway_bus._common.printable import name_of_type, text_of
from haiway_bus.integrations._opentelemetry.attributes import attributes_of
from haiway_bus.integrations._opentelemetry.bus_metrics import BusInstruments
from haiway_bus.integrations._opentelemetry.instruments import (
    HandlerInstruments,
    RecordedInstruments,
)
from haiway_bus.observability import MetricKind

__all__ = ("OpenTelemetryObservability",)

# Shows whether a scope is left in the context in which it was entered. OpenTelemetry's own detach() does not serve: in
# another context it logs an error.
_entered: Final[ContextVar[str]] = ContextVar("haiway_bus.opentelemetry.entered")


class OpenSpan:
    """The span of an open scope, and the tokens that restore the context."""

    __slots__ = ("entered", "span", "token")

    def __init__(self, span: Span) -> None:
        self.span: Span = span
        self.token: Token[Context] | None = None
        self.entered: Token[str] | None = None


class OpenTelemetryObservability(LoggingObservability):
    """Tells OpenTelemetry what scopes tell. Make a recorder for the service and give it to the root scope.

    - A scope is a span. It is current inside the scope, so that other spans nest in it. An exception that leaves the
      scope is recorded and sets the span's status to error. The trace id and the scope id of the scope are the ids of
      its span, so you can search a tracing backend for `ctx.trace_id()`. A scope that is entered within another trace
      (a request with its own trace, in a scope of the service) belongs to that trace and links to the scope around it.
    - `ctx.record` writes attributes and events on the span of the scope, and metrics to counters, gauges and
      histograms. A counter takes no negative values.
    - `ctx.log_...` goes to `logging`, as without OpenTelemetry, with `trace_id`, `span_id` and `scope_id` on the
      record. It happens within the span, so OpenTelemetry's handlers for `logging` find it. OpenTelemetry's own API for
      logs is not used, because it is not stable.
    - The buses are metrics. By event type: what was sent, delivered and dropped, how much waits and for how long, the
      lag of the slowest reader. By bus: open scopes, busy workers, how late the loop is. They are read when an exporter
      collects, and once a second while it goes on collecting.
    - The handlers of `ctx.on` are metrics: how long they take for an event, and how often they fail. For each event
      that costs two looks at the clock and an entry in a histogram.

    Without an SDK that is set up, only the logging is left.

    Args:
        tracer_provider: Where spans go, by default the global provider.
        meter_provider: Where metrics go, by default the global provider.
        level: `ctx.record` ignores what is below this level of `logging`. Its own default level is DEBUG.
        bus_metrics: Whether to make metrics of the buses.
        handler_metrics: Whether to time handlers and make metrics of them.
    """

    __slots__ = ("_buses", "_handlers", "_instruments", "_level", "_open", "_tracer")

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        level: int = logging.DEBUG,
        bus_metrics: bool = True,
        handler_metrics: bool = True,
    ) -> None:
        meter = metrics.get_meter("haiway_bus", meter_provider=meter_provider)
        self._tracer = trace.get_tracer("haiway_bus", tracer_provider=tracer_provider)
        self._instruments = RecordedInstruments(meter)
        self._buses = BusInstruments(meter) if bus_metrics else None
        self._handlers = HandlerInstruments(meter) if handler_metrics else None
        self._level = level
        self._open: dict[str, OpenSpan] = {}

    def identify_scope(
        self, name: str, around: ScopeIdentity | None, isolated: bool
    ) -> ScopeIdentity:
        """Start the scope's span. The ids of the scope are those of the span."""
        context = otel.get_current()
        current = trace.get_current_span(context).get_span_context()
        links: list[Link] = []
        outer = None if around is None else self._open.get(around.scope_id)
        if outer is not None:
            outer_context = outer.span.get_span_context()
            if not current.is_valid:
                # The scope was entered where code had attached to the scope around it (guarantee 5.9).
                context = trace.set_span_in_context(outer.span, context)
            elif outer_context.is_valid and outer_context.trace_id != current.trace_id:
                links.append(Link(outer_context))
        span = self._tracer.start_span(name, context, links=links)
        made = span.get_span_context()
        parent_id = None if around is None else around.scope_id
        isolated = isolated and around is not None
        if made.is_valid and made.span_id != current.span_id:
            identity = ScopeIdentity(
                name,
                trace.format_trace_id(made.trace_id),
                trace.format_span_id(made.span_id),
                parent_id,
                isolated,
            )
        else:  # no SDK: the span is invalid, or the current span
            trace_id = os.urandom(16).hex() if around is None else around.trace_id
            identity = ScopeIdentity(name, trace_id, os.urandom(8).hex(), parent_id, isolated)
        self._open[identity.scope_id] = OpenSpan(span)
        return identity

    def scope_entered(self, scope: ScopeIdentity) -> None:
        """Make the scope's span the current span."""
        opened = self._open.get(scope.scope_id)
        if opened is None:  # a recorder around this recorder identifies scopes itself
            opened = self._open[scope.scope_id] = OpenSpan(self._tracer.start_span(scope.name))
        opened.entered = _entered.set(scope.scope_id)
        opened.token = otel.attach(trace.set_span_in_context(opened.span))
        if self._buses is not None and (scope.parent_id is None or scope.isolated):
            self._buses.add(scope)

    def type_forgotten(
        self, scope: ScopeIdentity, event_type: type[Any], stats: EventStats
    ) -> None:
        """Keep the numbers of a type that the bus forgets."""
        if self._buses is not None:
            self._buses.keep(scope, event_type, stats)

    def watch_handler(
        self, scope: ScopeIdentity, handler: str, event_type: type[Any]
    ) -> Callable[[float, BaseException | None], object] | None:
        """Return a function that takes the time of each event and counts the failures; None without such metrics."""
        return None if self._handlers is None else self._handlers.watch(scope, handler, event_type)

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None:
        """End the scope's span, with the exception if there is one. A cancelled scope has not failed."""
        opened = self._open.pop(scope.scope_id, None)
        if self._buses is not None:
            self._buses.remove(scope)
        if opened is None:
            return
        if isinstance(exception, CancelledError):
            opened.span.set_attribute("haiway_bus.cancelled", True)
        elif exception is not None:
            name, text = name_of_type(type(exception)), text_of(exception)
            try:
                opened.span.record_exception(exception)
            except Exception:  # the str() of the exception raises: record what there is
                facts = {"exception.type": name, "exception.message": text}
                opened.span.add_event("exception", facts)
            opened.span.set_status(Status(StatusCode.ERROR, f"{name}: {text}"))
        opened.span.end()
        if opened.entered is not None and opened.token is not None:
            try:
                _entered.reset(opened.entered)
            except ValueError:
                return  # another task entered the scope: the context to restore is not here
            otel.detach(opened.token)

    def log(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None,
    ) -> None:
        """Log to `logging`, within the scope's span."""
        with self._within(scope):
            self._write(scope, level, message, args, exception)

    def _identifiers(self, scope: ScopeIdentity | None) -> dict[str, object]:
        """Return the ids for a log record: those of the scope, and of the current span, which may be the user's own."""
        found = super()._identifiers(scope)
        current = trace.get_current_span().get_span_context()
        if current.is_valid:
            found["trace_id"] = trace.format_trace_id(current.trace_id)
            found["span_id"] = trace.format_span_id(current.span_id)
        else:
            found["span_id"] = ""
        return found

    def record_attributes(
        self, scope: ScopeIdentity | None, level: int, attributes: Mapping[str, Any]
    ) -> None:
        """Set attributes of the scope's span."""
        if level < self._level:
            return
        span = self._span(scope)
        if span is not None:
            span.set_attributes(attributes_of(attributes))
        else:
            self._write(scope, level, "attributes after the end of the scope: %s", (attributes,))

    def record_event(
        self, scope: ScopeIdentity | None, level: int, event: str, attributes: Mapping[str, Any]
    ) -> None:
        """Add an event to the scope's span."""
        if level < self._level:
            return
        span = self._span(scope)
        if span is not None:
            span.add_event(event, attributes_of(attributes))
        else:
            self._write(
                scope, level, "event %s after the end of the scope: %s", (event, attributes)
            )

    def record_metric(
        self,
        scope: ScopeIdentity | None,
        level: int,
        metric: str,
        value: float,
        unit: str | None,
        kind: MetricKind,
        attributes: Mapping[str, Any],
    ) -> None:
        """Record a value in the instrument of its name."""
        if level >= self._level:
            self._instruments.record(kind, metric, unit, value, attributes_of(attributes))

    def _span(self, scope: ScopeIdentity | None) -> Span | None:
        if scope is None:
            return trace.get_current_span()
        opened = self._open.get(scope.scope_id)
        return None if opened is None else opened.span

    @contextmanager
    def _within(self, scope: ScopeIdentity | None) -> Iterator[None]:
        # Sometimes no span is current: the bus reports drops in a callback of the loop, and unread events after the
        # scope's own span has ended.
        if scope is None or trace.get_current_span().get_span_context().is_valid:
            yield
            return
        opened = self._open.get(scope.scope_id)
        span = NonRecordingSpan(_span_context(scope)) if opened is None else opened.span
        token = otel.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            otel.detach(token)


def _span_context(scope: ScopeIdentity) -> SpanContext:
    return SpanContext(
        int(scope.trace_id, 16),
        int(scope.scope_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )

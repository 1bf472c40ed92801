"""The recorder: what a scope tells, as spans, span events, metrics and logs of OpenTelemetry."""

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
from haiway_bus._values.printable import name_of_type, text_of
from haiway_bus.integrations.opentelemetry.attributes import attributes_of
from haiway_bus.integrations.opentelemetry.buses import BusInstruments
from haiway_bus.integrations.opentelemetry.handlers import HandlerInstruments
from haiway_bus.integrations.opentelemetry.instruments import Instruments
from haiway_bus.observability import MetricKind

__all__ = ("OpenTelemetryObservability",)

# Tells whether a scope is left in the context in which it was entered. OpenTelemetry's own detach() cannot be asked:
# in another context it logs an error.
_entered: Final[ContextVar[str]] = ContextVar("haiway_bus.opentelemetry.entered")


class Opened:
    """The span of a scope that is open, and what makes the context what it was before."""

    __slots__ = ("entered", "span", "token")

    def __init__(self, span: Span) -> None:
        self.span: Span = span
        self.token: Token[Context] | None = None
        self.entered: Token[str] | None = None


class OpenTelemetryObservability(LoggingObservability):
    """Tells OpenTelemetry what scopes tell (contract 8.2). Make one for a service and give it to the root scope.

    - A scope is a span, current inside the scope, so that other spans nest in it; the exception that leaves it is
      recorded and makes its status an error. The scope's trace id is the span's, its scope id the span id, so
      `ctx.trace_id()` is what a tracing backend can be searched for. A scope entered within another trace (a request
      with a trace of its own, in a scope of the service) belongs to that, and links to the scope around it.
    - `ctx.record` writes attributes and events on the span of the scope, and metrics to counters, gauges and
      histograms. A counter takes no negative values.
    - `ctx.log_...` goes to `logging`, like without OpenTelemetry, with `trace_id`, `span_id` and `scope_id` on the
      record, and within the span: OpenTelemetry's handlers for `logging` find it. Its own API for logs is not stable.
    - The buses are metrics, too: per type of event what was sent, delivered and dropped, what waits, for how long, and
      the lag of the slowest reader; open scopes, busy workers, how late the loop is. They are read when an exporter
      collects, and once a second as long as one does.
    - The handlers of `ctx.on` are metrics: how long each event took, and how many failed. That costs two looks at the
      clock and the entry in a histogram for each event.

    Without an SDK that is set up, only the logging is left.

    Arguments:
        tracer_provider: where spans go; the global one unless given.
        meter_provider: where metrics go; the global one unless given.
        level: the least level of `logging` at which `ctx.record` is heeded. It tells at DEBUG unless told otherwise.
        bus_metrics: whether the buses are metrics.
        handler_metrics: whether the handlers are, and so are timed.
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
        self._instruments = Instruments(meter)
        self._buses = BusInstruments(meter) if bus_metrics else None
        self._handlers = HandlerInstruments(meter) if handler_metrics else None
        self._level = level
        self._open: dict[str, Opened] = {}

    def identify_scope(
        self, name: str, around: ScopeIdentity | None, isolated: bool
    ) -> ScopeIdentity:
        """Start the scope's span; its ids are the scope's."""
        context = otel.get_current()
        current = trace.get_current_span(context).get_span_context()
        links: list[Link] = []
        outer = None if around is None else self._open.get(around.scope_id)
        if outer is not None:
            outer_context = outer.span.get_span_context()
            if not current.is_valid:
                # Entered where the scope around it was attached to, and not inherited (contract 5.9).
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
        else:  # no SDK: the span is none, or that which was current
            trace_id = os.urandom(16).hex() if around is None else around.trace_id
            identity = ScopeIdentity(name, trace_id, os.urandom(8).hex(), parent_id, isolated)
        self._open[identity.scope_id] = Opened(span)
        return identity

    def scope_entered(self, scope: ScopeIdentity) -> None:
        """Make its span the current one."""
        opened = self._open.get(scope.scope_id)
        if opened is None:  # a recorder around this one identifies scopes itself
            opened = self._open[scope.scope_id] = Opened(self._tracer.start_span(scope.name))
        opened.entered = _entered.set(scope.scope_id)
        opened.token = otel.attach(trace.set_span_in_context(opened.span))
        if self._buses is not None and (scope.parent_id is None or scope.isolated):
            self._buses.add(scope)

    def type_forgotten(
        self, scope: ScopeIdentity, event_type: type[Any], stats: EventStats
    ) -> None:
        """Keep what the bus counted of a type that it forgets."""
        if self._buses is not None:
            self._buses.keep(scope, event_type, stats)

    def watch_handler(
        self, scope: ScopeIdentity, handler: str, event_type: type[Any]
    ) -> Callable[[float, BaseException | None], object] | None:
        """Time each event of the handler, and count those at which it failed."""
        return None if self._handlers is None else self._handlers.watch(scope, handler, event_type)

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None:
        """End its span, with the exception if there is one. A cancelled scope is none that failed."""
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
            except Exception:  # the exception has no text, and is not to be replaced by that
                told = {"exception.type": name, "exception.message": text}
                opened.span.add_event("exception", told)
            opened.span.set_status(Status(StatusCode.ERROR, f"{name}: {text}"))
        opened.span.end()
        if opened.entered is not None and opened.token is not None:
            try:
                _entered.reset(opened.entered)
            except ValueError:
                return  # left by another task than the one that entered it: the context to restore is not here
            otel.detach(opened.token)

    def log(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None,
    ) -> None:
        """Log to `logging`, within a span of the scope."""
        with self._within(scope):
            self._write(scope, level, message, args, exception)

    def _identifiers(self, scope: ScopeIdentity | None) -> dict[str, object]:
        """The scope's, and those of the current span, which may be the user's own in the scope."""
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
        """Facts about the scope: attributes of its span."""
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
        """Something that happened: an event of the scope's span."""
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
        """A measured value, for the instrument of its name."""
        if level >= self._level:
            self._instruments.record(kind, metric, unit, value, attributes_of(attributes))

    def _span(self, scope: ScopeIdentity | None) -> Span | None:
        if scope is None:
            return trace.get_current_span()
        opened = self._open.get(scope.scope_id)
        return None if opened is None else opened.span

    @contextmanager
    def _within(self, scope: ScopeIdentity | None) -> Iterator[None]:
        # The bus reports drops, and what was left unread, where no span is current: from a callback of the loop, and
        # when the scope's own has ended.
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

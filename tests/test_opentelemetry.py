"""Guarantee 8.2 with the extra `opentelemetry`: scopes as spans, records, buses as metrics, the sender of an event."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.shared import let_go

pytestmark = pytest.mark.anyio


class Exported:
    """An SDK of its own for a test, and what it exported."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("test")

    def recorder(self, **options: Any) -> Any:
        return self.module.OpenTelemetryObservability(
            tracer_provider=self.tracers, meter_provider=self.meters, **options
        )

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def metrics(self) -> dict[str, Any]:
        """By name, each metric the reader collects now."""
        data = self.reader.get_metrics_data()
        found: dict[str, Any] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    assert metric.name not in found
                    found[metric.name] = metric
        return found

    def bus(self, event: type[Any]) -> dict[str, dict[str, float]]:
        """By scope, what the instruments of the buses say of the type."""
        found: dict[str, dict[str, float]] = {}
        for name, metric in self.metrics().items():
            for point in metric.data.data_points:
                attributes = dict(point.attributes or {})
                if attributes.get("haiway_bus.event") == f"{event.__module__}.{event.__qualname__}":
                    of_scope = found.setdefault(str(attributes["haiway_bus.scope"]), {})
                    if not name.startswith("haiway_bus.handler."):
                        of_scope[name.rpartition(".")[2]] = point.value
        return found


@pytest.fixture
def otel(hb: Any) -> Iterator[Exported]:
    exported = Exported(importlib.import_module("haiway_bus.integrations.opentelemetry"))
    yield exported
    exported.tracers.shutdown()
    exported.meters.shutdown()


def ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def parent(span: ReadableSpan) -> str | None:
    return None if span.parent is None else trace.format_span_id(span.parent.span_id)


@dataclass(frozen=True)
class Order:
    number: int


async def test_nested_scopes_are_nested_spans_with_the_ids_of_the_scopes(
    hb: Any, otel: Exported
) -> None:
    """Guarantee 5.1, 8.2: what ctx.scope gives is the trace id to search a tracing backend for."""
    async with hb.ctx.scope("outer", observability=otel.recorder()) as trace_id:
        async with hb.ctx.scope("inner") as inner_trace_id:
            assert hb.ctx.trace_id() == trace_id == inner_trace_id
        assert "outer" not in otel.spans
    assert ids(otel.spans["outer"])[0] == ids(otel.spans["inner"])[0] == trace_id
    assert parent(otel.spans["outer"]) is None
    assert parent(otel.spans["inner"]) == ids(otel.spans["outer"])[1]


async def test_users_spans_nest_in_the_scope_and_scopes_nest_in_them(
    hb: Any, otel: Exported
) -> None:
    """Guarantee 8.2: the span is current in the body and in the scope's tasks, and no longer when the scope is left."""

    async def work() -> None:
        await asyncio.sleep(0)
        with otel.tracer.start_as_current_span("in a task"):
            async with hb.ctx.scope("inner"):
                pass

    with otel.tracer.start_as_current_span("request") as request:
        async with hb.ctx.scope("outer", observability=otel.recorder()) as trace_id:
            hb.ctx.spawn(work)
            with otel.tracer.start_as_current_span("in the body"):
                pass
        assert trace.get_current_span() is request
    spans = otel.spans
    assert {ids(span)[0] for span in spans.values()} == {trace_id}
    assert {name: parent(span) for name, span in spans.items()} == {
        "request": None,
        "outer": ids(spans["request"])[1],
        "in the body": ids(spans["outer"])[1],
        "in a task": ids(spans["outer"])[1],
        "inner": ids(spans["in a task"])[1],
    }


async def test_concurrent_scopes_have_spans_of_their_own(hb: Any, otel: Exported) -> None:
    """Guarantee 5.7: scopes that overlap in many tasks do not become each other's parents."""
    recorder = otel.recorder()

    async def one(number: int) -> None:
        async with hb.ctx.scope(f"outer {number}", observability=recorder):
            await asyncio.sleep(0.001 * (number % 3))
            async with hb.ctx.scope(f"inner {number}"):
                await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(20)))
    spans = otel.spans
    for number in range(20):
        assert parent(spans[f"outer {number}"]) is None
        assert parent(spans[f"inner {number}"]) == ids(spans[f"outer {number}"])[1]


async def test_a_scope_left_in_another_task_ends_its_span_and_logs_no_error(
    hb: Any, otel: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 5.7: as a test's fixture does it. There is no context to restore there, nor one to complain about."""
    scope = hb.ctx.scope("outer", observability=otel.recorder())
    task = asyncio.current_task()

    async def leave() -> None:
        assert asyncio.current_task() is not task
        await scope.__aexit__(None, None, None)

    async def enter() -> None:
        await scope.__aenter__()
        await asyncio.create_task(leave())

    await asyncio.create_task(enter())
    assert otel.spans["outer"].end_time is not None
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_the_exception_that_leaves_a_scope_is_on_its_span(hb: Any, otel: Exported) -> None:
    """Guarantee 5.3, 5.5, 8.2: also the group of a failed task; a cancelled scope has not failed."""
    recorder = otel.recorder()
    with pytest.raises(LookupError):
        async with hb.ctx.scope("body fails", observability=recorder):
            raise LookupError("gone")

    async def fail() -> None:
        raise LookupError("lost")

    with pytest.raises(ExceptionGroup):
        async with hb.ctx.scope("task fails", observability=recorder):
            hb.ctx.spawn(fail)

    async def wait() -> None:
        async with hb.ctx.scope("cancelled", observability=recorder):
            await asyncio.sleep(60)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    failed = otel.spans["body fails"]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "LookupError: gone"
    assert [event.name for event in failed.events] == ["exception"]
    assert dict(failed.events[0].attributes or {})["exception.message"] == "gone"
    assert "ExceptionGroup" in str(otel.spans["task fails"].status.description)
    assert otel.spans["cancelled"].status.status_code is StatusCode.UNSET
    assert otel.spans["cancelled"].attributes == {"haiway_bus.cancelled": True}


async def test_a_scope_in_an_attached_context_has_the_scope_around_it_for_parent(
    hb: Any, otel: Exported
) -> None:
    """Guarantee 5.9: as a request of an ASGI service; one with a trace of its own keeps that, and links."""
    service = hb.ctx.scope("service", observability=otel.recorder())

    async def request(traced: bool) -> None:
        with service.attach():
            if not traced:
                async with hb.ctx.scope("plain request"):
                    return
            with otel.tracer.start_as_current_span("server"):
                async with hb.ctx.scope("traced request"):
                    return

    loop = asyncio.get_running_loop()
    async with service as trace_id:
        for traced in (False, True):
            await loop.create_task(request(traced), context=contextvars.Context())
    spans = otel.spans
    assert ids(spans["plain request"])[0] == trace_id
    assert parent(spans["plain request"]) == ids(spans["service"])[1]
    assert ids(spans["traced request"])[0] == ids(spans["server"])[0] != trace_id
    assert [link.context for link in spans["traced request"].links] == [
        spans["service"].get_span_context()
    ]
    assert not spans["plain request"].links


async def test_records_are_attributes_and_events_of_the_scopes_span(
    hb: Any, otel: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 8.1, 8.2. What OpenTelemetry takes for no value is told as its str, and nothing is complained about."""

    class Basket(hb.State):
        size: int

    async with hb.ctx.scope("shop", observability=otel.recorder(level=logging.INFO)):
        with otel.tracer.start_as_current_span("user's own"):
            hb.ctx.record(
                logging.INFO,
                attributes={"user": "u1", "age": 5, "ok": True, "none": None, "n": [1, 2]},
            )
            hb.ctx.record(
                logging.INFO, event="sold", attributes={"basket": Basket(size=2), "mixed": (1, "a")}
            )
            hb.ctx.record(event="below the level")
    span = otel.spans["shop"]
    assert dict(span.attributes or {}) == {"user": "u1", "age": 5, "ok": True, "n": (1, 2)}
    assert [(one.name, dict(one.attributes or {})) for one in span.events] == [
        ("sold", {"basket": str(Basket(size=2)), "mixed": ("1", "a")})
    ]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_what_is_recorded_after_the_end_of_the_scope_is_logged(
    hb: Any, otel: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that is nobody's may outlive the scope: its span takes nothing any more, yet nothing is lost."""
    proceed = asyncio.Event()

    async def late() -> None:
        await proceed.wait()
        hb.ctx.record(logging.WARNING, event="late", attributes={"by": 1})
        hb.ctx.record(logging.WARNING, attributes={"by": 2})

    async with hb.ctx.scope("shop", observability=otel.recorder()):
        stray = asyncio.create_task(late())
    proceed.set()
    await stray
    assert [one.getMessage() for one in caplog.records] == [
        "event late after the end of the scope: {'by': 1}",
        "attributes after the end of the scope: {'by': 2}",
    ]


async def test_metrics_are_counters_gauges_and_histograms(
    hb: Any, otel: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 8.1, 8.2: one instrument a name, whichever scope records; names as OpenTelemetry allows them."""
    async with hb.ctx.scope("shop", observability=otel.recorder(bus_metrics=False)):
        for value in (2, 3):
            hb.ctx.record(metric="sales", value=value, unit="EUR", attributes={"sku": 5})
        async with hb.ctx.scope("inner"):
            hb.ctx.record(metric="sales", value=5, unit="EUR", attributes={"sku": 5})
        for value in (7, 4):
            hb.ctx.record(metric="queue", value=value, kind="gauge")
        for value in (0.5, 1.5):
            hb.ctx.record(metric="wait", value=value, unit="s", kind="histogram")
        hb.ctx.record(metric="2 wörds", value=1, unit="€")
    metrics = otel.metrics()
    assert sorted(metrics) == ["m2_w_rds", "queue", "sales", "wait"]
    (sales,) = metrics["sales"].data.data_points
    assert (sales.value, dict(sales.attributes), metrics["sales"].unit) == (10, {"sku": 5}, "EUR")
    assert metrics["sales"].data.is_monotonic
    assert [point.value for point in metrics["queue"].data.data_points] == [4]
    (wait,) = metrics["wait"].data.data_points
    assert (wait.count, wait.sum, wait.min, wait.max) == (2, 2.0, 0.5, 1.5)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_logs_carry_the_ids_of_trace_and_span(
    hb: Any, otel: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 8.1, 8.2: of the user's own span where that is current, else of the scope; and the line."""
    caplog.set_level(logging.INFO, "shop")
    async with hb.ctx.scope("shop", observability=otel.recorder()) as trace_id:
        hb.ctx.log_info("in the scope")
        with otel.tracer.start_as_current_span("own"):
            hb.ctx.log_info("in %s", "own")
    records: list[Any] = caplog.records
    assert [one.getMessage() for one in records] == ["in the scope", "in own"]
    assert [one.trace_id for one in records] == [trace_id, trace_id]
    shop, own = ids(otel.spans["shop"])[1], ids(otel.spans["own"])[1]
    assert [one.span_id for one in records] == [shop, own]
    assert [one.scope_id for one in records] == [shop, shop]
    assert {one.filename for one in records} == {"test_opentelemetry.py"}


@pytest.mark.filterwarnings("ignore:.*LoggingHandler:DeprecationWarning")
async def test_opentelemetrys_handler_for_logging_finds_the_span(hb: Any, otel: Exported) -> None:
    """Guarantee 8.2: also for what a bus reports where no span is current: drops, and what was left unread."""
    kind = getattr(log_export, "InMemoryLogRecordExporter", None) or log_export.InMemoryLogExporter
    exporter = kind()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(exporter))
    handler = LoggingHandler(logger_provider=provider)
    logger = logging.getLogger("shop")
    logger.addHandler(handler)
    try:
        async with hb.ctx.scope("shop", observability=otel.recorder()):
            hb.ctx.log_error("told")
            bounded = hb.ctx.subscribe(Order, limit=1)
            hb.ctx.send(Order(1))
            hb.ctx.send(Order(2))
            await asyncio.sleep(0)
    finally:
        logger.removeHandler(handler)
    logs = [one.log_record for one in exporter.get_finished_logs()]
    told, dropped, unread = [str(one.body) for one in logs]
    assert told == "told"
    assert dropped.startswith("events of Order dropped")
    assert unread.startswith("events of Order left unread")
    assert bounded.dropped == 1
    span = otel.spans["shop"].get_span_context()
    assert span is not None
    assert {(one.trace_id, one.span_id) for one in logs} == {(span.trace_id, span.span_id)}


async def test_buses_are_metrics_that_are_read_when_collected(hb: Any, otel: Exported) -> None:
    """Guarantee 8.2, 8.3: of each root and isolated scope; a nested scope's events are those of the bus around it."""
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        orders, slow = hb.ctx.subscribe(Order), hb.ctx.subscribe(Order, limit=2)
        async with hb.ctx.scope("nested"):
            for number in range(5):
                hb.ctx.send(Order(number))
        for _ in range(4):
            await anext(orders)
        async with hb.ctx.scope("island", isolated=True):
            island = hb.ctx.subscribe(Order)
            hb.ctx.send(Order(9))
            assert otel.bus(Order) == {
                "shop": {
                    "sent": 5,
                    "delivered": 4,
                    "dropped": 3,
                    "pending": 3,
                    "lag": 2,
                    "peak": 2,
                    "age": 0.0,
                    "at_limit": 1,
                    "subscriptions": 2,
                },
                "island": {
                    "sent": 1,
                    "delivered": 0,
                    "dropped": 0,
                    "pending": 1,
                    "lag": 1,
                    "peak": 1,
                    "age": 0.0,
                    "at_limit": 0,
                    "subscriptions": 1,
                },
            }
            await anext(island)
        slow.close()
        await anext(orders)
        assert otel.bus(Order)["shop"]["delivered"] == 5


async def test_counters_of_buses_never_go_back(hb: Any, otel: Exported) -> None:
    """Guarantee 8.2, 8.3: not when a type's count begins anew, nor with the end of a scope; the next one adds to it."""
    recorder = otel.recorder()
    for before in (0, 8):
        async with hb.ctx.scope("shop", observability=recorder):
            for sent in (5, 3):
                orders = hb.ctx.subscribe(Order)
                for number in range(sent):
                    hb.ctx.send(Order(number))
                before += sent
                assert otel.bus(Order)["shop"]["sent"] == before
                orders.close()
                assert otel.bus(Order)["shop"]["sent"] == before
        ended = otel.bus(Order)["shop"]
        assert (ended["sent"], ended["pending"], ended["subscriptions"]) == (before, 0, 0)


@pytest.mark.parametrize("where", ["in the reading", "after it"])
async def test_a_subscription_that_ends_while_its_bus_is_read_counts_once(
    hb: Any, otel: Exported, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Guarantee 8.3: as one in a reference cycle does, when the collector runs just then."""
    module = importlib.import_module("haiway_bus.integrations._opentelemetry.bus_reading")
    ending: list[Any] = []

    def ending_one(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            result = call(*args)
            while ending:
                ending.pop().close()
            return result

        return called

    if where == "in the reading":
        monkeypatch.setattr(module, "events_of", ending_one(module.events_of))
    else:
        monkeypatch.setattr(module, "type_name", ending_one(module.type_name))
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        for sent in (5, 10, 15):
            orders = hb.ctx.subscribe(Order)
            for number in range(5):
                hb.ctx.send(Order(number))
            ending.append(orders)
            assert otel.bus(Order)["shop"]["sent"] == sent
            assert orders.closed
            assert otel.bus(Order)["shop"]["sent"] == sent
    assert otel.bus(Order)["shop"]["sent"] == 15


async def test_how_a_bus_is_doing_is_told(
    hb: Any, otel: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee 8.3: open scopes, what waits from threads, busy workers, and how late the loop is."""
    vitals = importlib.import_module("haiway_bus._scope.vitals")
    monkeypatch.setattr(vitals, "SECONDS", 0.0)
    clock = [1000.0]
    monkeypatch.setattr(vitals, "monotonic", lambda: clock[0])
    release = asyncio.Event()

    async def bill(order: Order) -> None:
        await release.wait()

    def value(name: str) -> float:
        [point] = otel.metrics()[name].data.data_points
        assert dict(point.attributes)["haiway_bus.scope"] == "shop"
        told: float = point.value
        return told

    async with hb.ctx.scope("shop", observability=otel.recorder()):
        hb.ctx.on(Order, bill, workers=3)
        assert value("haiway_bus.handler.workers") == 3
        assert value("haiway_bus.handler.busy") == 0  # they have not begun
        async with hb.ctx.scope("nested"):
            assert value("haiway_bus.scopes") == 2
        for _ in range(5):
            await asyncio.sleep(0)
        assert value("haiway_bus.handler.busy") == 0
        for number in range(2):
            hb.ctx.send(Order(number))
        for _ in range(5):
            await asyncio.sleep(0)
        assert value("haiway_bus.handler.busy") == 2
        assert value("haiway_bus.events.from_threads") == 0
        context = contextvars.copy_context()
        await_thread = threading.Thread(target=context.run, args=(hb.ctx.send, Order(2)))
        await_thread.start()
        await_thread.join()
        assert value("haiway_bus.events.from_threads") == 1
        value("haiway_bus.loop.lateness")
        clock[0] += 7
        assert value("haiway_bus.loop.lateness") == 7  # it has yet to come to the timer
        await asyncio.sleep(0.001)
        clock[0] += 3
        value("haiway_bus.loop.lateness")
        assert value("haiway_bus.scopes") == 1
        release.set()
    assert "haiway_bus.scopes" not in otel.metrics() or not list(
        otel.metrics()["haiway_bus.scopes"].data.data_points
    )


async def test_a_peak_is_told_by_the_next_collection_whatever_is_read_before(
    hb: Any, otel: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee 8.3: types are forgotten between two collections, and within one."""
    module = importlib.import_module("haiway_bus.integrations._opentelemetry.bus_reading")
    monkeypatch.setattr(module, "MOST_FORGOTTEN", 4)
    ending: list[Any] = []
    events_of = module.events_of

    def reading(*given: Any) -> Any:
        found = events_of(*given)
        while ending:
            ending.pop().close()
        return found

    monkeypatch.setattr(module, "events_of", reading)
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        orders = hb.ctx.subscribe(Order, limit=3)
        assert otel.bus(Order)["shop"]["peak"] == 0
        for number in range(5):
            hb.ctx.send(Order(number))
        for _ in range(3):
            await anext(orders)
        for _ in range(5):
            hb.ctx.subscribe(type("Other", (), {})).close()
        ending.append(hb.ctx.subscribe(type("Other", (), {})))
        told = otel.bus(Order)["shop"]
        assert (told["lag"], told["peak"], told["at_limit"]) == (0, 3, 1)
        told = otel.bus(Order)["shop"]
        assert (told["lag"], told["peak"], told["at_limit"]) == (0, 0, 0)


async def test_handlers_are_timed_and_their_errors_counted(hb: Any, otel: Exported) -> None:
    """Guarantee 8.3: by name and type."""

    async def ship(order: Order) -> None:
        if order.number == 1:
            raise ValueError("not that one")

    def told(name: str) -> Any:
        [point] = otel.metrics()[name].data.data_points
        assert dict(point.attributes) == {
            "haiway_bus.scope": "shop",
            "haiway_bus.event": f"{Order.__module__}.Order",
            "haiway_bus.handler": ship.__qualname__,
        }
        return point

    async with hb.ctx.scope("shop", observability=otel.recorder()):
        hb.ctx.on(Order, ship)
        assert told("haiway_bus.handler.errors").value == 0
        for number in range(4):
            hb.ctx.send(Order(number))
        await hb.ctx.flush(Order)
        duration = told("haiway_bus.handler.duration")
        assert duration.count == 4
        assert 0 < duration.sum < 60
        assert told("haiway_bus.handler.errors").value == 1


async def test_handlers_are_not_timed_unless_that_is_wanted(hb: Any, otel: Exported) -> None:
    """Guarantee 8.3."""
    async with hb.ctx.scope("shop", observability=otel.recorder(handler_metrics=False)):
        hb.ctx.on(Order, lambda _: None)
        hb.ctx.send(Order(1))
        await hb.ctx.flush(Order)
    assert not {one for one in otel.metrics() if one.startswith("haiway_bus.handler.d")}


async def test_the_pulse_beats_while_somebody_asks_and_ends_then(
    hb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee 8.3: it looks at the bus between two questions, so that a lag that has gone is known."""
    vitals = importlib.import_module("haiway_bus._scope.vitals")
    monkeypatch.setattr(vitals, "SECONDS", 0.0)
    monkeypatch.setattr(vitals, "PATIENCE", 3)
    async with hb.ctx.scope("shop"):
        bus = hb._bus.current.get()
        pulse = vitals.Pulse(bus)
        assert pulse.lateness() == 0
        orders = hb.ctx.subscribe(Order)
        assert hb.ctx.events()[Order].peak == 0
        for number in range(5):
            hb.ctx.send(Order(number))
        async with asyncio.timeout(10):
            while pulse.timer is not None:
                await asyncio.sleep(0.001)
        for _ in range(5):
            await anext(orders)
        assert hb.ctx.events()[Order].peak == 5
        assert pulse.lateness() == 0.0
        assert pulse.timer is not None
        pulse.stop()
        assert pulse.timer is None


async def test_a_scope_shorter_than_a_collection_interval_counts(hb: Any, otel: Exported) -> None:
    """Guarantee 5.4, 8.2: its readers end with it, and the bus forgets their types before anybody has collected."""

    async def read(orders: Any) -> None:
        async for _ in orders:
            pass

    recorder = otel.recorder()
    for _ in range(3):
        async with hb.ctx.scope("shop", observability=recorder):
            hb.ctx.spawn(read, hb.ctx.subscribe(Order))
            for number in range(5):
                hb.ctx.send(Order(number))
    counted = otel.bus(Order)["shop"]
    assert (counted["sent"], counted["delivered"], counted["subscriptions"]) == (15, 15, 0)


async def test_a_subscription_shorter_than_a_collection_interval_counts(
    hb: Any, otel: Exported
) -> None:
    """Guarantee 8.3: as of requests that wait for their answer; also where nobody collects in between."""
    recorder = otel.recorder()
    async with hb.ctx.scope("shop", observability=recorder):
        for number in range(1_000):
            async with hb.ctx.subscribe(Order) as answers:
                hb.ctx.send(Order(number))
                await anext(answers)
        (source,) = recorder._buses._sources.values()
        assert len(source.forgotten) < 256
        counted = otel.bus(Order)["shop"]
        assert (counted["sent"], counted["delivered"], counted["pending"]) == (1_000, 1_000, 0)
    assert otel.bus(Order)["shop"]["delivered"] == 1_000


async def test_an_exporters_thread_reads_buses_in_the_loops_thread(hb: Any, otel: Exported) -> None:
    """Guarantee 6.1, 8.2: one reading for all instruments, and the last one when the loop is blocked."""
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        orders = hb.ctx.subscribe(Order)
        for number in range(1000):
            hb.ctx.send(Order(number))
        reading = asyncio.create_task(asyncio.to_thread(otel.bus, Order))
        while not reading.done():
            if orders.pending:
                await anext(orders)
            await asyncio.sleep(0)
        seen = (await reading)["shop"]
        assert seen["sent"] == 1000 == seen["delivered"] + seen["pending"]

        hb.ctx.send(Order(0))
        found: list[dict[str, dict[str, float]]] = []
        thread = threading.Thread(target=lambda: found.append(otel.bus(Order)))
        thread.start()
        thread.join(10)  # the loop is blocked meanwhile
        assert found[0]["shop"]["sent"] == 1000
        assert (await asyncio.to_thread(otel.bus, Order))["shop"]["sent"] == 1001


async def test_an_event_links_its_readers_span_to_its_senders(hb: Any, otel: Exported) -> None:
    """Guarantee 8.2: for every reader of it, also in another trace, and in the handlers of ctx.on."""
    module = otel.module
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        hb.ctx.on(Order, module.traced(_handle, tracer_provider=otel.tracers))
        orders = hb.ctx.subscribe(Order)

        async def read() -> None:
            async for order in orders:
                with module.receive_span(order, tracer_provider=otel.tracers) as span:
                    assert trace.get_current_span() is span

        hb.ctx.spawn(read)
        with otel.tracer.start_as_current_span("sending", context=trace.Context()):
            module.send(Order(1))
        await hb.ctx.flush(Order)
    spans = otel.spans
    sender = spans["sending"].get_span_context()
    for name in ("receive Order", "_handle"):
        assert [link.context for link in spans[name].links] == [sender]
        assert spans[name].kind is SpanKind.CONSUMER
        assert parent(spans[name]) == ids(spans["shop"])[1]
        assert dict(spans[name].attributes or {}) == {"haiway_bus.event": f"{__name__}.Order"}


async def _handle(order: Order) -> None:
    await asyncio.sleep(0)


async def test_an_event_has_the_senders_of_its_own_instance_only(hb: Any, otel: Exported) -> None:
    """Guarantee 1.6, 8.2: equal events are others; ctx.send leaves no trace; an event sent twice has two senders."""
    module = otel.module
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        orders = hb.ctx.subscribe(Order)
        one = Order(1)
        for name in ("first", "second"):
            with otel.tracer.start_as_current_span(name):
                module.send(one)
                module.send(one)
        hb.ctx.send(Order(1))
        assert len(module.senders_of(await anext(orders))) == 2
        for _ in range(3):
            await anext(orders)
        plain = await anext(orders)
        assert module.senders_of(plain) == ()
        with module.receive_span(plain, "plain", tracer_provider=otel.tracers):
            pass
        assert otel.spans["plain"].links == ()
        assert module.senders_of(one) == tuple(
            otel.spans[name].get_span_context() for name in ("first", "second")
        )


async def test_a_trace_keeps_no_event_alive(hb: Any, otel: Exported, no_garbage: None) -> None:
    """Guarantee 3.2: a delivered event is freed, and its place in the table with it."""
    table = importlib.import_module("haiway_bus.integrations._opentelemetry.senders")._senders
    async with hb.ctx.scope("shop", observability=otel.recorder()):
        orders = hb.ctx.subscribe(Order)
        for number in range(100):
            otel.module.send(Order(number))
        assert len(table) == 100
        for _ in range(60):
            await anext(orders)
        let_go()
        assert len(table) == 40
        orders.close()
        let_go()
        assert len(table) == 0
        otel.module.send(Order(1))
        let_go()
        assert len(table) == 0


def can_be_referred_to(event: object) -> bool:
    """CPython wants a `__weakref__` for it, which a NamedTuple has not; PyPy does not."""
    try:
        weakref.ref(event)
    except TypeError:
        return False
    return True


async def test_sending_with_a_trace_refuses_what_it_cannot_refer_to(
    hb: Any, otel: Exported
) -> None:
    """Guarantee 1.4, 8.2: it says what to do; and what is no event at all is refused in the bus's own words."""

    class Named(NamedTuple):
        number: int

    async with hb.ctx.scope("shop", observability=otel.recorder()):
        if not can_be_referred_to(Named(1)):
            with pytest.raises(TypeError, match="Named cannot: make it a State, .* or send it by"):
                otel.module.send(Named(1))
        for given in (None, 5, Order):
            with pytest.raises(TypeError, match=r"send\(\) takes an"):
                otel.module.send(given)

        class Sold(hb.State):
            number: int

        sold = hb.ctx.subscribe(Sold)
        otel.module.send(Sold(number=1))
        assert len(otel.module.senders_of(await anext(sold))) == 1
    with pytest.raises(hb.ContextMissing):
        otel.module.send(Order(1))


async def test_without_an_sdk_scopes_run_and_log_as_ever(
    hb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 8.2: with the API alone, a library that uses the recorder costs its users no set-up."""
    module = importlib.import_module("haiway_bus.integrations.opentelemetry")
    recorder = module.OpenTelemetryObservability(
        tracer_provider=trace.NoOpTracerProvider(),
        meter_provider=importlib.import_module("opentelemetry.metrics").NoOpMeterProvider(),
    )
    async with hb.ctx.scope("shop", observability=recorder) as trace_id:
        async with hb.ctx.scope("inner") as inner:
            assert inner == trace_id
            hb.ctx.record(event="seen")
            hb.ctx.record(metric="sales", value=1)
            hb.ctx.log_warning("hello")
            orders = hb.ctx.subscribe(Order)
            module.send(Order(1))
            with module.receive_span(await anext(orders)):
                pass
    assert len(trace_id) == 32
    assert [one.trace_id for one in caplog.records] == [trace_id]  # type: ignore[attr-defined]


def test_without_the_extra_the_import_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import haiway_bus.integrations.opentelemetry"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert "ImportError: haiway_bus.integrations.opentelemetry needs" in done.stderr
    assert "pip install 'haiway-bus[opentelemetry]'" in done.stderr


def test_each_metric_stands_in_the_docs_with_an_alert() -> None:
    """Guarantee 8.3: by the name under which Prometheus has it."""
    page = Path(__file__).resolve().parent.parent / "docs" / "integrations" / "opentelemetry.md"
    table, alerts = page.read_text(encoding="utf-8").split("## Alerts to copy")
    names = importlib.import_module("haiway_bus.integrations._opentelemetry.metric_names")
    told = {"haiway_bus.handler.duration": "s", "haiway_bus.handler.errors": "{event}"}
    for kinds in (names.COUNTERS, names.SUMS, names.GAUGES, names.OF_BUSES, names.OF_HANDLERS):
        told |= {name: unit for name, unit, _ in kinds.values()}
    assert len(told) == 16
    for name, unit in told.items():
        assert f"| `{name}` |" in table
        exported = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
        assert f"`{exported}" in table
        assert exported in alerts

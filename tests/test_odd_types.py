"""Guarantee 1.4, 1.6, 8.3: classes whose metaclass has views of its own, and values that cannot be written down."""

from __future__ import annotations

import asyncio
import decimal
import gc
import importlib.util
import logging
import pickle
import sys
import time
import weakref
import zlib
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.shared import turns

pytestmark = pytest.mark.anyio


class EqualWithoutHash(type):
    def __eq__(cls, other: object) -> Any:
        return NotImplemented


class AllEqual(type):
    def __eq__(cls, other: object) -> bool:
        return True

    def __hash__(cls) -> int:
        return 1


class NoneEqual(type):
    def __eq__(cls, other: object) -> bool:
        return False

    def __hash__(cls) -> int:
        return 1


class RaisesInBoth(type):
    def __eq__(cls, other: object) -> bool:
        raise LookupError("compared")

    def __hash__(cls) -> int:
        raise LookupError("hashed")


class RaisesInHash(type):
    def __hash__(cls) -> int:
        raise RecursionError("hashed")


class NamesRaise(RaisesInBoth):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__"):
            raise LookupError(name)
        return super().__getattribute__(name)

    def __repr__(cls) -> str:
        raise LookupError("shown")


METACLASSES = (EqualWithoutHash, AllEqual, NoneEqual, RaisesInBoth, RaisesInHash, NamesRaise)


@pytest.fixture(params=METACLASSES, ids=lambda kind: kind.__name__)
def two(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Two classes of one metaclass."""
    return request.param("One", (), {}), request.param("Other", (), {})


def of_the_package(hb: Any, name: str) -> Any:
    return importlib.import_module(f"haiway_bus.{name}")


class TestTypes:
    async def test_events_finds_each_type_by_its_identity(self, hb: Any, two: Any) -> None:
        """Guarantee 8.3: and has all that a reader asks of a mapping."""
        one, other = two
        async with hb.ctx.scope("test"):
            kept = hb.ctx.subscribe(one), hb.ctx.subscribe(other)
            hb.ctx.send(one())
            hb.ctx.send(other())
            hb.ctx.send(other())
            assert type(await anext(kept[1])) is other
            told = hb.ctx.events()
            assert (told[one].pending, told[other].pending, len(told)) == (1, 1, 2)
            assert (told[one].delivered, told[other].delivered) == (0, 1)
            assert [kind is expected for kind, expected in zip(told, two, strict=True)] == [
                True
            ] * 2
            assert one in told
            assert other in told.keys()  # noqa: SIM118
            assert Plain not in told
            assert told.get(Plain) is None
            assert [stats.sent for stats in told.values()] == [1, 2]
            assert [stats.sent for _, stats in told.items()] == [1, 2]
            assert told == type(told)(list(told.items()))
            assert told != {}
            assert told != one()
            with pytest.raises(KeyError):
                told[Plain]
            assert repr(told).startswith("{One: EventStats(subscriptions=1")
            with pytest.raises(TypeError):
                told[one] = None
            kept[0].close()
            assert [kind is other for kind in hb.ctx.events()] == [True]

    async def test_the_end_of_a_scope_ends_its_readers(
        self, hb: Any, two: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 5.4: one that comes back again and again, too; what nobody read is told."""
        one, other = two

        async def insist() -> None:
            while True:
                async for _ in hb.ctx.subscribe(one):
                    pass

        async def read(subscription: Any) -> None:
            async for _ in subscription:
                pass

        async with asyncio.timeout(5):
            async with hb.ctx.scope("test"):
                hb.ctx.spawn(insist)
                hb.ctx.spawn(read, hb.ctx.subscribe(one))
                hb.ctx.spawn(read, hb.ctx.subscribe(other))
                kept = hb.ctx.subscribe(other)
                hb.ctx.send(other())
        assert kept.pending == 1
        [warning] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        assert warning == "events of Other left unread at the end of the scope: 1"

    async def test_handlers_take_them_and_may_give_them_back(
        self, hb: Any, two: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.11: what a handler returns is awaited if it can be, and is otherwise nobody's business."""
        one, _ = two
        awaited = []

        class Calls(metaclass=type(one)):
            def __call__(self, event: Any) -> Any:
                return Waits()

        class Waits(metaclass=type(one)):
            def __await__(self) -> Any:
                yield
                awaited.append(self)

        async with hb.ctx.scope("test"):
            hb.ctx.on(one, lambda event: event)
            hb.ctx.on(one, Calls())
            hb.ctx.send(one())
            await hb.ctx.flush(one, timeout=5)
            settled = of_the_package(hb, "testing").settle
            await settled()
        assert len(awaited) == 1
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    async def test_first_flush_and_limits_name_them(
        self, hb: Any, two: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 2.12, 4.2, 4.4: their texts need the name of the type."""
        one, _ = two
        async with hb.ctx.scope("test"):
            found = hb.ctx.subscribe(one)
            hb.ctx.send(one())
            assert type(await found.first(lambda event: event)) is one
            with pytest.raises(TimeoutError, match=r"<Subscription One pending=0 open> within"):
                await hb.ctx.subscribe(one).first(timeout=0.001)
            behind = hb.ctx.subscribe(one, limit=1, overflow="raise")
            for _ in range(2):
                hb.ctx.send(one())
            with pytest.raises(TimeoutError, match="flush.. of One waited"):
                await hb.ctx.flush(one, timeout=0.001)
            await anext(behind)
            with pytest.raises(hb.SubscriptionOverflow, match="events of One lost"):
                await anext(behind)
            with pytest.raises(TypeError, match="not a class: One was given"):
                hb.ctx.send(one)
            await turns()
        assert "events of One dropped: " in caplog.text

    async def test_what_looks_at_a_bus_tells_them_apart(self, hb: Any, two: Any) -> None:
        """Guarantee 8.3: the recorder of tests, top, and the picture."""
        one, other = two
        testing = of_the_package(hb, "testing")
        snapshot = of_the_package(hb, "tools._top.snapshot").Snapshot
        with of_the_package(hb, "tools.picture").collect() as picture:
            async with hb.ctx.scope("test"):
                recorder = testing.record_events(one, other, one)
                events = [one(), other(), one()]
                for event in events:
                    hb.ctx.send(event)
                await testing.settle()
                assert recorder == events
                assert recorder != events[1:]
                assert len(recorder.of(one)) == 2
                assert "One: 2 recorded, 1 expected" in str(recorder.explain(events[1:]))
                with pytest.raises(LookupError, match="beside One, Other"):
                    recorder.of(Plain)
                told = snapshot.of("test", hb._bus.current.get(), 0.0, []).events
                assert [name.rpartition(".")[2] for name in told] == ["One", "Other"]
        assert "One" in picture.mermaid()

    async def test_metrics_tell_them_apart(self, hb: Any, two: Any) -> None:
        """Guarantee 8.2."""
        pytest.importorskip("opentelemetry.sdk")
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        opentelemetry = of_the_package(hb, "integrations.opentelemetry")
        one, other = two
        reader = InMemoryMetricReader()
        recorder = opentelemetry.OpenTelemetryObservability(
            meter_provider=MeterProvider([reader], shutdown_on_exit=False)
        )
        async with hb.ctx.scope("test", observability=recorder):
            _kept = hb.ctx.subscribe(one), hb.ctx.subscribe(other)
            hb.ctx.subscribe(other).close()
            opentelemetry.send(one())
            hb.ctx.send(one())
            data = reader.get_metrics_data()
        [sent] = [
            metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "haiway_bus.events.sent"
        ]
        by_name = {
            point.attributes["haiway_bus.event"].rpartition(".")[2]: point.value
            for point in sent.data.data_points
        }
        assert by_name == {"One": 2, "Other": 0}

    async def test_state_is_found_by_identity(self, hb: Any) -> None:
        """Guarantee 5.10: also where a metaclass holds its classes for equal."""

        class Same(type(hb.State)):  # type: ignore[misc]
            def __eq__(cls, other: object) -> bool:
                return True

            def __hash__(cls) -> int:
                return 1

        class First(hb.State, metaclass=Same):
            number: int = 1

        class Second(hb.State, metaclass=Same):
            number: int = 2

        async with hb.ctx.scope("test", First(number=5)):
            assert type(hb.ctx.state(Second)) is Second
            assert hb.ctx.state(First).number == 5
            assert hb.ctx.state(Second) is hb.ctx.state(Second)

    async def test_events_is_pickled_with_its_classes(self, hb: Any) -> None:
        async with hb.ctx.scope("test"):
            _kept = hb.ctx.subscribe(Plain)
            told = hb.ctx.events()
            assert pickle.loads(pickle.dumps(told))[Plain].subscriptions == 1


class Plain:
    pass


class Failed(Exception):
    pass


class Group(ExceptionGroup[Exception]):
    pass


BUILT_IN: tuple[Any, ...] = (
    ValueError("x"),
    KeyboardInterrupt(),
    ExceptionGroup("x", [ValueError()]),
    BaseExceptionGroup("x", [KeyboardInterrupt()]),
    decimal.Decimal(1),
    OrderedDict(),
    partial(print),
    SimpleNamespace(),
    time.localtime(),
    zlib.compressobj(),
    weakref.ref(Plain),
    10**5000,
    b"x" * 10_000_000,
)


class TestWhatIsAnEvent:
    @pytest.mark.parametrize("event", BUILT_IN, ids=lambda one: type(one).__name__)
    async def test_what_is_built_in_is_none(self, hb: Any, event: Any) -> None:
        """Guarantee 1.4: neither sent nor subscribed to; exceptions and groups of them like all else."""
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match=f"built-in {type(event).__name__}"):
                hb.ctx.send(event)
            for call in (hb.ctx.subscribe, hb.ctx.flush):
                with pytest.raises(TypeError, match=f"the built-in {type(event).__name__}"):
                    await call(type(event))

    async def test_what_except_star_makes_is_none(self, hb: Any) -> None:
        """Guarantee 1.4."""
        async with hb.ctx.scope("test"):
            try:
                raise ValueError
            except* ValueError as group:
                with pytest.raises(TypeError, match="built-in ExceptionGroup"):
                    hb.ctx.send(group)

    async def test_an_exception_class_of_python_code_is_one(self, hb: Any) -> None:
        """Guarantee 1.1: heard or not, a subclass of a group included."""
        for event in (Failed("x"), Group("x", [ValueError()]), asyncio.InvalidStateError()):
            async with hb.ctx.scope("test"):
                hb.ctx.send(event)
                subscription = hb.ctx.subscribe(type(event))
                hb.ctx.send(event)
                assert subscription.receive_nowait() is event

    @pytest.mark.parametrize("says", [0, 1 << 9 | 1 << 10, ValueError("of the metaclass")])
    async def test_what_a_metaclass_says_of_flags_is_not_asked(self, hb: Any, says: Any) -> None:
        """Guarantee 1.4: neither what it raises nor a number that would make events of classes."""

        class Meta(type):
            @property
            def __flags__(cls) -> Any:  # type: ignore[override]
                if isinstance(says, Exception):
                    raise says
                return says

        class Event(metaclass=Meta):
            pass

        class KindOfClass(type, metaclass=Meta):
            pass

        async with hb.ctx.scope("test"):
            for _ in range(2):
                hb.ctx.send(Event())
                with pytest.raises(TypeError, match="not a class"):
                    hb.ctx.send(KindOfClass("Made", (), {}))
            subscription = hb.ctx.subscribe(Event)
            hb.ctx.send(event := Event())
            assert subscription.receive_nowait() is event

    async def test_a_class_that_goes_is_not_remembered(self, hb: Any) -> None:
        """Guarantee 1.4, 3.4: its identity may be given to another."""
        known = of_the_package(hb, "_bus.refusals").KNOWN

        class Event:
            pass

        key = id(Event)
        async with hb.ctx.scope("test"):
            hb.ctx.send(Event())
            hb.ctx.subscribe(Event).close()
            del Event
            gc.collect()
            assert key not in known

    async def test_both_ways_of_telling_agree_on_every_class(self, hb: Any) -> None:
        """Guarantee 1.4: the flags that the compiled twin looks at, those of the pure one, and the slow answer."""
        rules = of_the_package(hb, "_bus.refusals")
        kinds: dict[int, Any] = {}
        left: list[Any] = [object]
        while left:
            kind = left.pop()
            if id(kind) not in kinds:
                kinds[id(kind)] = kind
                left += type.__subclasses__(kind)
        assert len(kinds) > 1000
        async with hb.ctx.scope("test"):
            for kind in kinds.values():
                try:
                    hb.ctx.subscribe(kind).close()
                except TypeError:
                    accepted = False
                else:
                    accepted = True
                assert accepted == rules.is_event_type(kind), kind


class Shown:
    """An object whose repr is what it was given, or raises that."""

    def __init__(self, repr_: Any) -> None:
        self.repr = repr_

    def __repr__(self) -> str:
        if isinstance(self.repr, str):
            return self.repr
        raise self.repr


class Liar:
    """Says that it is of no class at all."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise LookupError("asked for its class")


class Subtle(str):
    """A text that makes other text of itself."""

    def __str__(self) -> str:
        raise LookupError("written")

    def __format__(self, spec: str) -> str:
        raise LookupError("formatted")

    def isprintable(self) -> bool:
        raise LookupError("looked at")

    __repr__ = __str__


def endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


ODD: dict[str, Any] = {
    "number of 5,001 digits": 10**5000,
    "negative one": -(10**5000),
    "one in a list": [10**5000],
    "one in a dict": {"key": 10**5000},
    "repr raises": Shown(ValueError("no")),
    "repr recurs": Shown(RecursionError("no")),
    "repr is huge": Shown("x" * 10_000_000),
    "repr obeys": Shown("\x1b[2J\n\ud800"),
    "repr is odd": Shown(Subtle("text")),
    "no class": Liar(),
    "names raise": NamesRaise("One", (), {})(),
    "a class whose names raise": NamesRaise("One", (), {}),
    "decimal": decimal.Decimal("sNaN"),
    "endless": endless(),
    "huge": dict.fromkeys(range(1000), "x" * 1000),
}

CALLS: dict[str, Any] = {
    "subscribe": lambda hb, odd: hb.ctx.subscribe(odd),
    "subscribe limit": lambda hb, odd: hb.ctx.subscribe(Plain, limit=odd),
    "subscribe overflow": lambda hb, odd: hb.ctx.subscribe(Plain, limit=1, overflow=odd),
    "subscribe overflow alone": lambda hb, odd: hb.ctx.subscribe(Plain, overflow=odd),
    "batches": lambda hb, odd: hb.ctx.subscribe(Plain).batches(odd),
    "first timeout": lambda hb, odd: hb.ctx.subscribe(Plain).first(timeout=odd),
    "flush": lambda hb, odd: hb.ctx.flush(odd),
    "flush timeout": lambda hb, odd: hb.ctx.flush(Plain, timeout=odd),
    "on": lambda hb, odd: hb.ctx.on(Plain, odd),
    "on type": lambda hb, odd: hb.ctx.on(odd, print),
    "on workers": lambda hb, odd: hb.ctx.on(Plain, print, workers=odd),
    "on errors": lambda hb, odd: hb.ctx.on(Plain, print, errors=odd),
    "spawn": lambda hb, odd: hb.ctx.spawn(odd),
    "spawn what gives no coroutine": lambda hb, odd: hb.ctx.spawn(lambda: odd),
    "scope": lambda hb, odd: hb.ctx.scope(odd),
    "scope state": lambda hb, odd: hb.ctx.scope("test", odd),
    "scope disposables": lambda hb, odd: hb.ctx.scope("test", disposables=[odd]),
    "state": lambda hb, odd: hb.ctx.state(odd),
    "updated": lambda hb, odd: hb.ctx.updated(odd).__enter__(),
    "record kind": lambda hb, odd: hb.ctx.record(metric="m", value=1, kind=odd),
    "record metric without value": lambda hb, odd: hb.ctx.record(metric=odd),
    "record both": lambda hb, odd: hb.ctx.record(metric=odd, event=odd, value=1),
    "settle": lambda hb, odd: of_the_package(hb, "testing").settle(odd),
    "record_events": lambda hb, odd: of_the_package(hb, "testing").record_events(odd),
    "field": lambda hb, odd: State_of(hb)(number=odd),
}
# What one of them may be given.
TAKEN = {
    ("subscribe limit", "number of 5,001 digits"),
    ("batches", "number of 5,001 digits"),
    ("field", "number of 5,001 digits"),
    ("field", "negative one"),
    ("field", "no class"),  # State asks isinstance(), as its users' classes may want it
    ("subscribe", "a class whose names raise"),
    ("on type", "a class whose names raise"),
    ("flush", "a class whose names raise"),
    ("record_events", "a class whose names raise"),
}


def State_of(hb: Any) -> Any:  # noqa: N802
    class Numbered(hb.State):
        number: int

    return Numbered


class TestRefusals:
    @pytest.mark.parametrize("odd", ODD)
    async def test_every_refusal_is_ours_whatever_was_given(self, hb: Any, odd: str) -> None:
        """Guarantee 1.4, 5.10: one bounded line that no terminal obeys, and no error of the value's own."""
        async with hb.ctx.scope("test"):
            for name, call in CALLS.items():
                if (name, odd) in TAKEN:
                    continue
                with pytest.raises(Exception) as refused:  # noqa: PT011
                    await call(hb, ODD[odd])
                assert refused.type in (TypeError, ValueError, hb.StateError), (name, refused.value)
                text = str(refused.value)
                assert 20 < len(text) < 500, name
                assert text.isprintable(), name
                assert "Exceeds the limit" not in text, name

    @pytest.mark.parametrize("odd", ODD)
    async def test_records_and_logs_take_them(
        self, hb: Any, odd: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 8.1: to record does not fail the code that records."""
        caplog.set_level(logging.DEBUG)
        async with hb.ctx.scope("test"):
            hb.ctx.record(attributes={"odd": ODD[odd]})
            hb.ctx.record(event="happened", attributes={"odd": ODD[odd]})
            hb.ctx.record(metric="measured", value=1.0, attributes={"odd": ODD[odd]})
        assert len([one for one in caplog.messages if "odd=" in one]) == 3

    async def test_an_exception_without_a_text_leaves_its_scope_as_it_is(
        self, hb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Guarantee 5.5, 8.2: whoever records it."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise LookupError("told")

        caplog.set_level(logging.DEBUG)
        recorders = [None]
        if "opentelemetry.sdk.trace" in sys.modules or importlib.util.find_spec("opentelemetry"):
            made = of_the_package(hb, "integrations.opentelemetry").OpenTelemetryObservability
            from opentelemetry.sdk.trace import TracerProvider

            recorders.append(made(tracer_provider=TracerProvider(shutdown_on_exit=False)))
        for recorder in recorders:
            with pytest.raises(Mute):
                async with hb.ctx.scope("test", observability=recorder):
                    hb.ctx.record(attributes={"odd": 10**5000, "list": [Shown(Mute()), 10**30]})
                    raise Mute

    async def test_a_state_that_cannot_be_made_says_so_whatever_its_default_raises(
        self, hb: Any
    ) -> None:
        """Guarantee 5.10."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise LookupError("told")

        def make() -> int:
            raise Mute

        class Made(hb.State):
            number: int = hb.Default(factory=make)

        async with hb.ctx.scope("test"):
            with pytest.raises(hb.ContextStateMissing, match="defaults .its text cannot be made"):
                hb.ctx.state(Made)

    @pytest.mark.parametrize("timeout", [10**400, -(10**400), float("nan")])
    async def test_a_time_that_no_loop_can_reckon_with_is_refused(
        self, hb: Any, timeout: float
    ) -> None:
        """Guarantee 2.12, 4.4: in our words, not by an OverflowError of the loop's."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Plain)
            hb.ctx.send(Plain())
            with pytest.raises(ValueError, match="timeout in seconds, not "):
                await subscription.first(timeout=timeout)
            with pytest.raises(ValueError, match="timeout in seconds, not "):
                await hb.ctx.flush(Plain, timeout=timeout)

    @pytest.mark.parametrize("seconds", [10**400, float("nan"), "1", -1.0, Shown(ValueError())])
    async def test_a_time_of_an_integration_is_checked_when_it_is_given(
        self, hb: Any, seconds: Any
    ) -> None:
        """Guarantee 1.4: and not found out when the loop, or the broker, is given it."""
        sse, asgi = (of_the_package(hb, f"integrations.{name}") for name in ("sse", "asgi"))
        async with hb.ctx.scope("test"):
            with pytest.raises(ValueError, match="seconds above 0, not "):
                sse.EventStream(hb.ctx.subscribe(Plain), ping=seconds)
        with pytest.raises(ValueError, match="seconds from 0 up, not "):
            asgi.ScopeMiddleware(print, grace=seconds)
        if importlib.util.find_spec("nats"):
            nats = of_the_package(hb, "integrations.nats")
            for name in ("ack_wait", "heartbeat", "drain_timeout"):
                with pytest.raises(ValueError, match=f"{name}= is a time in seconds"):
                    nats.NatsBridge("nats://127.0.0.1", **{name: seconds})

    @pytest.mark.parametrize("timeout", [10**300, float("inf"), 1e308])
    async def test_a_time_that_is_never_over_is_a_time(self, hb: Any, timeout: float) -> None:
        """Guarantee 2.12."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Plain)
            task = hb.ctx.spawn(subscription.first(timeout=timeout))
            await turns()
            hb.ctx.send(Plain())
            assert type(await task) is Plain

    async def test_a_scope_has_the_text_of_its_name(self, hb: Any) -> None:
        """Guarantee 5.1: a str of a subclass is what it is, not what it says."""
        scope = hb.ctx.scope(Subtle("orders"))
        assert type(scope.name) is str
        assert repr(scope) == "<Scope 'orders'>"
        async with hb.ctx.scope("x" * 1_000_000) as _:
            assert len(repr(hb._bus.current.get())) < 200

    async def test_near_the_end_of_the_stack_a_refusal_is_ours_or_pythons(self, hb: Any) -> None:
        """Guarantee 1.4: a RecursionError if there is no room for words, and never another."""

        def down(depth: int) -> None:
            with suppress(TypeError, RecursionError):
                hb.ctx.send(ODD["one in a dict"])
            down(depth + 1)

        async with hb.ctx.scope("test"):
            with pytest.raises(RecursionError):
                down(0)

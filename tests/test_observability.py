"""Guarantee 8.1 and 8.2: what is logged and recorded, and where it goes."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from tests.shared import COUNTS_REFERENCES, let_go

pytestmark = pytest.mark.anyio


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda scope, *args: self.told.append((name, scope and scope.name, *args))


async def test_messages_go_to_the_logger_of_the_scope_with_its_trace_id(
    hb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 8.1, 8.2: level, arguments, exception, and the line that logged it."""
    caplog.set_level(logging.DEBUG, "shop")
    async with hb.ctx.scope("shop") as trace_id:
        caplog.clear()
        error = LookupError("gone")
        hb.ctx.log_error("failed %s", "twice", exception=error)
        hb.ctx.log_warning("warned")
        hb.ctx.log_info("100 % informed")
        hb.ctx.log_debug("debugged")
        records = list(caplog.records)
    assert [(one.levelname, one.getMessage()) for one in records] == [
        ("ERROR", "failed twice"),
        ("WARNING", "warned"),
        ("INFO", "100 % informed"),
        ("DEBUG", "debugged"),
    ]
    assert {one.name for one in records} == {"shop"}
    assert {one.trace_id for one in records} == {trace_id}  # type: ignore[attr-defined]
    assert {one.filename for one in records} == {"test_observability.py"}
    assert records[0].exc_info is not None
    assert records[0].exc_info[1] is error


async def test_outside_a_scope_messages_go_to_the_logger_of_the_package(
    hb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hb.ctx.log_warning("nobody's")
    hb.ctx.record(logging.WARNING, event="nobody's")
    assert [(one.name, one.trace_id) for one in caplog.records] == [("haiway_bus", "")] * 2  # type: ignore[attr-defined]


async def test_record_is_at_debug_unless_a_level_is_given(
    hb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 8.1, 8.2."""
    caplog.set_level(logging.DEBUG, "shop")
    async with hb.ctx.scope("shop"):
        caplog.clear()
        hb.ctx.record(attributes={"user": "u1"})
        hb.ctx.record(logging.INFO, event="sold", attributes={"sku": 5})
        hb.ctx.record(metric="sales", value=2)
        hb.ctx.record(
            logging.WARNING,
            metric="wait",
            value=0.5,
            unit="s",
            kind="histogram",
            attributes={"q": 1},
        )
        records = list(caplog.records)
    assert [(one.levelname, one.getMessage()) for one in records] == [
        ("DEBUG", "attributes user='u1'"),
        ("INFO", "event sold sku=5"),
        ("DEBUG", "counter sales = 2"),
        ("WARNING", "histogram wait = 0.5 s q=1"),
    ]
    assert {one.filename for one in records} == {"test_observability.py"}


async def test_what_is_neither_event_nor_metric_nor_attributes_is_refused(hb: Any) -> None:
    """Guarantee 8.1."""
    for given, kind, says in (
        ({}, TypeError, "needs an event, a metric or attributes"),
        ({"event": "a", "metric": "b", "value": 1}, TypeError, "not both"),
        ({"metric": "b"}, TypeError, "needs a value for the metric 'b'"),
        ({"event": "a", "value": 1}, TypeError, "with a metric only"),
        ({"attributes": {}, "unit": "s"}, TypeError, "with a metric only"),
        (
            {"metric": "b", "value": 1, "kind": "sum"},
            ValueError,
            "counter, gauge, histogram, not 'sum'",
        ),
    ):
        with pytest.raises(kind, match=says):
            hb.ctx.record(**given)


async def test_a_recorder_is_told_all_and_nested_scopes_inherit_it(hb: Any) -> None:
    """Guarantee 5.1, 8.1."""
    recorder, other = Recorder(), Recorder()
    async with hb.ctx.scope("outer", observability=recorder):
        async with hb.ctx.scope("inner"):
            hb.ctx.log_info("hello %s", "you")
            hb.ctx.record(event="seen")
        async with hb.ctx.scope("silent", observability=other):
            hb.ctx.log_info("elsewhere")
    assert recorder.told == [
        ("scope_entered", "outer"),
        ("scope_entered", "inner"),
        ("log", "inner", logging.INFO, "hello %s", ("you",), None),
        ("record_event", "inner", logging.DEBUG, "seen", {}),
        ("scope_exited", "inner", None),
        ("scope_exited", "outer", None),
    ]
    assert [one[0] for one in other.told] == ["scope_entered", "log", "scope_exited"]


async def test_a_recorder_is_told_the_exception_that_leaves_the_scope(hb: Any) -> None:
    recorder = Recorder()
    error = LookupError("gone")
    with pytest.raises(LookupError):
        async with hb.ctx.scope("outer", observability=recorder):
            raise error
    assert recorder.told[-1] == ("scope_exited", "outer", error)


async def test_a_recorder_may_choose_the_ids_of_scopes(hb: Any) -> None:
    """Guarantee 5.1, 8.2: so that what ctx.scope gives is what its backend can be searched for."""
    asked: list[tuple[Any, ...]] = []

    class Choosing(hb.LoggingObservability):  # type: ignore[misc,name-defined]
        def identify_scope(self, name: str, around: Any, isolated: bool) -> Any:
            asked.append((name, around and around.name, isolated))
            return hb.ScopeIdentity(name, "t1", "s1", None) if name == "chosen" else None

    async with hb.ctx.scope("chosen", observability=Choosing()) as trace_id:
        assert trace_id == "t1" == hb.ctx.trace_id()
        async with hb.ctx.scope("left to it", isolated=True) as inner:
            assert inner == "t1"
    assert asked == [("chosen", None, False), ("left to it", "chosen", True)]


async def test_a_recorder_may_be_told_the_last_numbers_of_a_type(hb: Any) -> None:
    """Guarantee 8.3: with its last subscription, closed, dropped or ended with its task; once for each time."""
    told: list[Any] = []

    class Event(hb.State):  # type: ignore[misc,name-defined]
        number: int

    class Keeping(hb.LoggingObservability):  # type: ignore[misc,name-defined]
        def type_forgotten(self, scope: Any, event_type: type, stats: Any) -> None:
            assert event_type not in hb.ctx.events()
            told.append((scope.name, event_type, stats))

    async with hb.ctx.scope("shop", observability=Keeping()):
        first, second = hb.ctx.subscribe(Event), hb.ctx.subscribe(Event, limit=1)
        async with hb.ctx.scope("nested"):
            for number in range(3):
                hb.ctx.send(Event(number=number))
        await anext(first)
        first.close()
        first.close()
        assert told == []
        del second
        gc.collect()
        let_go()
        assert told == [("shop", Event, hb.EventStats(0, 3, 1, 2, 0, 0))]
        hb.ctx.on(Event, lambda _: None)
        hb.ctx.send(Event(number=3))
        async with hb.ctx.scope("island", isolated=True):
            kept = hb.ctx.subscribe(Event)
    # Where no references are counted, the subscription of `on` is dropped after the end of its bus, like the island's.
    later = [("shop", Event, hb.EventStats(0, 1, 1, 0, 0, 0))] if COUNTS_REFERENCES else []
    assert told[1:] == later
    kept.close()
    let_go()
    assert told[1:] == later


async def test_a_recorder_that_is_false_is_one(hb: Any) -> None:
    """Guarantee 5.1, 8.2: an empty list of records, for example; also for the scopes inside."""

    class Records(Recorder):
        def __len__(self) -> int:
            return 0

    records = Records()
    async with hb.ctx.scope("outer", observability=records):
        async with hb.ctx.scope("inner"):
            hb.ctx.log_info("heard")
    assert "heard" in [told[3] for told in records.told if told[0] == "log"]


@pytest.mark.parametrize("nested", [False, True])
async def test_a_recorder_that_fails_the_entry_leaves_nothing_open(hb: Any, nested: bool) -> None:
    """Guarantee 5.2, 5.7: what stood before the entry stands again."""

    class Broken(Recorder):
        def scope_entered(self, scope: Any) -> None:
            raise OSError("collector is down")

    class Event:
        pass

    async def enter() -> None:
        broken = Broken()
        scope = hb.ctx.scope("broken", observability=broken, isolated=nested)
        before = hb._bus.current.get()
        with pytest.raises(OSError, match="collector is down"):
            async with scope:
                raise AssertionError("the body must not run")
        assert not scope.is_open
        assert scope.bus.ended
        assert hb._bus.current.get() is before
        assert not broken.told
        if not nested:
            with pytest.raises(hb.ContextMissing, match="needs a scope"):
                hb.ctx.send(Event())

    if nested:
        async with hb.ctx.scope("outer") as trace_id:
            await enter()
            assert hb.ctx.trace_id() == trace_id
            async with hb.ctx.scope("inner"):
                subscription = hb.ctx.subscribe(Event)
            hb.ctx.send(Event())
            assert subscription.pending == 1
    else:
        await enter()

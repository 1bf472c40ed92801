"""Testing help for users: `settle`, the recorder, and the pytest plugin under anyio's plugin and pytest-asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest


class Ordered:
    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number})"


class Paid(Ordered):
    pass


@pytest.fixture
def testing(hb: Any) -> Any:
    return importlib.import_module("haiway_bus.testing")


@pytest.mark.anyio
class TestSettle:
    async def test_chains_of_handlers_have_done_their_work_and_go_on_waiting(
        self, hb: Any, testing: Any
    ) -> None:
        """Guarantee 5.4: what is idle at the end of a scope is what settle() waits for, without ending it."""
        got = []

        async def pay(event: Ordered) -> None:
            await asyncio.sleep(0.002)
            hb.ctx.send(Paid(event.number))

        async with hb.ctx.scope("test"):
            hb.ctx.on(Ordered, pay)
            hb.ctx.on(Paid, lambda event: got.append(event.number))
            for number in range(3):
                hb.ctx.send(Ordered(number))
                await testing.settle()
                assert got == list(range(number + 1))

    async def test_tasks_of_all_scopes_on_the_bus_are_waited_for(
        self, hb: Any, testing: Any
    ) -> None:
        """The outer scope asks about a nested scope, and a nested scope about the outer."""
        done, inside = [], asyncio.Event()

        async def work(name: str) -> None:
            await asyncio.sleep(0.002)
            done.append(name)

        async def nested(subscription: Any) -> None:
            async with hb.ctx.scope("nested"):
                hb.ctx.spawn(work, "of a nested scope")
                inside.set()
                await anext(subscription)

        async with hb.ctx.scope("test"):
            task = hb.ctx.spawn(nested, hb.ctx.subscribe(Ordered))
            await inside.wait()
            await testing.settle()
            assert done == ["of a nested scope"]
            assert not task.done()
            hb.ctx.spawn(work, "of the outer scope")
            async with hb.ctx.scope("other"):
                await testing.settle()
                assert done[1:] == ["of the outer scope"]
            hb.ctx.send(Ordered(1))

    async def test_a_reader_that_no_scope_spawned_has_been_woken_for_what_was_sent(
        self, hb: Any, testing: Any
    ) -> None:
        got = []

        async def read(subscription: Any) -> None:
            async for event in subscription:
                got.append(event.number)

        async with hb.ctx.scope(
            "test", turn=1e-9
        ):  # so that each of its reads is put off to the next turn
            task = asyncio.ensure_future(read(hb.ctx.subscribe(Ordered)))
            await asyncio.sleep(0)
            for number in range(100):
                hb.ctx.send(Ordered(number))
            await testing.settle()
            assert got == list(range(100))
        await task

    async def test_what_nobody_reads_and_what_threads_sent(self, hb: Any, testing: Any) -> None:
        """Guarantee 6.2: an event of a thread is delivered; one that waits for no reader is in nobody's hands."""
        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Ordered)
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(hb.ctx.send, Ordered(1)))
            thread.start()
            thread.join()
            await testing.settle()
            assert subscription.pending == 1
            assert subscription.receive_nowait() == Ordered(1)

    async def test_a_task_of_the_scope_may_ask(self, hb: Any, testing: Any) -> None:
        async with hb.ctx.scope("test"):
            await hb.ctx.spawn(testing.settle)

    async def test_a_time_out_names_who_is_at_work(self, hb: Any, testing: Any) -> None:
        async def tick() -> None:
            while True:
                await asyncio.sleep(0.001)

        async with hb.ctx.scope("shop"):
            task = hb.ctx.spawn(tick)
            with pytest.raises(TimeoutError, match=r"'shop' did not settle within 0.02 s.*tick"):
                await testing.settle(timeout=0.02)
            task.cancel()

    async def test_outside_a_scope_it_is_refused(self, hb: Any, testing: Any) -> None:
        """Guarantee 5.2."""
        with pytest.raises(hb.ContextMissing, match=r"settle\(\)"):
            await testing.settle()

    async def test_scopes_that_were_left_are_forgotten(self, hb: Any) -> None:
        scope = hb.ctx.scope("test")
        async with scope:
            for _ in range(3):
                async with hb.ctx.scope("nested"):
                    assert len(scope._inside.tasks.bus_scopes) == 2
            async with hb.ctx.scope("isolated", isolated=True):
                assert len(scope._inside.tasks.bus_scopes) == 1


@pytest.mark.anyio
class TestRecorder:
    async def test_it_records_by_type_and_in_the_order_of_delivery(
        self, hb: Any, testing: Any
    ) -> None:
        """Guarantee 2.1: a recorder equals a list when each type's events are the same in the same order."""
        async with hb.ctx.scope("test"):
            hb.ctx.on(Ordered, lambda event: hb.ctx.send(Paid(event.number)))
            hb.ctx.send(Ordered(0))  # before
            recorder = testing.record_events(Ordered, Paid, Ordered)
            await testing.settle()
            recorder.clear()
            hb.ctx.send(Ordered(1))
            await testing.settle()
            assert recorder.all == list(recorder) == [Ordered(1), Paid(1)]
            hb.ctx.send(Ordered(2))
            await testing.settle()
            assert recorder.of(Ordered) == [Ordered(1), Ordered(2)]
            assert recorder == [Ordered(1), Ordered(2), Paid(1), Paid(2)]
            assert recorder == (Paid(1), Ordered(1), Ordered(2), Paid(2))
            assert recorder != [Ordered(2), Ordered(1), Paid(1), Paid(2)]
            assert recorder != "something else"
            assert len(recorder) == 4
            assert repr(recorder).startswith("<EventRecorder of Ordered, Paid: Ordered(1)")
            other = testing.record_events(Paid)
            assert recorder != other
            recorder.clear()
            assert recorder == other == []
        assert recorder == []

    async def test_asking_too_early_is_an_error_and_not_a_lucky_assertion(
        self, hb: Any, testing: Any
    ) -> None:
        async with hb.ctx.scope("test"):
            recorder = testing.record_events(Ordered)
            hb.ctx.send(Ordered(1))
            with pytest.raises(RuntimeError, match=r"1 events of Ordered .*`await settle\(\)`"):
                assert recorder == []
            await testing.settle()
            assert recorder == [Ordered(1)]

    async def test_it_does_not_keep_flush_waiting(self, hb: Any, testing: Any) -> None:
        """Guarantee 4.4: a service under test that flushes goes on."""
        async with hb.ctx.scope("test"):
            testing.record_events(Ordered)
            hb.ctx.send(Ordered(1))
            await hb.ctx.flush(Ordered, timeout=5)

    async def test_what_cannot_be_recorded_is_refused(self, hb: Any, testing: Any) -> None:
        """Guarantee 1.4, 5.2."""
        with pytest.raises(hb.ContextMissing):
            testing.record_events(Ordered)
        async with hb.ctx.scope("test"):
            with pytest.raises(TypeError, match="at least one"):
                testing.record_events()
            with pytest.raises(TypeError, match="int"):
                testing.record_events(int)
            with pytest.raises(LookupError, match="beside Ordered"):
                testing.record_events(Ordered).of(Paid)

    async def test_it_explains_where_it_differs(self, hb: Any, testing: Any) -> None:
        async with hb.ctx.scope("test"):
            recorder = testing.record_events(Ordered)
            for number in (1, 2, 3):
                hb.ctx.send(Ordered(number))
            await testing.settle()
            assert recorder.explain([Ordered(1), Ordered(5)]) == [
                "recorder == expected, compared by type",
                "Ordered: 3 recorded, 2 expected, different from [1] on",
                "  recorded: Ordered(2), Ordered(3)",
                "  expected: Ordered(5)",
            ]
            assert recorder.explain([*recorder, Paid(1)])[1:] == [
                "Ordered: 3 as expected",
                "Paid: expected [Paid(1)], but not recorded",
            ]


# A user's tests. MARK makes a test run under the plugin for async tests.
SUITE = """
import asyncio
from contextlib import asynccontextmanager
import pytest
from haiway_bus import ContextMissing, Scope, State, backend, ctx

pytestmark = MARK

class OrderCreated(State):
    order_id: str

class Paid(State):
    order_id: str

class Config(State):
    level: int = 1

def bill():
    ctx.on(OrderCreated, lambda order: ctx.send(Paid(order_id=order.order_id)))

@pytest.fixture
def bus_disposables():
    @asynccontextmanager
    async def ledger():
        ctx.on(Paid, lambda paid: None)
        yield Config(level=7)
    return [ledger()]

ASYNC_FIXTURE
async def started():
    with pytest.raises(ContextMissing):
        ctx.trace_id()
    yield "started"
    with pytest.raises(ContextMissing):
        ctx.trace_id()

@pytest.mark.parametrize("number", [1, 2])
async def test_the_scope_is_current_in_the_test(bus_scope, started, record_events, settle, number):
    assert isinstance(bus_scope, Scope)
    assert bus_scope._inside.identity.trace_id == ctx.trace_id()
    assert (started, ctx.state(Config).level, backend) == ("started", 7, BACKEND)
    bill()
    recorder = record_events(OrderCreated, Paid)
    ctx.send(OrderCreated(order_id="A1"))
    await settle()
    assert recorder == [OrderCreated(order_id="A1"), Paid(order_id="A1")]
    assert recorder.of(Paid) == [Paid(order_id="A1")]

class TestInAClass:
    @pytest.mark.bus_scope(Config(level=3), isolated=True)
    async def test_a_marker_is_enough_and_gives_state(self, settle):
        assert ctx.state(Config).level in (3, 7)
        await settle()

async def test_without_the_fixture_there_is_no_scope():
    with pytest.raises(ContextMissing):
        ctx.trace_id()

async def test_an_assertion_explains_itself(bus_scope, record_events, settle):
    recorder = record_events(OrderCreated)
    ctx.send(OrderCreated(order_id="A1"))
    await settle()
    assert recorder == [OrderCreated(order_id="A2")]

async def test_a_task_that_fails_fails_the_test(bus_scope):
    async def fail():
        raise ValueError("the service broke")
    ctx.spawn(fail)

@pytest.mark.skipif(False, reason="")
async def test_skipping_inside(bus_scope):
    pytest.skip("not today")

@pytest.mark.bus_scope
async def test_endless_readers_do_not_hang_it(settle):
    async def read():
        async for _ in ctx.subscribe(OrderCreated):
            pass
    ctx.spawn(read)
    await settle()
"""

ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def run_suite(folder: Path, suite: str, *args: str, pure: bool = False) -> tuple[str, int]:
    """Run pytest in another process, where warnings are errors, without plugins that take long to import."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_suite.py").write_text(textwrap.dedent(suite))
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "pytest", "-W", "error", "-p", "no:cacheprovider",
         "-p", "no:benchmark", "-p", "no:hypothesispytest", "--strict-markers", "-rA", *args],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "HAIWAY_BUS_PURE": "1" if pure else "", "PYTEST_ADDOPTS": "", "NO_COLOR": "1"},
    )  # fmt: skip
    return result.stdout + result.stderr, result.returncode


UNDER = {
    "anyio": ("pytest.mark.anyio", "@pytest.fixture", ["-p", "no:asyncio"]),
    "strict": (
        "pytest.mark.asyncio",
        "import pytest_asyncio\n@pytest_asyncio.fixture",
        ["-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function"],
    ),
    "auto": (
        "[]",
        "@pytest.fixture",
        ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"],
    ),
    "one loop": (
        "[]",
        "@pytest.fixture",
        ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=session",
         "-o", "asyncio_default_test_loop_scope=session"],
    ),
    "two processes": ("pytest.mark.anyio", "@pytest.fixture", ["-p", "no:asyncio", "-n", "2"]),
}  # fmt: skip


def need_what_runs(under: str) -> None:
    needed = {"anyio": "anyio", "two processes": "xdist"}.get(under, "pytest_asyncio")
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs the dependency group servers ({needed})")


@pytest.mark.parametrize("under", sorted(UNDER))
def test_a_users_suite_runs_under_both_plugins_for_async_tests(
    hb: Any, tmp_path: Path, under: str
) -> None:
    """In strict, auto and session-loop mode of pytest-asyncio, and with pytest-xdist. Warnings are errors."""
    mark, fixture, args = UNDER[under]
    need_what_runs(under)
    suite = SUITE.replace("MARK", mark).replace("ASYNC_FIXTURE", fixture)
    suite = suite.replace("BACKEND", repr(hb.backend)) + (ANYIO if "anyio" in mark else "")
    output, _ = run_suite(tmp_path, suite, *args, pure=hb.backend == "pure")
    said = dict(
        reversed(pair)
        for pair in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", output, re.MULTILINE)
    )
    assert said == {
        "test_the_scope_is_current_in_the_test": "PASSED",
        "test_a_marker_is_enough_and_gives_state": "PASSED",
        "test_without_the_fixture_there_is_no_scope": "PASSED",
        "test_endless_readers_do_not_hang_it": "PASSED",
        "test_an_assertion_explains_itself": "FAILED",
        "test_a_task_that_fails_fails_the_test": "FAILED",
    }, output  # fmt: skip
    assert "2 failed, 5 passed, 1 skipped" in output
    assert "OrderCreated: 1 recorded, 1 expected, different from [0] on" in output
    assert "the service broke" in output


@pytest.mark.parametrize("under", sorted(UNDER))
def test_the_tests_on_the_page_about_testing_pass(hb: Any, tmp_path: Path, under: str) -> None:
    """docs/guide/testing.md, without the `asyncio.run` that replaces a plugin there."""
    mark, _, args = UNDER[under]
    need_what_runs(under)
    page = Path(__file__).resolve().parent.parent / "docs" / "guide" / "testing.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    suite = re.sub(r"^asyncio\.run\(.*\)$", "", "\n".join(blocks), flags=re.MULTILINE)
    suite = f"import pytest\n{suite}\npytestmark = {mark}\n" + (ANYIO if "anyio" in mark else "")
    output, code = run_suite(tmp_path, suite, *args, pure=hb.backend == "pure")
    assert code == 0, output
    assert f"{suite.count('async def test_')} passed" in output


OUT_OF_TIME = """
import asyncio, signal, threading
import pytest
from haiway_bus import ctx

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def poll_database():
    await asyncio.sleep(60)

async def test_from_outside(bus_scope):
    def out_of_time(*_):
        HOW
    signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    ctx.spawn(poll_database)

async def test_from_inside():
    async def service():
        async with ctx.scope("shop"):
            ctx.spawn(poll_database)
    await asyncio.wait_for(service(), 0.05)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs an alarm")
@pytest.mark.parametrize("how", ["time-out", "Ctrl+C"])
def test_a_test_that_runs_out_of_time_shows_whom_its_scope_waits_for(
    tmp_path: Path, how: str
) -> None:
    """Guarantee 5.11: as pytest-timeout ends a test, as `wait_for` does, and when somebody interrupts the run."""
    does = "raise KeyboardInterrupt" if how == "Ctrl+C" else 'pytest.fail("Timeout")'
    output, code = run_suite(tmp_path, OUT_OF_TIME.replace("HOW", does), "-p", "no:asyncio")
    name = "haiway_bus: tasks that scopes wait for at their end"
    assert code == (2 if how == "Ctrl+C" else 1), output
    assert name in output
    who = r"the task 'Task-\d+' at \S+test_suite.py:\d+ in poll_database waits for asyncio.sleep"
    assert re.search(f"the end of the scope 'test_from_outside' waited for {who}", output), output
    if how == "time-out":
        # It is in the traceback too.
        found = re.findall(f"the end of the scope 'shop' waited for {who}", output)
        assert (output.count(name), len(found)) == (2, 2), output


def test_a_test_that_is_not_async_is_told_so(tmp_path: Path) -> None:
    output, _ = run_suite(tmp_path, "def test_it(bus_scope): pass", "-p", "no:asyncio")
    assert "bus_scope runs an `async def` test in a scope, and test_it is no such test" in output
    assert "1 error" in output


def test_a_mark_on_one_parameter_is_for_that_one(tmp_path: Path) -> None:
    """Other parameters run without a scope, in any order. A marked test that is not async is an error."""
    output, code = run_suite(
        tmp_path,
        """
        import pytest
        from haiway_bus import ContextMissing, ctx

        marked = pytest.mark.bus_scope

        @pytest.mark.anyio
        @pytest.mark.parametrize("scope", [False, pytest.param(True, marks=marked), False])
        async def test_it(scope, request):
            assert ("bus_scope" in request.fixturenames) == scope
            if scope:
                assert ctx.trace_id()
            else:
                with pytest.raises(ContextMissing):
                    ctx.trace_id()

        @pytest.mark.parametrize("scope", [False, pytest.param(True, marks=marked), False])
        def test_that_is_not_async(scope):
            pass
        """
        + textwrap.indent(ANYIO, " " * 8),
        "-p",
        "no:asyncio",
    )
    assert code == 1
    assert "5 passed, 1 error" in output
    assert "test_that_is_not_async[True] is no such test" in output


def test_a_test_of_unittest_is_told_so_and_how_to_have_a_scope(tmp_path: Path) -> None:
    """unittest runs the test itself, so a fixture cannot open a scope around it."""
    output, _ = run_suite(
        tmp_path,
        """
        import unittest
        import pytest
        from haiway_bus import ctx

        class TestMarked(unittest.IsolatedAsyncioTestCase):
            @pytest.mark.bus_scope
            async def test_it(self):
                raise AssertionError("ran without its scope")

        class TestAsTold(unittest.IsolatedAsyncioTestCase):
            async def test_it(self):
                async with ctx.scope("test"):
                    assert ctx.trace_id()
        """,
        "-p",
        "no:asyncio",
    )
    assert "does not work in a unittest.TestCase such as TestMarked: open the" in output
    assert "ran without its scope" not in output.replace('raise AssertionError("', "")
    assert "1 passed, 1 error" in output


def test_another_backend_of_anyio_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("trio")
    output, _ = run_suite(
        tmp_path,
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "trio"

        @pytest.mark.anyio
        async def test_it(bus_scope): pass
        """,
        "-p",
        "no:asyncio",
    )
    assert "bus_scope needs asyncio" in output


def test_pytest_starts_without_importing_the_package(tmp_path: Path) -> None:
    """Coverage tools start after the plugins, and tests may want to choose the backend first."""
    output, code = run_suite(
        tmp_path,
        """
        import sys

        def test_it():
            assert "_haiway_bus_pytestplugin" in sys.modules
            assert "haiway_bus" not in sys.modules
        """,
        "-p",
        "no:asyncio",
    )
    assert code == 0, output

"""The pytest plugin of haiway_bus: `bus_scope`, `record_events`, `settle`.

pytest imports a plugin when it starts. If this module were inside the package, that would import all of the package,
before coverage tools look and before a suite can choose the backend. So it stands beside the package and imports it in
the fixtures.
"""

from __future__ import annotations

import functools
import inspect
import sys
import unittest
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from haiway_bus import Disposable, Scope, State
    from haiway_bus.testing import EventRecorder


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "bus_scope(*state, **options): run the async test in a haiway_bus scope with this state;"
        " the options are those of ctx.scope.",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    names: list[str] | None = getattr(item, "fixturenames", None)
    if names is not None and "bus_scope" not in names and item.get_closest_marker("bus_scope"):
        # Make a new list: pytest shares a list between all parameters of a test, and only some may have the mark.
        item.fixturenames = [*names, "bus_scope"]  # type: ignore[attr-defined]


@pytest.fixture
def bus_state() -> Iterable[State]:
    """State of the test's scope, beside the state in its marker. Override it."""
    return ()


@pytest.fixture
def bus_disposables() -> Iterable[Disposable]:
    """Async context managers to enter in the test's scope, around the test. Override it.

    An async fixture runs before the scope is open. So put here what subscribes or spawns for a test.
    """
    return ()


@pytest.fixture
def bus_scope(
    request: pytest.FixtureRequest,
    bus_state: Iterable[State],
    bus_disposables: Iterable[Disposable],
) -> Iterator[Scope]:
    """A scope with its own bus, in which the async test runs. `ctx` works in the test, and a failing task fails it.

    The test ends as every scope does: when its tasks have finished or wait for events alone.
    """
    from haiway_bus import ctx

    item: Any = request.node
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        pytest.fail(
            f"bus_scope runs an `async def` test in a scope, and {item.name} is no such test (a test under"
            " hypothesis.given opens a scope for each example itself: `async with ctx.scope(...)`)",
            pytrace=False,
        )
    if item.cls is not None and issubclass(item.cls, unittest.TestCase):
        # A TestCase looks up its methods itself, and would run the test without a scope.
        pytest.fail(
            f"bus_scope does not work in a unittest.TestCase such as {item.cls.__qualname__}: open the scope in the"
            ' test itself, `async with ctx.scope("test"):`',
            pytrace=False,
        )
    marker = item.get_closest_marker("bus_scope")
    args, kwargs = ((), {}) if marker is None else (marker.args, dict(marker.kwargs))
    # None means no disposables, as in ctx.scope() itself.
    disposables = (*(kwargs.pop("disposables", None) or ()), *(bus_disposables or ()))
    scope = ctx.scope(item.name, *args, *(bus_state or ()), disposables=disposables, **kwargs)

    # A fixture runs in another context than its test. The details differ between the plugins for async tests and
    # between their versions. The test's own coroutine is always in the right context, so open the scope there.
    @functools.wraps(test)
    async def in_scope(*args: Any, **kwargs: Any) -> None:
        _need_asyncio()
        async with scope:
            await test(*args, **kwargs)

    item.obj = in_scope
    yield scope
    item.obj = test


@pytest.fixture
def record_events() -> Callable[..., EventRecorder]:
    """`recorder = record_events(OrderCreated, Paid)` records the events of these types from now on."""
    from haiway_bus import testing

    return testing.record_events


@pytest.fixture
def settle() -> Callable[..., Awaitable[None]]:
    """`await settle()` waits until nothing is in flight on the bus of the current scope."""
    from haiway_bus import testing

    return testing.settle


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    module: Any = sys.modules.get(_MODULE)
    if module is not None:
        # A task that is cancelled, by a time-out or when the loop closes, may be gone before there is a report.
        module.cancelled_waits = []
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and report.failed and (lines := _waiting()):
        report.sections.append((_WAITING, "\n".join(lines)))
    return report


def pytest_keyboard_interrupt() -> None:
    if lines := _waiting():
        sys.stderr.write("\n".join(["", f"{_WAITING}:", *lines, ""]))


def _waiting() -> list[str]:
    """Return the tasks that scopes wait for at their end, or waited for when cancelled; none without the package."""
    module: Any = sys.modules.get(_MODULE)
    return [] if module is None else [*(module.cancelled_waits or ()), *module.waiting_ends()]


_MODULE = "haiway_bus._scope.waiting"
_WAITING = "haiway_bus: tasks that scopes wait for at their end"


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    if op != "==":
        return None
    for recorder, expected in ((left, right), (right, left)):
        # By name: the package may not be imported, and its own test suite imports it twice.
        explain = getattr(recorder, "explain", None)
        if type(recorder).__name__ == "EventRecorder" and callable(explain):
            if isinstance(expected, list | tuple):
                lines: list[str] = explain(expected)
                return lines
            return None
    return None


def _need_asyncio() -> None:
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "bus_scope needs asyncio, and this test runs on another backend of anyio: make the fixture anyio_backend"
            ' return "asyncio"'
        ) from None

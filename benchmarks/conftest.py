"""The suites of the parts: `python -P -m pytest benchmarks`. A group holds both backends and their baselines.

The package chooses its backend when it is imported, so two copies of it are held, as the tests do.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# `-P` keeps this folder off the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparison.events import Event
from comparison.streams import Topic, open_futures, open_haiway_bus, open_queues

TREE = Path(__file__).resolve().parent.parent


def import_copy(*, pure: bool) -> ModuleType:
    for name in [name for name in sys.modules if name.partition(".")[0] == "haiway_bus"]:
        del sys.modules[name]
    os.environ.pop("HAIWAY_BUS_PURE", None)
    if pure:
        os.environ["HAIWAY_BUS_PURE"] = "1"
    try:
        return importlib.import_module("haiway_bus")
    finally:
        os.environ.pop("HAIWAY_BUS_PURE", None)


# The pure backend could not be imported with it.
os.environ.pop("HAIWAY_BUS_REQUIRE_EXTENSIONS", None)
PURE = import_copy(pure=True)
INSTALLED = import_copy(pure=False)
BACKENDS = {module.backend: module for module in (PURE, INSTALLED)}
if Path(str(INSTALLED.__file__)).resolve().is_relative_to(TREE / "haiway_bus"):
    pytest.exit(
        "the benchmarks are for the installed package, and the one in the source tree was imported:"
        " install it and run `python -P -m pytest benchmarks`",
        returncode=3,
    )

OPENERS = {name: partial(open_haiway_bus, module=module) for name, module in BACKENDS.items()}
OPENERS |= {"asyncio.Queue": open_queues, "asyncio.Future": open_futures}


def pytest_report_header() -> str:
    return f"haiway_bus: {', '.join(sorted(BACKENDS))}"


@pytest.fixture(params=sorted(BACKENDS))
def hb(request: pytest.FixtureRequest) -> Any:
    """The package, on one backend after the other."""
    return BACKENDS[request.param]


@pytest.fixture
def backends() -> dict[str, Any]:
    """The package on each backend that is installed."""
    return BACKENDS


class Stage:
    """A loop that outlives the calls of a benchmark, with topics that stay open on it.

    All its coroutines run in one context, so that the scope which one of them enters is around the others.
    """

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def enter(self, manager: Any) -> Any:
        return self.run(self.stack.enter_async_context(manager))

    def open(self, contender: str, fan_out: int) -> Topic:
        topic: Topic = self.enter(OPENERS[contender](fan_out, Event))
        return topic

    def context(self) -> Context:
        """The context in which the scope is current, for calls outside the loop."""

        async def copy() -> Context:
            return copy_context()

        context: Context = self.run(copy())
        return context

    def in_context(self, function: Callable[[], object]) -> Callable[[], object]:
        return partial(self.context().run, function)

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    gc.collect()
    gc.disable()
    yield stage
    gc.enable()
    stage.close()

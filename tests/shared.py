"""What several test files need: the package on both backends, steps of the loop, events, a process of its own.

The fixtures are in conftest.py. A test file imports from here by `from tests.shared import turns`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TREE = Path(__file__).resolve().parent.parent


def own_modules() -> dict[str, ModuleType]:
    return {
        name: module
        for name, module in sys.modules.items()
        if name.startswith("haiway_bus.") or name == "haiway_bus"
    }


def switch_to(modules: dict[str, ModuleType]) -> None:
    """Make this copy of the package the one that `import haiway_bus` finds."""
    for name in own_modules():
        del sys.modules[name]
    sys.modules.update(modules)


def import_copy(*, pure: bool) -> dict[str, ModuleType]:
    """Import the package anew, with all of its modules that the tests use."""
    switch_to({})
    before = os.environ.pop("HAIWAY_BUS_PURE", None)
    if pure:
        os.environ["HAIWAY_BUS_PURE"] = "1"
    try:
        importlib.import_module("haiway_bus")
        return own_modules()
    finally:
        os.environ.pop("HAIWAY_BUS_PURE", None)
        if before is not None:
            os.environ["HAIWAY_BUS_PURE"] = before


# Taken out of the environment: the pure copy, and processes that tests start on it, could not be imported with it.
REQUIRED = os.environ.pop("HAIWAY_BUS_REQUIRE_EXTENSIONS", "").lower() not in (
    "", "0", "false", "no", "off",
)  # fmt: skip
COPIES = {"pure": import_copy(pure=True), "compiled": import_copy(pure=False)}
INSTALLED = COPIES["compiled"]["haiway_bus"]
if INSTALLED.backend != "compiled":
    del COPIES["compiled"]

COUNTS_REFERENCES = hasattr(sys, "getrefcount")


_defined: dict[tuple[str, str], dict[str, Any]] = {}


def define_once(
    hb: Any, module: dict[str, Any], public: Iterable[str], define: Callable[[], None]
) -> None:
    """Give a test module the classes that it defines of the package under test. They are made once on each backend.

    Args:
        hb: the package.
        module: the globals of the test module.
        public: the names of the package that the classes use.
        define: makes the classes, as globals of the test module.
    """
    for (owner, _), made in _defined.items():
        if owner == module["__name__"]:
            for name in made:
                module.pop(name, None)  # or a class would find that of the other backend
    key = (module["__name__"], hb.backend)
    if key not in _defined:
        names = {name: getattr(hb, name) for name in public}
        module.update(names)
        before = set(module)
        define()
        _defined[key] = names | {name: made for name, made in module.items() if name not in before}
    module.update(_defined[key])


class Ping:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Pong(Ping):
    pass


async def turns(count: int = 5) -> None:
    """Let the loop turn as often."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Let the loop turn until the condition holds: for what happens in a thread or a server, which tells nobody."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


async def in_a_task(awaitable: Awaitable[Any]) -> Any:
    """A coroutine for an awaitable, since a task takes nothing else."""
    return await awaitable


async def read(subscription: Any) -> int:
    """Read to the end.

    Returns:
        How many events there were.
    """
    number = 0
    async for _ in subscription:
        number += 1
    return number


def run(work: Coroutine[Any, Any, Any], seconds: float = 60) -> None:
    asyncio.run(asyncio.wait_for(work, seconds))


def alone(hb: Any, *arguments: str) -> str:
    """Run Python with these arguments on the backend under test. It must neither crash nor complain.

    Args:
        hb: The package, whose backend Python is to use.
        arguments: A script and its arguments, or `-c` and code, which may be indented.

    Returns:
        What it printed.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-W",
            "error",
            "-X",
            "faulthandler",
            *map(textwrap.dedent, arguments),
        ],
        # asyncio's debug mode would complain of slow callbacks.
        env={
            **os.environ,
            "HAIWAY_BUS_PURE": "1" if hb.backend == "pure" else "",
            "PYTHONASYNCIODEBUG": "",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode or done.stderr:
        pytest.fail(f"exit status {done.returncode}\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def factory(tasks: str) -> Iterator[None]:
    """Within it the loop makes its tasks so, as the fixture `tasks` says."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    if tasks == "eager":
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        probe = asyncio.sleep(0)
        try:
            probed = loop.create_task(probe)
        except TypeError:
            probe.close()
            loop.set_task_factory(before)
            pytest.skip("this uvloop and this Python do not agree on eager tasks")
        probed.cancel()
    try:
        yield
    finally:
        loop.set_task_factory(before)


def let_go() -> None:
    """What nobody holds any more is freed: at once where references are counted, else at the collector's next run
    (guarantee 3.5).

    That run is made here, and made again: an object with a `__del__` keeps what it refers to for one run more.
    """
    if not COUNTS_REFERENCES:
        for _ in range(3):
            gc.collect()

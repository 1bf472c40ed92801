"""One suite for both backends: every test that takes `hb` runs once on each.

The package chooses its backend when it is imported, so the fixture holds two copies of it: one imported as users do,
one imported under HAIWAY_BUS_PURE=1. What is imported plainly (`import haiway_bus`) is the first of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import shutil
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TREE = Path(__file__).resolve().parent.parent


def own_modules() -> dict[str, ModuleType]:
    return {
        name: sys.modules[name] for name in sys.modules if name.partition(".")[0] == "haiway_bus"
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


COUNTING = ("_bus._chain_c", "_bus._core_c", "_bus._turns_c", "state._make_c")
COPIES = {"pure": import_copy(pure=True), "compiled": import_copy(pure=False)}
INSTALLED = COPIES["compiled"]["haiway_bus"]
if INSTALLED.backend != "compiled":
    del COPIES["compiled"]

if os.environ.get("HAIWAY_BUS_REQUIRE_EXTENSIONS") == "1" and "compiled" not in COPIES:
    pytest.exit("HAIWAY_BUS_REQUIRE_EXTENSIONS=1, but the installed package is pure", returncode=3)
if Path(str(INSTALLED.__file__)).resolve().parent.parent == TREE:
    pytest.exit(
        f"the tests are for the installed package, and {INSTALLED.__file__} was imported:"
        " install it and run `python -P -m pytest`",
        returncode=3,
    )


def pytest_report_header() -> str:
    return f"haiway_bus: {', '.join(COPIES)} ({INSTALLED.__file__})"


@pytest.fixture
def copies() -> dict[str, Any]:
    """The package on each backend, for tests that compare them."""
    return {name: modules["haiway_bus"] for name, modules in COPIES.items()}


@pytest.fixture(params=sorted(COPIES))
def hb(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The package, on one backend after the other."""
    before = own_modules()
    switch_to(COPIES[request.param])
    yield sys.modules["haiway_bus"]
    switch_to(before)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The loop: asyncio's own, and uvloop where it can be had."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return "asyncio", {"use_uvloop": True}
    return "asyncio", {"use_uvloop": False}


COUNTS_REFERENCES = hasattr(sys, "getrefcount")


@pytest.fixture(params=["lazy", "eager"] if sys.version_info >= (3, 12) else ["lazy"])
def tasks(request: pytest.FixtureRequest) -> str:
    """Whether tasks begin at once, when they are made."""
    return str(request.param)


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


def counted() -> dict[str, int]:
    """How many objects of the compiled types there are: empty, unless a debug build counts them."""
    modules = (COPIES.get("compiled", {}).get(f"haiway_bus.{name}") for name in COUNTING)
    return {
        kind.__name__: number
        for module in modules
        for kind, number in ((module and module._live()) or {}).items()
    }


def alive(kinds: tuple[type, ...]) -> int:
    return sum(isinstance(one, kinds) for one in gc.get_objects())


@pytest.fixture(autouse=bool(counted()))
def nothing_left_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """With a debug build: no test leaves an object of the bus behind, on either backend, or the Maker of a class."""
    caplog = request.getfixturevalue("caplog") if "caplog" in request.fixturenames else None
    yield
    if caplog is not None:
        caplog.get_records("call").clear()  # a logged exception holds the frames it went through
    for forget in typing._cleanups:  # typing remembers the classes in annotations
        forget()
    gc.collect()
    compiled = counted()
    # Test modules keep State classes, and each of these its Maker.
    compiled["Maker"] -= alive((type(COPIES["compiled"]["haiway_bus"].State),))
    kinds = tuple(
        kind
        for name in ("_chain_py", "_core_py")
        for kind in vars(COPIES["pure"][f"haiway_bus._bus.{name}"]).values()
        if isinstance(kind, type) and kind.__module__ == f"haiway_bus._bus.{name}"
    )
    left = {kind: number for kind, number in compiled.items() if number > 0}
    # But for the place of subscriptions that have left their chain.
    assert (left, alive(kinds) - 1) == ({}, 0)


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """With the collector switched off: what dies then died by its reference count, or in `let_go` without counts."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium, as selenium drives it, for what a page shows. Skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra web-test")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("no chromium with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--window-size=1000,900", f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver_path)
    )
    yield driver
    driver.quit()

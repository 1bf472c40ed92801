"""One suite for both backends: every test that takes `hb` runs once on each.

The package chooses its backend when it is imported, so the fixture holds two copies of it: one imported as users do,
one imported under HAIWAY_BUS_PURE=1. What is imported plainly (`import haiway_bus`) is the first of them.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import re
import shutil
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shared import COPIES, INSTALLED, REQUIRED, TREE, own_modules, switch_to

COUNTING = (
    "_bus._chain_c",
    "_bus._core_c",
    "_bus._turns_c",
    "_state.classes._maker_c",
    "_state.classes._wire_c",
)

EDITABLE = any(
    json.loads(found.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable")
    for found in importlib.metadata.distributions(name="haiway-bus")
)

if REQUIRED and "compiled" not in COPIES:
    pytest.exit("HAIWAY_BUS_REQUIRE_EXTENSIONS=1, but the installed package is pure", returncode=3)
if Path(str(INSTALLED.__file__)).resolve().parent.parent == TREE and not EDITABLE:
    pytest.exit(
        f"the tests are for the installed package, and {INSTALLED.__file__} was imported:"
        " install it and run `python -P -m pytest`, or install the checkout with `pip install -e .`",
        returncode=3,
    )


def pytest_report_header() -> str:
    return f"haiway_bus: {', '.join(COPIES)} ({INSTALLED.__file__})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell in a line what this machine lacks. Other skips are meant: what a backend or a Python cannot have."""
    reasons = (report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    missing = {
        found[1]
        for reason in reasons
        if (found := re.search(r"(?:needs |could not import ')([\w -]+\w)", reason))
    }
    if missing:
        terminalreporter.write_line(f"Not tested here, for want of: {', '.join(sorted(missing))}.")


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
    COPIES[request.param].update(own_modules())  # what is imported once is there for the next test
    switch_to(before)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The loop: asyncio's own, and uvloop where it can be had."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return "asyncio", {"use_uvloop": True}
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(params=["lazy", "eager"] if sys.version_info >= (3, 12) else ["lazy"])
def tasks(request: pytest.FixtureRequest) -> str:
    """Whether tasks begin at once, when they are made."""
    return str(request.param)


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
    """With a debug build: no test leaves an object of the bus behind, on either backend, or a Maker or Wired."""
    caplog = request.getfixturevalue("caplog") if "caplog" in request.fixturenames else None
    yield
    if caplog is not None:
        caplog.get_records("call").clear()  # a logged exception holds the frames it went through
    for forget in typing._cleanups:  # typing remembers the classes in annotations
        forget()
    gc.collect()
    compiled = counted()
    # Test modules keep State classes, and each of these its Maker, and its Wired from its first plain data on.
    meta = type(COPIES["compiled"]["haiway_bus"].State)
    kept = [one for one in gc.get_objects() if isinstance(one, meta)]
    compiled["Maker"] -= len(kept)
    compiled["Wired"] -= sum(one.__state__.wired is not None for one in kept)
    kinds = tuple(
        kind
        for name in ("_chain_py", "_core_py")
        for kind in vars(COPIES["pure"][f"haiway_bus._bus.{name}"]).values()
        if isinstance(kind, type) and kind.__module__ == f"haiway_bus._bus.{name}"
    )
    left = {kind: number for kind, number in compiled.items() if number > 0}
    # But for the place of subscriptions that have left their chain.
    assert (left, alive(kinds) - 1) == ({}, 0)


@pytest.fixture(scope="module", autouse=True)
def out_of_the_collectors_sight() -> None:
    """Take what is there before a file's tests out of the collector's sight.

    Many tests call the collector, some of them hundreds of times, and each call would walk the objects of pytest, its
    plugins and its reports. Not in a debug build, where objects are counted by what the collector sees.
    """
    if hasattr(gc, "freeze") and not counted():
        gc.collect()
        gc.freeze()


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
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="needs the dependency group servers"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("needs chromium with chromedriver")
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

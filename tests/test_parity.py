"""The twins have one surface, and the package imports as it says it does."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import haiway_bus
from haiway_bus._bus import _chain_py, _core_py, _turns_py
from tests.shared import TREE

if haiway_bus.backend != "compiled":
    pytest.skip(
        "the installed package has no compiled twin to compare with", allow_module_level=True
    )

from haiway_bus._bus import _chain_c, _core_c, _turns_c

TWINS = {
    "turns": (_turns_c, _turns_py, ("Turns",)),
    "chain": (_chain_c, _chain_py, ("Bound", "Chain", "Cursor", "Node")),
    "core": (
        _core_c,
        _core_py,
        ("BatchesCore", "BusCore", "Channel", "Receive", "SubscriptionCore"),
    ),
}
CLASSES = [(twins, name) for twins, (_, _, names) in TWINS.items() for name in names]
FUNCTIONS = ("publish", "send")
# What one twin has for the sake of its language: attributes that are C fields there, and methods that are C functions.
FIELDS = {
    name
    for _, pure, names in TWINS.values()
    for kind in names
    for name in getattr(pure, kind).__slots__
}
INTERNAL = {
    "Channel": {
        "hands_over",
        "join",
        "park",
        "unpark",
    },
    "Chain": {
        "append",
        "append_at_limits",
        "enter",
        "file",
        "hands_over",
        "let_leave",
    },
    "Receive": {"begin", "give_up", "leave", "over", "park", "refused", "take", "waits", "walk"},
    "BusCore": {"resume"},
    "Turns": {
        "ask_again",
        "begin_turn",
        "call_resume",
        "put_off",
        "resume",
        "schedule",
        "turn_is_over",
        "wake",
    },
}


def members(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("_") and name not in FIELDS | INTERNAL.get(kind.__name__, set())
    }


def parameters(function: Any) -> list[tuple[str, Any, bool]]:
    return [
        (one.name, one.kind, one.default is inspect.Parameter.empty)
        for one in inspect.signature(function).parameters.values()
        if one.name != "self"
    ]


@pytest.mark.parametrize("twins", TWINS)
def test_the_modules_name_the_same_things(twins: str) -> None:
    compiled, pure, _ = TWINS[twins]
    assert compiled.__all__ == pure.__all__
    assert all(hasattr(compiled, name) for name in pure.__all__)


@pytest.mark.parametrize(("twins", "name"), CLASSES)
def test_the_classes_have_the_same_members(twins: str, name: str) -> None:
    compiled, pure = (members(getattr(one, name)) for one in TWINS[twins][:2])
    assert set(compiled) == set(pure)
    for member, value in pure.items():
        twin = compiled[member]
        assert callable(value) == callable(twin), member
        assert inspect.getdoc(value) == inspect.getdoc(twin) or not callable(value), member
        if callable(value):
            assert parameters(value) == parameters(twin), member


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_functions_have_the_same_signature_and_documentation(name: str) -> None:
    compiled, pure = getattr(_core_c, name), getattr(_core_py, name)
    assert parameters(compiled) == parameters(pure)
    assert inspect.getdoc(compiled) == inspect.getdoc(pure)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("HAIWAY_BUS")
    }
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", textwrap.dedent(code)],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


ERRORS = """
import asyncio
from haiway_bus import ctx

class Event:
    pass

async def forgotten():
    pass

async def main():
    coroutine = forgotten()
    def tried(call):
        try:
            call()
        except Exception as error:
            print(type(error).__name__, str(error).replace(hex(id(coroutine)), "0x"))
    tried(lambda: ctx.send(Event()))
    tried(lambda: ctx.subscribe(Event))
    tried(lambda: ctx.send())
    async with ctx.scope("test"):
        for given in (Event, None, 5, "text", [1], ctx, coroutine, asyncio):
            tried(lambda: ctx.send(given))
        for given in (Event(), int, type, list[int], "Event"):
            tried(lambda: ctx.subscribe(given) if not isinstance(given, Event) else ctx.subscribe(5))
        subscription = ctx.subscribe(Event)
        print(subscription)
    print(subscription)
    tried(lambda: ctx.send(Event()))
    coroutine.close()

asyncio.run(main())
"""


def test_the_twins_say_the_same_of_bad_input() -> None:
    """Guarantee 1.4, 5.2."""
    compiled, pure = run(ERRORS), run_pure(ERRORS)
    assert compiled.stderr == pure.stderr == ""
    said, expected = compiled.stdout.splitlines(), pure.stdout.splitlines()
    # How many arguments were missing is said by the interpreter, which words it by the kind of function.
    assert [line for line in said if "argument" not in line] == [
        line for line in expected if "argument" not in line
    ]
    assert len(said) == len(expected) == 19


def run_pure(code: str) -> subprocess.CompletedProcess[str]:
    # -I ignores only the variables of Python itself.
    return run(code, HAIWAY_BUS_PURE="1")


def test_the_environment_chooses_the_backend() -> None:
    code = "import haiway_bus; print(haiway_bus.backend, haiway_bus._bus.Receive.__module__)"
    assert run(code).stdout == "compiled haiway_bus._bus._core_c\n"
    assert run_pure(code).stdout == "pure haiway_bus._bus._core_py\n"


def test_a_compiled_backend_that_cannot_be_imported_is_an_error_and_a_missing_one_is_not() -> None:
    block = """
        import importlib.abc, os, sys
        os.listdir = lambda folder: []  # no file of it lies in the package; test_package.py has the cases with one
        class Block(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name == "haiway_bus._bus._core_c":
                    raise {error}
        sys.meta_path.insert(0, Block())
        import haiway_bus
        print(haiway_bus.backend)
    """
    absent = run(block.format(error="ModuleNotFoundError('no module', name=name)"))
    assert absent.stdout == "pure\n"
    for error in ("ImportError('undefined symbol')", "ModuleNotFoundError('no x', name='x')"):
        broken = run(block.format(error=error))
        assert broken.returncode == 1
        assert error.partition("(")[0] in broken.stderr


def test_the_interpreter_exits_silently_with_readers_parked_and_events_waiting() -> None:
    for runner in (run, run_pure):
        done = runner(
            """
            import asyncio
            from haiway_bus import ctx

            class Event:
                pass

            async def read():
                async for event in ctx.subscribe(Event):
                    pass

            async def main():
                global kept, scope
                scope = ctx.scope("test")
                await scope.__aenter__()
                kept = ctx.subscribe(Event)
                task = asyncio.create_task(read())
                await asyncio.sleep(0)
                for _ in range(1000):
                    ctx.send(Event())
                task.cancel()
                await asyncio.sleep(0)

            asyncio.run(main())
            """
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_a_subscription_makes_a_read() -> None:
    """The compiled one has C fields that are read without asking, as the pure one has arguments."""
    for make in (
        lambda: _core_c.Receive(),
        lambda: _core_c.Receive.__new__(_core_c.Receive),
        lambda: object.__new__(_core_c.Receive),
        lambda: _core_py.Receive(),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            make()


@pytest.mark.parametrize("name", ["Batches", "Bus", "Subscription"])
def test_what_a_bus_is_made_of_is_neither_copied_nor_pickled(copies: Any, name: str) -> None:
    for package in copies.values():
        kind = getattr(package._bus, name)
        for copy_of in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError):
                copy_of(kind.__new__(kind))


@pytest.mark.parametrize(("twins", "name"), CLASSES)
def test_what_is_compiled_is_neither_copied_nor_pickled(twins: str, name: str) -> None:
    if name == "Receive":
        return
    for copy_of in (copy.copy, pickle.dumps):
        kind = getattr(TWINS[twins][0], name)
        with pytest.raises(TypeError):
            copy_of(kind.__new__(kind))


REFERENCE = TREE / "docs" / "reference" / "subscription.md"


class Event:
    pass


@pytest.mark.anyio
async def test_a_subscription_shows_the_names_of_its_reference_page_and_no_others(hb: Any) -> None:
    """The class and what it makes, on both backends."""
    (members,) = re.findall(
        r"^::: haiway_bus.Subscription$.*?members: \[(.*?)\]",
        REFERENCE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    documented = set(members.split(", "))
    assert "receive_nowait" in documented
    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(Event)
        for shown in (subscription, hb.Subscription, hb.Subscription[Event].__origin__):
            assert {name for name in dir(shown) if not name.startswith("_")} == documented
        for shown in (subscription.batches(), hb._bus.Batches):
            assert {name for name in dir(shown) if not name.startswith("_")} == set()


def test_what_a_subscription_offers_has_documentation_and_a_signature(copies: Any) -> None:
    """On both backends the same."""
    shown = []
    for package in copies.values():
        kind = package.Subscription
        names = [name for name in dir(kind) if not name.startswith("_")]
        assert all(inspect.getdoc(getattr(kind, name)) for name in names)
        shown.append(
            [
                (name, parameters(value), inspect.getdoc(value))
                for name in names
                if callable(value := getattr(kind, name))
            ]
        )
    assert shown[0] == shown[-1]

"""The twins have one surface, and the package imports as it says it does."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import haiway_bus
from haiway_bus._bus import _core_py

if haiway_bus.backend != "compiled":
    pytest.skip(
        "the installed package has no compiled twin to compare with", allow_module_level=True
    )

from haiway_bus._bus import _core_c

CLASSES = ("Batches", "Bus", "Channel", "Node", "Receive", "Subscription")
FUNCTIONS = ("send", "subscribe")
# What one twin has for the sake of its language: attributes that are C fields there, and methods that are C functions.
FIELDS = {name for kind in CLASSES for name in getattr(_core_py, kind).__slots__}
INTERNAL = {
    "Channel": {
        "append",
        "append_at_limits",
        "enter",
        "file",
        "join",
        "let_leave",
        "park",
        "unpark",
    },
    "Subscription": {
        "at_gap",
        "has_event",
        "move_out",
        "next_in_line",
        "release",
        "settle",
        "take",
        "take_apart",
        "take_batch",
        "waiting",
    },
    "Receive": {"begin", "give_up", "leave", "over", "park", "refused", "take", "waits", "walk"},
    "Bus": {
        "ask_again",
        "begin_turn",
        "call_resume",
        "put_off",
        "resume",
        "runs_elsewhere",
        "schedule",
        "turn_is_over",
        "wake",
        "wake_all",
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


def test_the_modules_name_the_same_things() -> None:
    assert _core_c.__all__ == _core_py.__all__
    assert all(hasattr(_core_c, name) for name in _core_py.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_the_classes_have_the_same_members(name: str) -> None:
    compiled, pure = members(getattr(_core_c, name)), members(getattr(_core_py, name))
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
    """Contract 1.4, 5.2."""
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
    code = "import haiway_bus; print(haiway_bus.backend, haiway_bus.Subscription.__module__)"
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


@pytest.mark.parametrize("name", CLASSES)
def test_what_a_bus_is_made_of_is_neither_copied_nor_pickled(name: str) -> None:
    if name == "Receive":
        return
    for copy_of in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError):
            copy_of(getattr(_core_c, name).__new__(getattr(_core_c, name)))

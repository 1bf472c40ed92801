"""Tools that look on while events are read: they keep what they are shown, change it, or do much themselves.

Each is a context manager; what it was shown is in the Shown that it yields.
"""

from __future__ import annotations

import cProfile
import faulthandler
import gc
import os
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import readers


class Shown:
    """What a tool was shown: all that it keeps, and the exceptions with the values they had then."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.exceptions: list[tuple[BaseException, Any]] = []
        self.types: set[type[BaseException]] = set()
        self.at_readers: set[tuple[str, str]] = set()
        self.wrong: list[str] = []
        self.measured: dict[str, Any] = {}
        self.stops = 0

    def exception(self, exception: BaseException, code: CodeType) -> None:
        self.types.add(type(exception))
        if code.co_filename == readers.__file__:
            self.at_readers.add((code.co_name, type(exception).__name__))
        if isinstance(exception, StopIteration):
            self.exceptions.append((exception, exception.value))

    def look_again(self) -> None:
        """What is kept is as it was when it was kept."""
        for exception, value in self.exceptions:
            if exception.value is not value:
                self.wrong.append(f"held {exception!r} with {value!r}, found {exception.value!r}")

    def drop(self) -> None:
        self.stops = len(self.exceptions)
        self.kept.clear()
        self.exceptions.clear()


@contextmanager
def nothing() -> Iterator[Shown]:
    yield Shown()


@contextmanager
def trace(keep: bool = True, change: bool = False) -> Iterator[Shown]:
    """What a debugger does, of every thread, and of each opcode too."""
    shown = Shown()

    def tracer(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        if keep:
            shown.kept.append((frame, event, argument))
        if event == "exception" and (keep or change):
            exception = argument[1]
            if change:
                changed(exception)
            if keep:
                shown.exception(exception, frame.f_code)
        return tracer

    threading.settrace(tracer)
    sys.settrace(tracer)
    try:
        yield shown
    finally:
        sys.settrace(None)
        threading.settrace(None)


def changed(exception: Any) -> None:
    """Write to whatever of an exception can be written to and does not change what it means."""
    if isinstance(exception, StopIteration):
        exception.add_note("seen by a tool")
        exception.__context__ = ValueError("a context")
        exception.__cause__ = KeyError("a cause")
        exception.__suppress_context__ = False
        exception.seen = True
        exception.args = ("changed",)


@contextmanager
def profiler(keep: bool = True) -> Iterator[Shown]:
    shown = Shown()

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if keep:
            shown.kept.append((frame, event, argument))

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield shown
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def both() -> Iterator[Shown]:
    with trace() as shown, profiler() as profiled:
        yield shown
        shown.kept += profiled.kept
        profiled.drop()


@contextmanager
def coverage(core: str, branch: bool) -> Iterator[Shown]:
    from coverage import Coverage

    os.environ["COVERAGE_CORE"] = core
    measured = Coverage(
        data_file=None, config_file=False, branch=branch, include=[readers.__file__]
    )
    shown = Shown()
    measured.start()
    try:
        yield shown
    finally:
        measured.stop()
    used = dict(measured.sys_info())["core"]
    data = measured.get_data()
    shown.measured = {
        "core": str(used),
        "lines": sorted(data.lines(readers.__file__) or []),
        "arcs": sorted(data.arcs(readers.__file__) or []),
    }


@contextmanager
def in_c() -> Iterator[Shown]:
    measured = cProfile.Profile()
    measured.enable()
    try:
        yield Shown()
    finally:
        measured.disable()


@contextmanager
def dumps() -> Iterator[Shown]:
    """A traceback at each call that a reader makes.

    Not by a timer, not of other threads, not in any frame: over frames that are at work or being freed CPython's
    faulthandler may crash by itself, over async generators too.
    """
    with open(os.devnull, "w") as nowhere:

        def look(frame: FrameType, event: str, argument: Any) -> None:
            if frame.f_code.co_filename == readers.__file__:
                faulthandler.dump_traceback(nowhere, all_threads=False)

        threading.setprofile(look)
        sys.setprofile(look)
        try:
            yield Shown()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


@contextmanager
def allocations() -> Iterator[Shown]:
    tracemalloc.start(25)
    try:
        yield Shown()
        tracemalloc.take_snapshot().statistics("traceback")
    finally:
        tracemalloc.stop()


@contextmanager
def collector(flags: int) -> Iterator[Shown]:
    """The garbage collector at work at each allocation; otherwise it is off here, so that what dies dies at once."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    gc.set_debug(flags)
    gc.enable()
    try:
        yield Shown()
    finally:
        gc.disable()
        gc.set_debug(0)
        gc.set_threshold(*before)
        gc.garbage.clear()

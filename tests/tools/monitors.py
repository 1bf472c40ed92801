"""Tools by sys.monitoring, of kit.py's kind."""

from __future__ import annotations

import gc
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from types import CodeType
from typing import Any

import readers
from kit import Shown

from haiway_bus import ctx

monitoring: Any = getattr(sys, "monitoring", None)


def event_names() -> list[str]:
    if monitoring is None:
        return []
    return [name for name in dir(monitoring.events) if name.isupper() and name != "NO_EVENTS"]


GLOBAL = ("RAISE", "EXCEPTION_HANDLED", "PY_UNWIND", "PY_THROW", "RERAISE", "C_RETURN", "C_RAISE")
CALLS = ("CALL", "C_RETURN", "C_RAISE")
EXCEPTIONS = (*GLOBAL[:5], "STOP_ITERATION")

# The code of a reader and what it calls of the bus, where that is Python.
AT_WORK = {
    readers.__file__,
    *(
        getattr(module, "__file__", "")
        for name, module in sys.modules.items()
        if name.startswith("haiway_bus._bus")
    ),
}
RARE = [*EXCEPTIONS, "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD", "C_RETURN", "C_RAISE"]


@contextmanager
def monitor(
    *names: str,
    keep: bool = True,
    disable: bool = False,
    then: Callable[[Shown], None] | None = None,
) -> Iterator[Shown]:
    """Callbacks for these events, or for all, by two tools at once."""
    shown = Shown()
    wanted = names or event_names()

    def look(name: str, code: CodeType, *arguments: Any) -> Any:
        if keep:
            shown.kept.append((code, arguments))
            if name in EXCEPTIONS:
                shown.exception(arguments[-1], code)
        if then is not None and code.co_filename in AT_WORK:
            then(shown)
        return monitoring.DISABLE if disable and name not in GLOBAL else None

    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore", DeprecationWarning)  # BRANCH, from 3.14 on
        for tool in (3, 4):
            monitoring.use_tool_id(tool, "tests")
            stack.callback(monitoring.free_tool_id, tool)
            stack.callback(monitoring.set_events, tool, 0)
            events = 0
            for name in wanted:
                event = getattr(monitoring.events, name)
                events |= event
                if name in CALLS:
                    # The one is not to be had without the others.
                    for one in CALLS:
                        events |= getattr(monitoring.events, one)
                monitoring.register_callback(tool, event, partial(look, name))
                stack.callback(monitoring.register_callback, tool, event, None)
            monitoring.set_events(tool, events)
        yield shown


class Other:
    def __init__(self, number: int) -> None:
        self.number = number


class Aside:
    """Reads a subscription of its own, one event at each call, makes garbage, collects it, lets other threads run."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.others = [Other(number) for number in range(40)]
        self.scopes: list[tuple[Any, Iterator[Other]]] = []  # what each that is open has to bring
        self.calls = 0
        self.held: list[StopIteration] = []

    def open(self) -> None:
        if threading.get_ident() == self.thread:
            # A nested scope is on the same bus, and brings them once more.
            self.scopes.append((ctx.subscribe(Other), cycle(self.others)))
            for other in self.others:
                ctx.send(other)

    def close(self) -> None:
        if threading.get_ident() == self.thread:
            subscription, _ = self.scopes.pop()
            subscription.close()
            self.held.clear()

    def __call__(self, shown: Shown) -> None:
        self.calls += 1
        if self.calls % 10 == 0:
            time.sleep(0)
            loop: list[Any] = []
            loop.append(loop)
            gc.collect(2 if self.calls % 1000 == 0 else 0)
        if threading.get_ident() != self.thread or not self.scopes:
            return
        subscription, others = self.scopes[-1]
        if not subscription.pending:
            return
        try:
            next(anext(subscription).__await__())
        except StopIteration as stop:
            if stop.value is not (due := next(others)):
                shown.wrong.append(f"aside: {stop.value} came in the place of {due}")
            self.held = [*self.held[-2:], stop]
        except RuntimeError as refused:
            # In another loop's turn, or none's.
            if "reading a subscription" not in str(refused):
                shown.wrong.append(repr(refused))
        else:
            shown.wrong.append("aside: it waits")

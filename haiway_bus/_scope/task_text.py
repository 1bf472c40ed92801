"""A task in words: where it stands in the user's own code, and what it waits for (guarantee 5.11).

Both come from the coroutines of the task. The innermost one in the user's own code shows where the task stands. The
next one inwards belongs to asyncio or another library, and its name says what the task waits for. So a helper that a
later Python renames appears under its new name. No argument and no event is read.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from asyncio import Future
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeAlias

from haiway_bus._bus import Receive
from haiway_bus._bus.first import asking
from haiway_bus._bus.flush import flush
from haiway_bus._bus.stats import subscriptions_of
from haiway_bus._common.printable import (
    described,
    full_name_of_type,
    name_of_function,
    name_of_type,
    printable,
    shortened,
)
from haiway_bus._common.signatures import called
from haiway_bus._scope.asyncio_waits import (
    await_chain,
    full_name,
    helper_futures,
    inner_futures,
    is_task,
)
from haiway_bus._scope.bus_scopes import all_bus_scopes

__all__ = ("counted", "describe", "one_line")

# The number of tasks that are followed when tasks wait for each other.
_FOLLOWED: Final = 3
_LONGEST: Final = 200

_ASYNCIO: Final = ("asyncio", "uvloop", "winloop", "anyio", "nest_asyncio", "concurrent")
_OURS: Final = __name__.partition(".")[0]
_SCOPE: Final = __name__.rpartition(".")[0]
_BUS: Final = flush.__module__.rpartition(".")[0]
# Methods that stand for their object: `async with lock`, `await lock.acquire()`.
_CALLS: Final = ("__aenter__", "__aexit__", "_aexit", "__anext__", "__await__", "acquire")
# Functions whose name differs from the call that users write.
_RENAMED: Final = {"_AsCompletedIterator._wait_for_one": "as_completed"}
_LIBRARIES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STANDARD: Final = os.path.dirname(os.__file__) + os.sep
Line: TypeAlias = tuple[str | None, int | None, str | None]


def describe(task: Any, further: int = _FOLLOWED) -> tuple[str | None, int | None, str | None, str]:
    """The file, line and function where a task stands, and what it waits for."""
    # The frames of the task, the outermost first.
    path: list[Any] = [it for one in await_chain(task) if (it := frame_of(one)) is not None]
    frame: Any
    if task is running(task):
        frame = sys._getframe()
        path = []
        while frame is not None:
            path.insert(0, frame)
            frame = frame.f_back
    at = users_frame(path)
    place: Line = (None, None, None)
    if at is not None:
        frame = path[at]
        code = frame.f_code
        place = line_at(code.co_filename, frame.f_lineno, code.co_qualname)
    elif path and module_of(path[0]) == f"{_SCOPE}.handlers":
        place = line_of_handler(path[0])
    below = path[0 if at is None else at + 1 :]
    return (*place, waited_for(task, below, further))


def waited_for(task: Any, below: list[Any], further: int) -> str:
    """What a task waits for, given its frames inside the innermost one of the user."""
    waited: Any = getattr(task, "_fut_waiter", None)
    if task is running(task):
        return "nothing: it runs"
    if isinstance(waited, Receive):
        name = "nothing" if waited.channel is None else name_of_type(waited.channel.event_type)
        return f"first() of {name}" if task in asking else f"events of {name}"
    if waited is None:
        return "nothing: it is about to run"
    for frame in below:
        told = own_wait(frame, task)
        if told is not None:
            return told
    call = next((told for it in below if (told := name_of_call(it)) is not None), None)
    if waited.done():
        return "nothing: it is about to run" if call is None else f"{call}, which is over"
    if is_task(waited):
        return f"the task {follow([waited], further)}"
    members = inner_futures(waited)
    if members is not None:
        # The future of asyncio.gather lists all that it was given.
        every = getattr(waited, "_children", None)
        kind = "asyncio.shield" if every is None else f"asyncio.gather of {len(every)}"
        return f"{kind}: {follow(members, further)}"
    members = helper_futures(task)
    if members is not None and call is not None:
        members = list(members)
        return f"{call} of {len(members)}: {follow(members, further)}"
    if call is not None:
        return call
    for function, _ in getattr(waited, "_callbacks", None) or ():
        if full_name(function) == ("asyncio.futures", "_chain_future.<locals>._call_check_cancel"):
            return "an executor, or another thread"
    kind = full_name_of_type(type(waited))
    return (
        "a future" if type(waited) is Future or kind.startswith("uvloop.") else f"a future ({kind})"
    )


def follow(members: Iterable[Any], further: int) -> str:
    """The first of the members, and what it waits for in turn."""
    first = next(iter(members), None)
    if first is None or not is_task(first):
        return "a future"
    name = described(first.get_name())
    if not further:
        return name
    file, line, function, told = describe(first, further - 1)
    where = "" if file is None else f" at {file}:{line} in {function}"
    return f"{name}{where}, which waits for {told}"


def own_wait(frame: Any, task: Any) -> str | None:
    """What a frame of this package waits for; None for a frame of another package."""
    module, name = module_of(frame), frame.f_code.co_qualname
    if not module.startswith(_OURS):
        return None
    if (module, name) == (f"{_SCOPE}.tasks", "ScopeTasks.leave"):
        return f"the end of the scope {described(frame.f_locals['self'].name)}"
    if (module, name) == (flush.__module__, "flush"):
        found = frame.f_locals
        return flushing(found["channel"], found.get("found"), task.get_loop())
    if (module, name) == (f"{_SCOPE}.context", "OpenScope.settled"):
        return f"the scope {described(frame.f_locals['self'].name)} to settle"
    return None


def flushing(channel: Any, current: Any, loop: Any) -> str:
    """The subscriptions that a call of flush waits for, and who reads them."""
    what = f"flush of {name_of_type(channel.event_type)}"
    behind_it = [
        one
        for one in subscriptions_of(channel)
        if one._work is not None and current in one._work.goals
    ]
    if not behind_it:
        return what
    first = behind_it[0]
    readers = list(islice(holders(first, loop), 4))
    # The workers of a handler share a name.
    hands = ", ".join(dict.fromkeys(described(one.get_name()) for one in readers[:3]))
    more = " and others" if len(readers) > 3 else ""
    number = counted(len(behind_it), "subscription")
    which = "one" if first.name is None else described(first.name)
    if len(behind_it) > 1:
        number = f"{number}, of which {which}"
    else:
        number = "one subscription" if first.name is None else f"the subscription {which}"
    if not readers:
        return f"{what}: {number} is read by nobody"
    state = (
        f"has {counted(first.pending, 'event')} waiting"
        if first._work.goals[current] > first._position
        else "took all and is at work on it"
    )
    return f"{what}: {number} {state}, in the hands of {hands}{more}"


def holders(subscription: Any, loop: Any) -> Iterator[Any]:
    """The tasks whose coroutines hold the subscription, or a loop over it. Not the task of a finished body."""
    over = {one.host for scopes in all_bus_scopes() for one in list(scopes) if one.body_done}
    for task in asyncio.all_tasks(loop):
        if task in over:
            continue
        for one in await_chain(task):
            if any(
                it is subscription or getattr(it, "subscription", None) is subscription
                for it in gc.get_referents(one)
                if it is subscription or type(it).__module__.startswith(f"{_BUS}.")
            ):
                yield task
                break


def frame_of(one: Any) -> Any:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        found = getattr(one, name, None)
        if found is not None:
            return found
    return None


def module_of(frame: Any) -> str:
    found = frame.f_globals.get("__name__")
    return str(found) if type(found) is str else ""


def users_frame(path: list[Any]) -> int | None:
    """The index of the innermost frame of the user's own code.

    Frames of asyncio, of this package, and of compiled code do not count. A frame of an installed library counts only
    if the task began in that library.
    """
    strangers = [
        (at, frame, package)
        for at, frame in enumerate(path)
        if (package := module_of(frame).partition(".")[0]) not in ("", *_ASYNCIO, _OURS)
    ]
    for at, frame, package in reversed(strangers):
        file = frame.f_code.co_filename
        installed = file.startswith(("<frozen", _STANDARD)) or any(it in file for it in _LIBRARIES)
        if not installed or package == strangers[0][2]:
            return int(at)
    return None


def name_of_call(frame: Any) -> str | None:
    """The call that led to a frame of a library, as the caller wrote it."""
    module, name = module_of(frame), frame.f_code.co_qualname
    if module.startswith(_OURS):
        return None
    before, _, last = name.rpartition(".")
    held = ""
    if before and last in _CALLS:
        name = before
        one = frame.f_locals.get("self")
        if before.startswith("_"):  # a private base class
            name = name_of_type(type(one))
        owner = getattr(one, "_owner_task", None)  # anyio's locks have one
        if owner is not None and is_task(owner):
            held = f", held by {described(owner.get_name())}"
    name = _RENAMED.get(name, name.partition(".<locals>")[0])
    public = hasattr(asyncio, name.partition(".")[0]) and module.startswith("asyncio.")
    parts = [it for it in module.split(".") if it and not it.startswith("_")]
    return one_line(".".join([*(["asyncio"] if public else parts), name])) + held


def running(task: Any) -> Any:
    """The task that runs now in the loop of this one."""
    try:
        return asyncio.current_task(task.get_loop())
    except RuntimeError:
        return None


def line_of_handler(frame: Any) -> Line:
    """The definition of the function that a worker of `ctx.on` runs."""
    handler = called(frame.f_locals.get("handler")).function
    code = getattr(handler, "__code__", None)
    if code is None:
        return None, None, None
    return line_at(code.co_filename, code.co_firstlineno, name_of_function(handler))


def line_at(file: str, line: int | None, function: str) -> Line:
    return one_line(file), line, one_line(function)


def one_line(text: Any) -> str:
    """Text from outside, made safe for a log."""
    return shortened(printable(str.__str__(str(text))), _LONGEST)


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

"""Reports of the tasks that a scope waits for: warnings while its end waits, and `ctx.waiting()` (guarantee 5.11).

`task_text.py` describes where a task stands and what it waits for.
"""

from __future__ import annotations

import asyncio
import logging
import math
from asyncio import AbstractEventLoop, TimerHandle
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, Final, NamedTuple

from haiway_bus._bus import Receive
from haiway_bus._common.arguments import is_number, is_seconds
from haiway_bus._common.printable import described, name_of_type
from haiway_bus._scope.bus_scopes import BusScopes, TaskOwner, all_bus_scopes
from haiway_bus._scope.task_text import counted, describe, one_line
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = (
    "WaitReport",
    "WaitingTask",
    "check_warn_after",
    "task_lines",
    "waiting_ends",
    "waiting_tasks",
)

# The number of tasks that a warning names.
NAMED: Final = 10
# The number of lines for all scopes together.
LINES: Final = 40

# The waits that were cancelled. The pytest plugin sets this to a list while a test runs.
cancelled_waits: list[str] | None = None


class WaitingTask(NamedTuple):
    """A task of a scope: where it stands, and what it waits for.

    Attributes:
        task: The name of the task.
        scope: The name of its scope.
        file: The file of the innermost frame of your own code in the task. None, like `line` and `function`, if the
            task is in no such code.
        line: The line in that file.
        function: The function of that frame.
        waits_for: What the task waits for, in words for people, such as "asyncio.Queue.get" or "events of
            OrderCreated".
        seconds: How long the end of the scope has waited. None while its body runs.
    """

    task: str
    scope: str
    file: str | None
    line: int | None
    function: str | None
    waits_for: str
    seconds: float | None

    def __str__(self) -> str:
        where = "" if self.file is None else f" at {self.file}:{self.line} in {self.function}"
        return f"the task {described(self.task)}{where} waits for {self.waits_for}"


def check_warn_after(seconds: Any) -> None:
    """Raise TypeError or ValueError if `warn_after` is neither a positive number of seconds nor None."""
    if seconds is None:
        return
    if not is_number(seconds):
        raise TypeError(
            f"warn_after= takes a number of seconds, or None to turn it off, not {described(seconds)}"
        )
    if not is_seconds(seconds) or not 0 < seconds < math.inf:
        raise ValueError(
            f"warn_after= takes seconds above 0, not {described(seconds)}: None turns it off"
        )


class SharedTimer:
    """The timer for the first warnings of all ends on a bus with the same `warn_after`, as thousands may end at once.

    Invariant: `due` holds the reports in the order of their times. While it holds any, `timer` is set: for the first
    report, or for an earlier one that was removed.
    """

    __slots__ = ("due", "loop", "seconds", "timer")

    def __init__(self, loop: AbstractEventLoop, seconds: float) -> None:
        self.loop: AbstractEventLoop = loop
        self.seconds: float = seconds
        # To find the first entry of a plain dict takes longer the more entries were removed before it.
        self.due: OrderedDict[WaitReport, float] = OrderedDict()
        self.timer: TimerHandle | None = None

    def add(self, report: WaitReport, due: float) -> None:
        self.due[report] = due
        if self.timer is None:
            self.timer = self.loop.call_at(due, self.fire, context=Context())

    def remove(self, report: WaitReport) -> None:
        self.due.pop(report, None)
        if not self.due and self.timer is not None:
            timer, self.timer = self.timer, None
            timer.cancel()

    def fire(self) -> None:
        self.timer = None
        now = self.loop.time()
        ready: list[WaitReport] = []
        for report, due in self.due.items():
            if due > now:
                self.timer = self.loop.call_at(due, self.fire, context=Context())
                break
            ready.append(report)
        for report in ready:
            del self.due[report]
        for report in ready:
            self.loop.call_soon(report.warn, self.seconds, context=report.context)


class WaitReport:
    """Reports the tasks that the end of a scope waits for: after `seconds`, and whenever the wait has doubled."""

    __slots__ = ("context", "members", "note", "report_to", "shared_timer", "timer")

    def __init__(
        self,
        members: TaskOwner,
        seconds: float | None,
        report_to: tuple[Observability, ScopeIdentity] | None,
    ) -> None:
        self.members: TaskOwner = members
        self.report_to: tuple[Observability, ScopeIdentity] | None = report_to
        self.timer: TimerHandle | None = None
        self.note: str | None = None
        self.shared_timer: SharedTimer | None = None
        self.context: Context = copy_context()  # of the task that waits
        loop = members.bus.loop
        members.since = loop.time()
        if seconds is not None and report_to is not None:
            warn_timers = members.bus_scopes.warn_timers
            shared_timer = self.shared_timer = warn_timers.get(seconds) or warn_timers.setdefault(
                seconds, SharedTimer(loop, seconds)
            )
            shared_timer.add(self, members.since + seconds)

    def warn(self, seconds: float) -> None:
        members = self.members
        if members.since is None or self.report_to is None:
            return
        # First, as a recorder may raise.
        self.timer = members.bus.loop.call_at(members.since + 2 * seconds, self.warn, 2 * seconds)
        lines = task_lines((members,))
        if lines:
            recorder, scope = self.report_to
            recorder.log(
                scope,
                logging.WARNING,
                "the end of the scope has waited %s s for %s: %s",
                (f"{seconds:g}", counted(len(members.tasks), "task"), "; ".join(lines)),
                None,
            )

    def note_tasks(self) -> None:
        """Note which tasks the end waited for. The cancellation of the wait calls this, before the tasks move."""
        if self.members.tasks:
            lines = "; ".join(task_lines((self.members,)))
            self.note = f"the end of the scope {described(self.members.name)} waited for {lines}"
            if cancelled_waits is not None and len(cancelled_waits) < LINES:
                cancelled_waits.append(self.note)

    def annotate(self, error: BaseException) -> None:
        """Add the note to the CancelledError, so that the traceback of a time-out around the scope shows it."""
        if self.note is not None and type(error) is asyncio.CancelledError:
            error.add_note(self.note)

    def end(self) -> None:
        """The wait is over."""
        self.members.since = None
        if self.shared_timer is not None:
            self.shared_timer.remove(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def waiting_tasks(members: TaskOwner) -> tuple[WaitingTask, ...]:
    """The unfinished tasks of a scope, then those of the other scopes on its bus."""
    others = (one for one in list(members.bus_scopes) if one is not members)
    return tuple(records((members, *others)))


def waiting_ends(scopes: BusScopes | None = None) -> list[str]:
    """Lines about the scopes of this process, or of one bus, whose ends wait: a line for each scope, then its tasks."""
    lines = []
    for each in all_bus_scopes() if scopes is None else (scopes,):
        for one in list(each):
            if one.since is not None and one.tasks:
                seconds = one.bus.loop.time() - one.since
                lines.append(
                    f"the end of the scope {described(one.name)} waits for {seconds:.0f} s now:"
                )
                lines += [f"  {line}" for line in task_lines((one,))]
    return lines[:LINES]


def task_lines(scopes: Iterable[TaskOwner]) -> list[str]:
    """A line for each of the first ten tasks that these scopes wait for, and the number of the others.

    Tasks that wait for an event end with the scope. They are listed only if there are no other tasks.
    """
    every = [(task, one) for one in scopes for task in list(one.tasks) if not task.done()]
    reading = [pair for pair in every if isinstance(getattr(pair[0], "_fut_waiter", None), Receive)]
    idle = {task for task, _ in reading}
    at_work = [pair for pair in every if pair[0] not in idle] or every
    lines = [str(record(*pair)) for pair in at_work[:NAMED]]
    if len(at_work) > NAMED:
        lines.append(f"and {len(at_work) - NAMED} more")
    if len(at_work) < len(every):
        lines.append(f"beside {counted(len(reading), 'reader')} of events")
    return lines


def records(scopes: Iterable[TaskOwner]) -> Iterator[WaitingTask]:
    for scope in scopes:
        for task in list(scope.tasks):
            if not task.done():
                yield record(task, scope)


def record(task: Any, scope: TaskOwner) -> WaitingTask:
    seconds = None if scope.since is None else scope.bus.loop.time() - scope.since
    try:
        file, line, function, words = describe(task)
    except Exception as error:  # the task's class is unlike asyncio's, or it runs in another thread
        file, line, function = None, None, None
        words = f"what cannot be told ({name_of_type(type(error))})"
    return WaitingTask(one_line(task.get_name()), scope.name, file, line, function, words, seconds)

"""Whom a scope waits for: in a warning while its end waits, and in `ctx.waiting()` at any time (guarantee 5.11).

Where a task stands, and what it waits for, is told by `standing.py`.
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
from haiway_bus._scope.bus_scopes import BusScopes, TaskOwner, all_bus_scopes
from haiway_bus._scope.standing import counted, one_line, stands
from haiway_bus._values.arguments import is_number, is_seconds
from haiway_bus._values.printable import described, name_of_type
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("Voice", "WaitingTask", "at_the_end", "check_warn_after", "listed", "waiting_on")

# How many tasks one warning names.
NAMED: Final = 10
# How many lines tell of all scopes.
LINES: Final = 40

# The waits that were cancelled, for the pytest plugin: it makes a list of it while a test runs.
kept: list[str] | None = None


class WaitingTask(NamedTuple):
    """A task of a scope, where it stands and what it waits for, in words.

    task: its name.
    scope: the name of the scope that it belongs to.
    file, line, function: the innermost place of your own code that it is in; None where there is none.
    waits_for: "asyncio.Queue.get", "events of OrderCreated", "the task 'fetch'" and so on. The words are for people.
    seconds: for how long the end of the scope has waited; None while its body runs.
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
    """Raise TypeError or ValueError for what is no time after which a scope warns."""
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


class Alarm:
    """The first warnings of all scopes on a bus that wait with the same time: one timer, as thousands may end at once.

    Invariant: `due` has them in the order in which their time comes; while it has any, `timer` is set, for the first
    one or for one that has ended since.
    """

    __slots__ = ("due", "loop", "seconds", "timer")

    def __init__(self, loop: AbstractEventLoop, seconds: float) -> None:
        self.loop: AbstractEventLoop = loop
        self.seconds: float = seconds
        # Ordered, as a plain dict is walked from its first entry on, those included that were taken out.
        self.due: OrderedDict[Voice, float] = OrderedDict()
        self.timer: TimerHandle | None = None

    def add(self, voice: Voice, due: float) -> None:
        self.due[voice] = due
        if self.timer is None:
            self.timer = self.loop.call_at(due, self.ring, context=Context())

    def remove(self, voice: Voice) -> None:
        self.due.pop(voice, None)
        if not self.due and self.timer is not None:
            timer, self.timer = self.timer, None
            timer.cancel()

    def ring(self) -> None:
        self.timer = None
        now = self.loop.time()
        ready: list[Voice] = []
        for voice, due in self.due.items():
            if due > now:
                self.timer = self.loop.call_at(due, self.ring, context=Context())
                break
            ready.append(voice)
        for voice in ready:
            del self.due[voice]
        for voice in ready:
            self.loop.call_soon(voice.tell, self.seconds, context=voice.context)


class Voice:
    """Tells, while the end of a scope waits, for whom: after its time, and then each time that has doubled."""

    __slots__ = ("alarm", "context", "members", "note", "teller", "timer")

    def __init__(
        self,
        members: TaskOwner,
        seconds: float | None,
        teller: tuple[Observability, ScopeIdentity] | None,
    ) -> None:
        self.members: TaskOwner = members
        self.teller: tuple[Observability, ScopeIdentity] | None = teller
        self.timer: TimerHandle | None = None
        self.note: str | None = None
        self.alarm: Alarm | None = None
        self.context: Context = copy_context()  # of the task that waits
        loop = members.bus.loop
        members.since = loop.time()
        if seconds is not None and teller is not None:
            alarms = members.bus_scopes.alarms
            alarm = self.alarm = alarms.get(seconds) or alarms.setdefault(
                seconds, Alarm(loop, seconds)
            )
            alarm.add(self, members.since + seconds)

    def tell(self, seconds: float) -> None:
        members = self.members
        if members.since is None or self.teller is None:
            return
        # First of all, as a recorder may fail.
        self.timer = members.bus.loop.call_at(members.since + 2 * seconds, self.tell, 2 * seconds)
        lines = listed((members,))
        if lines:
            recorder, scope = self.teller
            recorder.log(
                scope,
                logging.WARNING,
                "the end of the scope has waited %s s for %s: %s",
                (f"{seconds:g}", counted(len(members.tasks), "task"), "; ".join(lines)),
                None,
            )

    def cancelled(self) -> None:
        """The wait is being cancelled: the time to see for whom it was."""
        if self.members.tasks:
            lines = "; ".join(listed((self.members,)))
            self.note = f"the end of the scope {described(self.members.name)} waited for {lines}"
            if kept is not None and len(kept) < LINES:
                kept.append(self.note)

    def broken(self, error: BaseException) -> None:
        """Note on what cancelled the wait for whom that was: the traceback of a time-out around the scope shows it."""
        if self.note is not None and type(error) is asyncio.CancelledError:
            error.add_note(self.note)

    def end(self) -> None:
        """It waits no longer."""
        self.members.since = None
        if self.alarm is not None:
            self.alarm.remove(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def waiting_on(members: TaskOwner) -> tuple[WaitingTask, ...]:
    """The unfinished tasks of a scope, and then of the others on its bus."""
    others = (one for one in list(members.bus_scopes) if one is not members)
    return tuple(records((members, *others)))


def at_the_end(scopes: BusScopes | None = None) -> list[str]:
    """For each scope of this process, or of one bus, that waits at its end: a line, and one for each task of the first
    ten that it waits for."""
    lines = []
    for each in all_bus_scopes() if scopes is None else (scopes,):
        for one in list(each):
            if one.since is not None and one.tasks:
                seconds = one.bus.loop.time() - one.since
                lines.append(
                    f"the end of the scope {described(one.name)} waits for {seconds:.0f} s now:"
                )
                lines += [f"  {line}" for line in listed((one,))]
    return lines[:LINES]


def listed(scopes: Iterable[TaskOwner]) -> list[str]:
    """The first ten tasks that these scopes wait for, a line each, and the number of the others.

    Those that wait for an event themselves end with the scope, and keep it waiting only when there are no others.
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
        file, line, function, words = stands(task)
    except (
        Exception
    ) as error:  # a task of a class that is unlike asyncio's, or one that runs in another thread
        file, line, function = None, None, None
        words = f"what cannot be told ({name_of_type(type(error))})"
    return WaitingTask(one_line(task.get_name()), scope.name, file, line, function, words, seconds)

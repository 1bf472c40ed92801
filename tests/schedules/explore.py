"""Runs one model in many schedules, checks each, and shortens the one that fails.

A model is an async function of a `World`. It ends by itself, and so does every task that it made: a schedule at whose
rest a task is unfinished has found a hang.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from .choosers import Chance, Choices, Chooser
from .ledger import World
from .loop import Endless, ScheduleLoop

__all__ = ("Explored", "Failed", "Model", "explore", "run_schedule")

Model: TypeAlias = Callable[[World], Coroutine[Any, Any, object]]

# How often a random schedule keeps to asyncio's own order, one after the other.
CALM: Final = (0.0, 0.3, 0.6, 0.85)


class Failed(AssertionError):
    """Raised when a schedule breaks a promise; it says which, and how to run that schedule again."""

    def __init__(self, problem: str, choices: Choices) -> None:
        super().__init__(problem)
        self.problem = problem
        self.choices = choices


@dataclass
class Explored:
    """What was explored: `bound` is the number of preemptions up to which every schedule was run."""

    schedules: int = 0
    bound: int = -1
    complete: bool = False
    steps: int = 0


def explore(model: Model, hb: Any, budget: int, seed: int = 0) -> Explored:
    """Run the model in so many schedules; raises Failed with the shortest failing one that was found.

    First exhaustively: every schedule without a preemption, then every one with one, and so on, as long as all of
    the next kind fit into half of the budget. (Depth-first within a kind, so that a place is where its neighbours
    are.) The rest of the budget goes to random schedules, which reach what needs more preemptions.
    """
    explored = Explored()
    with only_own_garbage(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")

        def run(chooser: Chooser) -> Chooser:
            problem = run_schedule(model, hb, chooser, warned)
            explored.schedules += 1
            explored.steps += len(chooser.options)
            if problem is not None:
                raise shortened(model, hb, problem, chooser, warned)
            return chooser

        level = [run(Chooser({}))]
        while True:
            explored.bound += 1
            following = sum(sum(options - 1 for options in after(one)) for one in level)
            if following == 0:
                explored.complete = True
                return explored
            if explored.schedules + following > budget // 2:
                break
            level = [run(Chooser(given)) for one in level for given in one_more(one)]
        random = Random(seed)
        while explored.schedules < budget:
            run(Chance(random, CALM[explored.schedules % len(CALM)]))
    return explored


def after(chooser: Chooser) -> list[int]:
    """The options of the choices after the last preemption: where one more can be, and is counted once."""
    return chooser.options[max(chooser.taken, default=-1) + 1 :]


def one_more(chooser: Chooser) -> Iterator[Choices]:
    """Every list of choices with one preemption more, behind those it has."""
    first = max(chooser.taken, default=-1) + 1
    for step in range(first, len(chooser.options)):
        for chosen in range(1, chooser.options[step]):
            yield {**chooser.taken, step: chosen}


def run_schedule(
    model: Model,
    hb: Any,
    chooser: Chooser,
    warned: list[warnings.WarningMessage],
    trace: Callable[..., object] | None = None,
) -> str | None:
    """Run one schedule; what it broke, if anything."""
    loop = ScheduleLoop(chooser)
    loop.trace = trace
    world = World(hb, loop)
    try:
        problem = problem_of(model, world, loop)
        if problem is not None:
            clear_away(loop)
            gc.collect()
        elif warned:
            problem = "warned: " + "; ".join(str(one.message) for one in warned)
        return problem
    finally:
        # What a schedule made goes with it, by its reference count: `asyncio.all_tasks`, which the end of a scope
        # asks, is slower for every task that is still waiting for the collector.
        warned.clear()
        world.accounts.clear()
        loop.tasks.clear()
        loop.close()


def problem_of(model: Model, world: World, loop: ScheduleLoop) -> str | None:
    try:
        main = loop.run(model(world), world.check, world.settle)
    except (AssertionError, Endless) as broken:
        return told(broken)
    if not main.done():
        return "hangs, with nothing ready and no timer:\n" + stacks(loop)
    problem = raised_in(main)
    if problem is not None:
        return problem
    if any(not task.done() for task in loop.tasks):
        return "tasks are left behind:\n" + stacks(loop)
    for task in loop.tasks:
        if task._log_traceback:  # type: ignore[attr-defined]
            error = task.exception()
            return f"{task.get_name()} failed, and nobody asked: {told(error) if error else None}"
    if loop.reports:
        return f"the loop's exception handler was called: {loop.reports}"
    return None


def raised_in(task: asyncio.Task[Any]) -> str | None:
    if task.cancelled():
        return "the model was cancelled"
    error = task.exception()
    return None if error is None else told(error)


def told(error: BaseException) -> str:
    """An exception with the place it came from: the models' assertions have no other words."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = ""
    if place is not None:
        code = place.tb_frame.f_code
        where = f" ({code.co_name}, {Path(code.co_filename).name}:{place.tb_lineno})"
    inner = "".join(f"\n  {told(one)}" for one in getattr(error, "exceptions", ()))
    return f"{type(error).__name__}: {error}{where}{inner}"


def stacks(loop: ScheduleLoop) -> str:
    """Where each unfinished task stands, the innermost await last."""
    lines = []
    for task in loop.tasks:
        if task.done():
            continue
        places = []
        awaited: Any = task.get_coro()
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None)
            if frame is None:
                places.append(repr(awaited))
                break
            places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
            awaited = awaited.cr_await
        lines.append(f"  {task.get_name()}: {' > '.join(places)}")
    return "\n".join(lines)


def clear_away(loop: ScheduleLoop) -> None:
    """After a failure: end what is left, whatever comes of it, so that it does not disturb what runs later."""
    loop.chooser = Chooser({})
    for _ in range(3):
        for task in loop.tasks:
            task.cancel()
        try:
            loop.run_again()
        except Endless:
            break
    for task in loop.tasks:
        if task.done() and not task.cancelled():
            task.exception()
    loop.tasks.clear()


def shortened(
    model: Model,
    hb: Any,
    problem: str,
    chooser: Chooser,
    warned: list[warnings.WarningMessage],
) -> Failed:
    """The failing schedule without the preemptions that it does not need."""
    choices = dict(chooser.taken)
    shorter = True
    while shorter:
        shorter = False
        for step in sorted(choices, reverse=True):
            again = Chooser({at: chosen for at, chosen in choices.items() if at != step})
            found = run_schedule(model, hb, again, warned)
            if found is not None and len(again.taken) < len(choices):
                choices, problem, shorter = dict(again.taken), found, True
    return Failed(problem, choices)


@contextmanager
def only_own_garbage() -> Iterator[None]:
    """Keep the collector off what was there before: it is slow, and its warnings would be taken for a schedule's."""
    if not hasattr(gc, "freeze"):
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

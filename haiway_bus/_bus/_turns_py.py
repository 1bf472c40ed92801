"""When the waiting reads of a bus resume, and how long they keep the loop: in plain Python.

    a wait is over -> `ready` -> schedule -> loop.call_soon -> resume: runs the tasks of all reads in `ready`

A single callback of the loop resumes all reads whose waits are over. The readers share a time limit in each turn of the
loop, which is an iteration of it: see `turn_is_over`.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from asyncio.events import get_running_loop
from collections.abc import Callable
from contextvars import Context
from time import perf_counter
from typing import Any, Final
from weakref import ref

from haiway_bus._bus.loops import runs_again

__all__ = ("Turns",)

# The maximal number of reads between two looks at the clock, and the number after the first look in a turn that began
# outside of `resume`.
STRIDE: Final = 64
FIRST_STRIDE: Final = 8

# How long `schedule` relies on a requested call of `resume`, before it requests another.
TRUST_SECONDS: Final = 0.005


class Turns:
    """The ready reads of one bus, and the time that its readers have.

    Invariants:
    - `ready` holds reads whose wait is over. While it is not empty, `resume` is scheduled (`due`) or running.
    - `batch` is the list that the innermost `resume` walks, and `walked` of its reads have had their turn. It is None
      while no `resume` runs. Calls of `resume` are nested where a resumed task runs the loop again (guarantee 2.16).
    - No `resume` runs or is scheduled in any of `contexts`.

    Together, the readers have `turn` seconds in each turn of the loop. A loop body that is running then may finish
    (guarantee 2.6). A look at the clock costs a third of a read, so there are `left` reads before the next look: the
    quicker the reads are, the more. A turn begins with `resume`, or with the first look at the clock outside of
    `resume`.
    """

    __slots__ = (
        "asked",
        "batch",
        "contexts",
        "due",
        "left",
        "looked_at",
        "loop",
        "noted",
        "over",
        "ready",
        "run_forever",
        "stirred",
        "stride",
        "trusted",
        "turn",
        "turn_end",
        "wakes",
        "walked",
    )

    def __init__(self, turn: float) -> None:
        self.turn: float = turn
        self.turn_end: float = 0.0
        self.looked_at: float = 0.0
        # The reads until the next look at the clock, and the reads between the last two looks.
        self.left: int = 1
        self.stride: int = 1
        # While it is not 0, no read takes an event before `resume` has been called that many times. `resume` is
        # scheduled then.
        self.over: int = 0
        # Whether the loop is going to call `turn_ended`.
        self.noted: bool = False
        self.loop: AbstractEventLoop = get_running_loop()
        # The `run_forever` of the loop, or None if a callback of the loop can run it again.
        self.run_forever: Any = None if runs_again(self.loop) else type(self.loop).run_forever
        self.ready: list[Any] = []
        self.batch: list[Any] | None = None
        self.walked: int = 0
        # How many times reads were handed over to be resumed, and the callbacks that wait until reads have been
        # resumed.
        self.wakes: int = 0
        self.stirred: list[Callable[[], object]] | None = None
        # Each `resume` needs a context of its own, as it enters the contexts of the tasks. A nested `resume` needs
        # another, as no context can be entered twice.
        self.contexts: list[Context] = []
        # The handle of the scheduled call of `resume`, the number of calls requested so far, and the time until which
        # `schedule` relies on the last call.
        self.due: ref[Any] | None = None
        self.asked: int = 0
        self.trusted: float = 0.0

    def resume(self, own: Context, asked: int) -> None:
        """Run the tasks whose waits are over. The loop calls this, and `BusCore` implements it."""
        raise NotImplementedError

    def wake(self, receive: Any) -> None:
        """Resume a read in the running batch, or else in the next batch.

        Once the loop is closed, no task can resume. A read that leaves the line then must not fail, so nothing is
        scheduled.
        """
        self.wakes += 1
        if self.batch is not None:
            self.batch.append(receive)
            if type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # the `resume` of this batch may be waiting for this nested run of the loop to end
        elif not self.loop.is_closed():
            self.schedule()
            self.ready.append(receive)

    def put_off(self, receive: Any) -> None:
        """Resume a read in the next turn of the loop, behind the reads that are ready already."""
        self.schedule()
        self.ready.append(receive)

    def begin_turn(self, reads: int) -> None:
        self.looked_at = perf_counter()
        self.turn_end = self.looked_at + self.turn
        self.over = 0
        self.left = self.stride = reads

    def turn_is_over(self) -> bool:
        """Whether the readers must give way to the loop. Called when `left` reads have been made."""
        if self.over:
            return True
        if self.batch is None and not self.noted:
            # The loop itself has called the task that reads. The beginning of the turn is unknown, so it begins now.
            self.loop.call_soon(self.turn_ended, context=Context())
            self.noted = True
            self.begin_turn(FIRST_STRIDE)
            return False
        before, self.looked_at = self.looked_at, perf_counter()
        if self.looked_at >= self.turn_end:
            self.over = 2
            self.left = 0
            # A `resume` that is late because readers used up their time was not lost.
            self.trusted = self.loop.time() + self.turn + TRUST_SECONDS
            return True
        quick = (self.looked_at - before) * 8 < self.turn
        self.left = self.stride = min(2 * self.stride, STRIDE) if quick else 1
        return False

    def turn_ended(self) -> None:
        """The loop calls this in its next turn."""
        self.noted = False

    def schedule(self) -> None:
        if self.due is None:
            self.call_resume()
        elif self.loop.time() >= self.trusted:
            # A KeyboardInterrupt can make the loop lose a callback that it is about to call. While that exception is
            # held, the handle is not freed, and the loss is not noticed. So a second call is requested now and then,
            # which costs little.
            self.trusted = self.loop.time() + TRUST_SECONDS
            self.call_resume()

    def call_resume(self) -> None:
        try:
            context = self.contexts.pop()
        except IndexError:
            context = Context()
        # If the loop loses the call, it frees the handle, and `ask_again` is called (guarantee 2.16).
        self.asked += 1
        handle = self.loop.call_soon(self.resume, context, self.asked, context=context)
        self.due = ref(handle, self.ask_again)

    def ask_again(self, due: ref[Any]) -> None:
        if self.due is due:
            self.due = None
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self.wake_ready, context=Context())

    def tell_stirred(self) -> None:
        calls, self.stirred = self.stirred or (), None
        for call in calls:
            self.loop.call_soon(call, context=Context())

    def wake_ready(self) -> None:
        """Schedule `resume` if there are ready reads."""
        if self.ready:
            self.schedule()

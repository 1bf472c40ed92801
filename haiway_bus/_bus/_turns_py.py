"""When the reads of a bus are resumed, and how long their turn of the loop is: in plain Python.

A read that parks is resumed by its bus, with all others, in one callback of the loop. This asks the loop for it. And it
says when the readers have had the loop long enough.
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

# The most reads between two looks at the clock, and how many there are before the second one of a turn that began
# outside of `resume`.
STRIDE: Final = 64
FIRST_STRIDE: Final = 8

# How long a call of `resume` that was asked of the loop is relied on, once another read is to be resumed by it.
TRUST_SECONDS: Final = 0.005


class Turns:
    """The reads of one bus that are to be resumed, and the time that its readers have.

    Invariants: `ready` holds reads whose wait is over, and while there are any, `resume` is scheduled (`due`) or
    running. `batch` is the list that the innermost `resume` is walking, `walked` how far it has come; None while none
    runs. More than one runs where a task that is resumed runs the loop again (guarantee 2.16). `contexts` are those in
    which none runs and none is to be called.

    All readers together have `turn` seconds in a turn of the loop, and the body that is running then (guarantee 2.6). A
    clock costs as much as a third of a read, so it is asked after `left` reads: the quicker they are, the more. A turn
    begins with `resume`, or with the first look at the clock outside of it.
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
        # Reads until the clock is asked again, and between the last two times that it was.
        self.left: int = 1
        self.stride: int = 1
        # Not 0: nobody reads until `resume` has been called so often, and it is scheduled.
        self.over: int = 0
        # The loop is to call `turn_ended`.
        self.noted: bool = False
        self.loop: AbstractEventLoop = get_running_loop()
        # That of the loop, if nothing that it calls can run it again.
        self.run_forever: Any = None if runs_again(self.loop) else type(self.loop).run_forever
        self.ready: list[Any] = []
        self.batch: list[Any] | None = None
        self.walked: int = 0
        # How many times reads were handed over to be resumed, and what to call once some have been.
        self.wakes: int = 0
        self.stirred: list[Callable[[], object]] | None = None
        # `resume` needs a context of its own: it enters each task's. And so does one within another, as none can be
        # entered twice.
        self.contexts: list[Context] = []
        # The call of `resume` that the loop is to make, how many it was asked for, and until when the last one is
        # relied on.
        self.due: ref[Any] | None = None
        self.asked: int = 0
        self.trusted: float = 0.0

    def resume(self, own: Context, asked: int) -> None:
        """Run the tasks whose waits are over: called by the loop. The bus has it."""
        raise NotImplementedError

    def wake(self, receive: Any) -> None:
        """Resume one read: in the batch that is being resumed, or else in the next.

        In none once the loop is closed: nobody can be resumed, and who leaves the line then is not to fail for it.
        """
        self.wakes += 1
        if self.batch is not None:
            self.batch.append(receive)
            if type(self.loop).run_forever is not self.run_forever:
                self.schedule()  # who walks the batch may stand below, and wait for the loop that is run again here
        elif not self.loop.is_closed():
            self.schedule()
            self.ready.append(receive)

    def put_off(self, receive: Any) -> None:
        """Resume a read in the loop's next turn, behind those that wait for it already."""
        self.schedule()
        self.ready.append(receive)

    def begin_turn(self, reads: int) -> None:
        self.looked_at = perf_counter()
        self.turn_end = self.looked_at + self.turn
        self.over = 0
        self.left = self.stride = reads

    def turn_is_over(self) -> bool:
        """Whether the loop is to have its turn: asked when no read is left before the next look at the clock."""
        if self.over:
            return True
        if self.batch is None and not self.noted:
            # Tasks that the loop itself has called read here. When the turn began is not known, so it begins now.
            self.loop.call_soon(self.turn_ended, context=Context())
            self.noted = True
            self.begin_turn(FIRST_STRIDE)
            return False
        before, self.looked_at = self.looked_at, perf_counter()
        if self.looked_at >= self.turn_end:
            self.over = 2
            self.left = 0
            # Readers that take all their time are no sign that a call of `resume` was lost.
            self.trusted = self.loop.time() + self.turn + TRUST_SECONDS
            return True
        quick = (self.looked_at - before) * 8 < self.turn
        self.left = self.stride = min(2 * self.stride, STRIDE) if quick else 1
        return False

    def turn_ended(self) -> None:
        """Called by the loop in its next turn."""
        self.noted = False

    def schedule(self) -> None:
        if self.due is None:
            self.call_resume()
        elif self.loop.time() >= self.trusted:
            # A loop can lose what it was to call, to a KeyboardInterrupt just then, and who holds that exception hides
            # the loss: the handle is not let go. So a second call is made now and then, which costs little.
            self.trusted = self.loop.time() + TRUST_SECONDS
            self.call_resume()

    def call_resume(self) -> None:
        try:
            context = self.contexts.pop()
        except IndexError:
            context = Context()
        # The handle that the loop drops uncalled tells that it was lost (guarantee 2.16).
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
        """See to it that the reads whose wait is over are resumed."""
        if self.ready:
            self.schedule()

"""One task that runs code in many contexts, one after the other: a handler's, a copy for each event (contract 2.11).

A task has one context for its whole life, and a task for each event would cost more than all the rest of handling it.
So a worker runs a generator by hand, by `context.run(generator.send, event)`: it yields DONE when it has handled the
event, and what the handler waits on, where it does. Then the worker awaits a `Within`, which takes each further step
in that context. To asyncio nothing is different: it is the same task, and it waits on what the handler awaits.
"""

from __future__ import annotations

from collections.abc import Generator
from contextvars import Context
from typing import Any, Final

__all__ = ("DONE", "Within")

DONE: Final = object()


class Within:
    """Awaits a generator that waits on something until it yields DONE, each step in one context. It serves again.

    It shows what a coroutine shows (`cr_await`, `cr_frame` and so on), so that what follows an await chain from a task
    inwards (`asyncio.capture_call_graph`) does not end here.

    Invariants: `run` is that of the context, and None when it is not awaited, so that nothing is held. `waited` is what
    its task has yet to be given to wait on; DONE when it was.
    """

    __slots__ = ("generator", "run", "step", "waited")

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self.generator: Any = generator
        self.step: Any = generator.send
        self.run: Any = None
        self.waited: object = DONE

    def until_done(self, context: Context, waited: object) -> Within:
        """What to await, for a generator that yielded `waited`."""
        self.run = context.run
        self.waited = waited
        return self

    def __await__(self) -> Within:
        return self

    def __iter__(self) -> Within:
        return self

    def __next__(self) -> Any:
        waited = self.waited
        if waited is DONE:
            waited = self.run(self.step, None)
            if waited is DONE:
                self.run = None
                raise StopIteration
        else:
            self.waited = DONE
        return waited

    def send(self, _: object) -> Any:
        return next(self)

    def throw(self, *exception: Any) -> Any:
        self.waited = DONE
        waited = self.run(self.generator.throw, *exception)
        if waited is DONE:
            self.run = None
            raise StopIteration
        return waited

    def close(self) -> None:
        self.run(self.generator.close)

    @property
    def cr_await(self) -> Any:
        return self.generator.gi_yieldfrom

    @property
    def cr_frame(self) -> Any:
        return self.generator.gi_frame

    @property
    def cr_code(self) -> Any:
        return self.generator.gi_code

    @property
    def cr_running(self) -> Any:
        return self.generator.gi_running

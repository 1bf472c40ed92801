"""How the task of a worker runs each event in a context of its own (guarantee 2.11).

A task has one context for its whole life, and a new task for each event would cost more than the handling itself. So
the worker steps a generator by hand, with `context.run(generator.send, event)`. The generator yields DONE when the
event is handled. Before that it may yield a future that the handler awaits. The worker then awaits a `Within`, which
takes each further step in the same context. For asyncio nothing is special: the task waits on the future that the
handler awaits.
"""

from __future__ import annotations

from collections.abc import Generator
from contextvars import Context
from typing import Any, Final

__all__ = ("DONE", "Within")

DONE: Final = object()


class Within:
    """An awaitable that steps a generator in one context until it yields DONE. It is used again for each event.

    It has the attributes of a coroutine (`cr_await`, `cr_frame` and so on), so that a walk along the await chain of a
    task, such as `asyncio.capture_call_graph`, passes through it.

    Invariants: `run` is `context.run` while it is awaited, else None, so that it holds nothing. `waited` is the
    future that the task has not been given yet; DONE if there is none.
    """

    __slots__ = ("generator", "run", "step", "waited")

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self.generator: Any = generator
        self.step: Any = generator.send
        self.run: Any = None
        self.waited: object = DONE

    def until_done(self, context: Context, waited: object) -> Within:
        """Return this awaitable, for a generator that has yielded `waited`."""
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

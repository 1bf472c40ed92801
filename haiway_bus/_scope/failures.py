"""What fails while a scope ends, and the one exception that comes out of it with all of them (guarantee 5.13)."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NoReturn

from haiway_bus._common.printable import described

__all__ = ("Failures", "raise_as_it_is")

_INTERRUPTS = (KeyboardInterrupt, SystemExit)
# They say that the body is over, but not that anything went wrong.
_SIGNALS = (CancelledError, GeneratorExit)


class Failures:
    """What has failed so far in one scope.

    Invariants:
    - `errors` has each error once.
    - `signal` is the CancelledError or GeneratorExit that ended the body. It comes out when there is no error.
    - `grouped`: a task has failed. What tasks raise comes out in a group, even a single error.
    - `cached` is the outcome, until something else fails.
    - `closing`: the coroutine that leaves the scope is being closed, and must not await anything more.
    """

    __slots__ = ("cached", "closing", "errors", "grouped", "name", "signal")

    def __init__(self, name: str, raised: BaseException | None) -> None:
        self.name: str = name
        self.errors: list[BaseException] = []
        self.signal: BaseException | None = None
        self.grouped: bool = False
        self.cached: BaseException | None = None
        self.closing: bool = False
        if raised is not None:
            self.add(raised)

    def add(self, error: BaseException | None, of_tasks: bool = False) -> None:
        """Add an error. If it was raised from the outcome so far, or in a group with that, it takes its place."""
        shown = self.outcome
        if error is None or error is shown:
            return
        self.cached = None
        if isinstance(error, _SIGNALS):
            if not isinstance(self.signal, CancelledError):
                self.signal = error
            return
        if shown is not None and any(cause is shown for cause in with_causes(error)):
            # `raise Translated from error`, or a group around it: it has all errors so far.
            self.errors.clear()
            self.grouped = False
        if not any(known is error for known in self.errors):
            self.errors.append(error)
            self.grouped = self.grouped or of_tasks

    def add_task_errors(self, errors: Iterable[BaseException]) -> None:
        """Add what tasks have raised, before the errors of the body."""
        for error in reversed(list(errors)):
            self.errors = [error, *(known for known in self.errors if known is not error)]
            self.grouped = True
            self.cached = None

    async def attempt(self, awaitable: Awaitable[Any], of_tasks: bool = False) -> bool:
        """Await it and add what it raises. Returns whether it raised.

        It does not return the exception: its traceback keeps the caller's variables, which would keep the exception.
        """
        try:
            await awaitable
        except BaseException as error:
            self.closing = self.closing or isinstance(error, GeneratorExit)
            self.add(error, of_tasks)
            return True
        return False

    def call(self, step: Callable[[BaseException | None], object]) -> None:
        """Call a function with the outcome so far, and add what it raises."""
        try:
            step(self.outcome)
        except BaseException as error:
            self.add(error)

    def suppress(self) -> None:
        """Forget the outcome so far: a disposable has suppressed it."""
        if self.errors:
            self.errors.clear()
            self.grouped = False
        else:
            self.signal = None
        self.cached = None

    @property
    def cancelled(self) -> bool:
        """Whether the body was cancelled, even if errors come out instead."""
        return isinstance(self.signal, CancelledError)

    @property
    def outcome(self) -> BaseException | None:
        """What comes out of the scope, if nothing else fails. An interrupt wins, as in asyncio.TaskGroup."""
        if self.cached is None and self.errors:
            for error in self.errors:
                if isinstance(error, _INTERRUPTS):
                    self.cached = error
                    break
            else:
                self.cached = self.combined(self.errors)
        return self.signal if self.cached is None else self.cached

    def finish(self) -> BaseException | None:
        """The outcome, when nothing else can fail. An interrupt then has the other errors as its context."""
        outcome = self.outcome
        if isinstance(outcome, _INTERRUPTS):
            known = {id(error) for error in with_causes(outcome, contexts=True)}
            self.add_context(outcome, [error for error in self.errors if id(error) not in known])
        # The tracebacks of these errors keep this object alive, which must not keep the errors.
        self.errors, self.signal, self.cached = [], None, None
        return outcome

    def combined(self, errors: list[BaseException]) -> BaseException:
        if len(errors) == 1 and not self.grouped:
            return errors[0]
        return BaseExceptionGroup(f"errors in the scope {described(self.name)}", list(errors))

    def add_context(self, interrupt: BaseException, others: list[BaseException]) -> None:
        if not others:
            return
        last, seen = interrupt, {id(interrupt)}
        while (behind := last.__context__) is not None and id(behind) not in seen:
            last = behind
            seen.add(id(last))
        last.__context__ = self.combined(others)


def with_causes(error: BaseException, contexts: bool = False) -> Iterator[BaseException]:
    """The exception, its causes and the members of groups among them, and with `contexts` also their contexts."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        found = left.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        left.append(found.__cause__)
        if contexts:
            left.append(found.__context__)
        if isinstance(found, BaseExceptionGroup):
            left.extend(found.exceptions)


def raise_as_it_is(error: BaseException) -> NoReturn:
    """Raise it and keep its `__context__`: `raise` would replace that by the exception that is being handled."""
    context = error.__context__
    try:
        raise error
    except BaseException:
        error.__context__ = context
        raise
    finally:
        del error, context
